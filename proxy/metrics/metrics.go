// Package metrics counts what the proxy does, for people and for Prometheus.
//
// A Metrics is handed to every part of the proxy; whoever does a thing counts it.
// Invariants: counters only rise, and a name that has been published keeps its
// meaning. What it does not promise: that numbers read one after the other are of
// one moment.
//
// There is one file, metrics.go.
package metrics

import (
	"fmt"
	"io"
	"sync/atomic"
)

// Metrics counts what the server does. Counters only rise, except for the gauge
// MemoryBytes. They may be read at any time.
type Metrics struct {
	Connections   atomic.Int64 // accepted
	Refused       atomic.Int64 // closed because Hello failed
	JoinsRefused  atomic.Int64 // join tokens refused, or not looked at
	Pushes        atomic.Int64 // Push streams opened
	ChunksOffered atomic.Int64 // references in offers
	ChunksMissing atomic.Int64 // of them, told missing
	BytesMissing  atomic.Int64 // plain bytes of those
	Packs         atomic.Int64 // received
	PackBytes     atomic.Int64 // as they travelled
	RawBytes      atomic.Int64 // plain bytes of their chunks
	PacksRefused  atomic.Int64 // did not unpack, or brought nothing that was asked for
	ChunksUnasked atomic.Int64 // arrived without being asked for
	StoredPacks   atomic.Int64 // durable, pages included
	StoreErrors   atomic.Int64 // failed writes to the store
	Commits       atomic.Int64 // applied, replays included
	Conflicts     atomic.Int64 // refused by compare-and-swap
	Reads         atomic.Int64 // requests on Read streams
	PacksWhole    atomic.Int64 // stored packs sent to readers as they are
	SentPackBytes atomic.Int64 // pack bytes sent to readers
	ChunksDamaged atomic.Int64 // found damaged or lost while reading
	MemoryBytes   atomic.Int64 // pack bytes that pushes hold now
}

// Metric is one number with its name.
type Metric struct {
	Name  string // without the prefix "sendonce_"
	Help  string
	Gauge bool // it may fall
	Value int64
}

// List returns all metrics in a fixed order.
func (m *Metrics) List() []Metric {
	c := func(name, help string, v *atomic.Int64) Metric {
		return Metric{Name: name, Help: help, Value: v.Load()}
	}
	return []Metric{
		c("connections_total", "Connections accepted.", &m.Connections),
		c("connections_refused_total", "Connections closed because Hello failed.", &m.Refused),
		c("joins_refused_total", "Join tokens refused or not looked at.", &m.JoinsRefused),
		c("pushes_total", "Push streams opened.", &m.Pushes),
		c("chunks_offered_total", "References in offers.", &m.ChunksOffered),
		c("chunks_missing_total", "Offered references that were told missing.", &m.ChunksMissing),
		c("missing_bytes_total", "Plain bytes of references that were told missing.", &m.BytesMissing),
		c("packs_received_total", "Packs received.", &m.Packs),
		c("pack_bytes_received_total", "Bytes of received packs as they travelled.", &m.PackBytes),
		c("plain_bytes_received_total", "Plain bytes of received packs.", &m.RawBytes),
		c("packs_refused_total", "Packs that did not unpack or brought nothing that was asked for.", &m.PacksRefused),
		c("chunks_unasked", "Chunks that arrived without being asked for.", &m.ChunksUnasked),
		c("packs_stored_total", "Packs made durable, pages of manifests included.", &m.StoredPacks),
		c("store_errors_total", "Failed writes to the store.", &m.StoreErrors),
		c("commits_total", "Commits answered with a receipt.", &m.Commits),
		c("conflicts_total", "Commits refused by compare-and-swap.", &m.Conflicts),
		c("reads_total", "Requests on Read streams.", &m.Reads),
		c("packs_sent_whole_total", "Stored packs sent to readers as they are.", &m.PacksWhole),
		c("pack_bytes_sent_total", "Bytes of packs sent to readers.", &m.SentPackBytes),
		c("chunks_damaged_total", "Chunks found damaged or lost while reading.", &m.ChunksDamaged),
		{Name: "push_memory_bytes", Help: "Bytes of packs that pushes hold in memory now.", Gauge: true, Value: m.MemoryBytes.Load()},
	}
}

// ContentType is what Write writes, as an HTTP header.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes metrics in the Prometheus text exposition format, version 0.0.4.
func Write(w io.Writer, list []Metric) error {
	for _, m := range list {
		kind := "counter"
		if m.Gauge {
			kind = "gauge"
		}
		if _, err := fmt.Fprintf(w, "# HELP sendonce_%s %s\n# TYPE sendonce_%s %s\nsendonce_%s %d\n", m.Name, m.Help, m.Name, kind, m.Name, m.Value); err != nil {
			return err
		}
	}
	return nil
}
