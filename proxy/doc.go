// Package proxy is the server role: it takes connections, finds out who the peer
// is, and leads each conversation to the room where it is held.
//
//	push     what a device sends: the decision, packs, commits, receipts
//	apply    one commit of a push, resolved and committed
//	read     what a device reads: lists, content, history, changes
//	admin    what owners and admins ask, and metrics for machines
//	vault    the chunks of a tenant, over index and store: every byte checked
//	stream   one conversation, with a peer that may stop in the middle of it
//	metrics  the counters
//
// The rooms do not know this package or each other's state: each is given what it
// needs as a struct Env, with the few methods of the index that it uses. Only push
// sees apply.
//
// Invariants here: nobody is served before Hello has proved that the device is
// enrolled, strangers all get the same answer, and a folder without a role looks
// like one that is not there (I11); connections, streams and joins per peer are
// capped (I13); a device that is revoked, by whichever proxy, loses its
// connections within 2 seconds; whatever Run started has ended when it returns.
// What else is promised, the rooms say.
//
// What it does not promise: that stopping waits for a store that hangs (it waits
// for Limits.StopPatience).
//
// The package sees neither QUIC nor a storage engine; it keeps nothing of its
// own between runs.
//
// Read push/offer.go first (the decision, which is the idea of the whole), then
// push/push.go (one push from offer to receipt), then server.go and conn.go here.
package proxy
