package indextest

import "testing"

// Run checks that an index keeps the contract of package indexdb. Each test has
// a world of its own.
func Run(t *testing.T, make World) {
	for _, c := range []struct {
		name string
		test func(*world)
	}{
		{"Default", defaults},
		{"Folders", folders},
		{"Invites", invites},
		{"InviteRace", inviteRace},
		{"Revoke", revoke},
		{"Present", present},
		{"OwnChunksAfterRestart", ownChunksAfterRestart},
		{"Swept", swept},
		{"Damaged", damagedChunks},
		{"Leases", leases},
		{"Receipts", receipts},
		{"Epochs", epochs},
		{"Create", create},
		{"Revisions", revisions},
		{"Places", places},
		{"Deletes", deletes},
		{"Kinds", kinds},
		{"Invalid", invalidCommits},
		{"Limits", limits},
		{"Chunks", commitChunks},
		{"Quota", quota},
		{"SetQuota", setQuota},
		{"Roles", roles},
		{"PushOnly", pushOnly},
		{"Portable", portableNames},
		{"Replay", replay},
		{"ReplayRace", replayRace},
		{"Committers", committers},
		{"Cursors", cursors},
		{"Names", nameOrder},
		{"TwoWorlds", twoWorlds},
		{"Tenants", tenants},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newWorld(t, make)) })
	}
	t.Run("Model", func(t *testing.T) { modelCheck(t, make) })
}
