package pass

import (
	"sync"
	"sync/atomic"
	"time"

	"sendonce"
	"sendonce/daemon/push"
	"sendonce/daemon/scan"
	"sendonce/daemon/session"
)

// meter reports a pass's progress from a goroutine of its own.
type meter struct {
	report func(Progress)
	stats  *push.Stats
	sess   *session.Session

	mu   sync.Mutex
	name string

	filesTotal, bytesTotal, done atomic.Int64
	quit                         chan struct{}
	ended                        sync.WaitGroup
}

func newMeter(report func(Progress), stats *push.Stats, sess *session.Session) *meter {
	m := &meter{report: report, stats: stats, sess: sess, quit: make(chan struct{})}
	if report != nil {
		m.ended.Go(m.run)
	}
	return m
}

func (m *meter) run() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.report(m.progress())
		case <-m.quit:
			m.report(m.progress())
			return
		}
	}
}

func (m *meter) progress() Progress {
	m.mu.Lock()
	phase := m.name
	m.mu.Unlock()
	p := Progress{Phase: phase, Done: m.done.Load(), Total: m.filesTotal.Load(), Bytes: m.stats.BytesRead.Load(), BytesTotal: m.bytesTotal.Load()}
	p.WireSent, p.WireReceived = m.sess.Wire()
	return p
}

func (m *meter) phase(name string) {
	m.mu.Lock()
	m.name = name
	m.mu.Unlock()
}

// seen counts an entry that will have to be read or sent.
func (m *meter) seen(ch scan.Change) {
	m.filesTotal.Add(1)
	if ch.Type == sendonce.KindFile && (ch.Kind == scan.Added || ch.Kind == scan.Modified) {
		m.bytesTotal.Add(ch.Info.Size)
	}
}

func (m *meter) committed(n int) { m.done.Add(int64(n)) }

func (m *meter) stop() {
	close(m.quit)
	m.ended.Wait()
}
