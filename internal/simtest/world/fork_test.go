package world_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sendonce"
	"sendonce/internal/simtest/world"
)

// TestP8_OlderServer replaces the proxy's disk by an older copy of itself: the
// client notices, deletes nothing, sends again what the server has lost, and
// lists as conflicts what differs.
func TestP8_OlderServer(t *testing.T) {
	for name, recommit := range map[string]bool{"shorter": false, "as long again": true} {
		t.Run(name, func(t *testing.T) {
			seeds(t, 1, func(t *testing.T, seed uint64) {
				run(t, seed, func(w *world.World) {
					a, b := w.Client("a", "f", "a/"), w.Client("b", "f", "b/")
					a.Write("kept", random(w.Rand, 100_000))
					a.Write("deleted later", random(w.Rand, 1000))
					a.Write("edited later", random(w.Rand, 1000))
					a.Write("dir/moved later", random(w.Rand, 1000))
					a.Settle(time.Second)
					copied := w.Proxy.Copy()
					old := w.CheckJournal(a.ID)

					a.Remove("deleted later")
					a.Write("edited later", random(w.Rand, 2000))
					a.Rename("dir/moved later", "moved")
					a.Write("new", random(w.Rand, 1000))
					a.Write("newer/large", random(w.Rand, 2<<20))
					a.Settle(time.Second)
					a.Write("last", random(w.Rand, 1000))
					a.Settle(time.Second)
					lost := w.CheckJournal(a.ID)
					mine, err := world.ReadTree(a.Dir)
					if err != nil {
						t.Fatal(err)
					}

					w.Proxy.RestartFrom(copied)
					w.ForgetAfter(a.ID, old)
					if recommit { // the journal is as long as it was, but another one
						for n := old; n < lost; n++ {
							b.Write("other", random(w.Rand, 100+int(n)))
							b.Settle(time.Second)
						}
					}
					sum, err := a.Sync()
					if sendonce.KindOf(err) != sendonce.KindPartial {
						t.Errorf("a conflict was expected, not %v", err)
					}
					var conflicts []string
					for _, c := range sum.Conflicts {
						conflicts = append(conflicts, c.Path)
					}
					if !slices.Equal(conflicts, []string{"a/edited later"}) {
						t.Errorf("conflicts: %v", sum.Conflicts)
					}
					now, err := world.ReadTree(a.Dir)
					if err != nil {
						t.Fatal(err)
					}
					for _, d := range mine.Diff(now) {
						t.Errorf("the client's own directory: %s", d)
					}
					head, _, err := b.Restore(0)
					if err != nil {
						t.Fatal(err)
					}
					// What the server had and the client has no more, or has otherwise,
					// stays as the server has it; all else is there again.
					for _, d := range mine.Diff(head) {
						switch {
						case strings.HasPrefix(d, "b"): // the other client's
						case d == "a/deleted later: should not be there", d == "a/dir/moved later: should not be there":
						case strings.HasPrefix(d, "a/edited later: "):
						default:
							t.Errorf("on the server: %s", d)
						}
					}
					if _, there := head["a/deleted later"]; !there {
						t.Error("a file was deleted on the word of a client without a base")
					}
					// From here on the two agree: the next pass has nothing to send.
					if sum, err = a.Sync(); sum.Changes != 0 {
						t.Errorf("the next pass sent %d changes (%v)", sum.Changes, err)
					}
					// The user settles the conflict by taking another name.
					a.Rename("edited later", "edited")
					a.Settle(time.Second)
					w.CheckJournal(a.ID)
					w.CheckStore()
					bad, err := w.Proxy.Index.Check(t.Context(), sendonce.DefaultTenant, a.ID)
					if err != nil || len(bad) > 0 {
						t.Errorf("the index: %v, %v", bad, err)
					}
				})
			})
		})
	}
}
