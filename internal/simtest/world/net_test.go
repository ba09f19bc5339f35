package world_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/internal/simtest"
	"sendonce/internal/simtest/world"
)

// noneAgain fails the test if a device was asked for a chunk that the proxy had
// from it: what StoredAck covers is never sent again.
func noneAgain(w *world.World) {
	w.T.Helper()
	again, arrived := w.Proxy.Asked()
	if again > 0 {
		w.T.Errorf("%d chunks were asked for again after they were durable", again)
	}
	w.T.Logf("%d chunks arrived, %v, %v of simulated time", arrived, w.Net.Stats(), time.Since(epoch))
}

// epoch is when the clock of a bubble starts (package testing/synctest).
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// TestBadNetwork pushes over paths that lose and delay packets, and that are cut
// in the middle of the push: shortly, and for longer than a connection lives.
func TestBadNetwork(t *testing.T) {
	for _, tt := range []struct {
		name string
		link simtest.Link
		cut  time.Duration
	}{
		{"loss", simtest.Link{Latency: 20 * time.Millisecond, Loss: 0.02, Bandwidth: 4 << 20}, 0},
		{"jitter", simtest.Link{Latency: 5 * time.Millisecond, Jitter: 95 * time.Millisecond, Loss: 0.02, Bandwidth: 4 << 20}, 0},
		{"cut for 3 s", simtest.Link{Latency: 20 * time.Millisecond, Bandwidth: 2 << 20}, 3 * time.Second},
		{"cut for 90 s", simtest.Link{Latency: 20 * time.Millisecond, Loss: 0.005, Bandwidth: 2 << 20}, 90 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seeds(t, 1, func(t *testing.T, seed uint64) {
				run(t, seed, func(w *world.World) {
					w.Link = tt.link
					c := w.Client("a", "f", "")
					firstFiles(c, w.Rand)
					if tt.cut > 0 {
						// About 4 MiB at 2 MiB a second: the middle is somewhere here.
						timer := time.AfterFunc(time.Duration(500+w.Rand.IntN(1200))*time.Millisecond, func() {
							w.Cut(c)
							time.AfterFunc(tt.cut, func() { w.Heal(c) })
						})
						defer timer.Stop()
					}
					passes := c.Settle(5 * time.Second)
					if tt.cut < time.Minute && passes > 1 {
						t.Errorf("it took %d passes", passes)
					}
					if tt.cut > 0 && w.Net.Stats().Cut == 0 {
						t.Error("nothing was cut")
					}
					edits(c, w.Rand)
					c.Settle(5 * time.Second)
					w.Check()
					noneAgain(w)
				})
			})
		})
	}
}

// TestI7_LostAnswers pushes again after the answer of a commit was lost: because
// the network is cut right when the commit is durable, because the proxy fails
// there, or because it loses power there.
func TestI7_LostAnswers(t *testing.T) {
	for name, lose := range map[string]func(w *world.World, c *world.Client) error{
		"network": func(w *world.World, c *world.Client) error {
			w.Cut(c)
			time.AfterFunc(100*time.Second, func() { w.Heal(c) })
			return nil
		},
		"error": func(*world.World, *world.Client) error {
			return &sendonce.Error{Op: "test", Kind: sendonce.KindUnavailable, Detail: "the answer is lost"}
		},
		"power": func(w *world.World, _ *world.Client) error {
			w.Proxy.Crash(w.Rand.IntN(101))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			seeds(t, 1, func(t *testing.T, seed uint64) {
				run(t, seed, func(w *world.World) {
					var mu sync.Mutex // guards what follows
					var c *world.Client
					lost, arm := 0, false
					w.Proxy.AfterCommit = func(indexdb.Result) error {
						mu.Lock()
						defer mu.Unlock()
						if !arm {
							return nil
						}
						lost, arm = lost+1, false
						return lose(w, c)
					}
					w.Proxy.Restart() // with the hook
					client := w.Client("a", "f", "")
					mu.Lock()
					c = client
					mu.Unlock()
					loseNext := func() {
						mu.Lock()
						arm = true
						mu.Unlock()
					}
					for round := range 3 {
						if round == 0 {
							firstFiles(client, w.Rand)
						} else {
							edits(client, w.Rand)
							firstFiles(client, w.Rand)
						}
						loseNext()
						if passes := client.Settle(time.Second); passes < 2 {
							t.Errorf("round %d took %d passes", round, passes)
						}
					}
					if lost != 3 {
						t.Errorf("%d answers were lost", lost)
					}
					w.Check() // one node for each slot, every operation once
					if n := w.CheckJournal(client.ID); n > 6 {
						t.Errorf("the journal has %d entries for three passes", n)
					}
					noneAgain(w)
				})
			})
		})
	}
}

// TestI8_TwoClients pushes from two devices at once, into folders of their own
// and into the same one, while the network loses packets and the proxy loses
// power: sequence numbers have no gap, entries never change.
func TestI8_TwoClients(t *testing.T) {
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprintf("same=%t", same), func(t *testing.T) {
			seeds(t, 2, func(t *testing.T, seed uint64) {
				run(t, seed, func(w *world.World) {
					w.Link = simtest.Link{Latency: 10 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.01}
					var clients []*world.Client
					for _, name := range []string{"a", "b"} {
						folder, prefix := "f", name+"/"
						if !same {
							folder, prefix = name, ""
						}
						clients = append(clients, w.Client(name, folder, prefix))
					}
					for round := range 3 {
						for _, c := range clients {
							if round == 0 {
								smallFiles(c, w.Rand)
							} else {
								edits(c, w.Rand)
								smallFiles(c, w.Rand)
							}
						}
						if round == 1 {
							w.Proxy.CrashAfter(3+w.Rand.Int64N(12), w.Rand.IntN(101))
						}
						var all sync.WaitGroup
						for _, c := range clients {
							all.Go(func() { tryToSync(c) })
						}
						all.Wait()
						for _, c := range clients {
							c.Settle(time.Second)
							w.CheckJournal(c.ID)
						}
					}
					w.Check()
					noneAgain(w)
				})
			})
		})
	}
}

// tryToSync runs a few passes that may fail.
func tryToSync(c *world.Client) {
	for range 4 {
		if _, err := c.Sync(); err == nil {
			return
		}
		time.Sleep(time.Second)
	}
}
