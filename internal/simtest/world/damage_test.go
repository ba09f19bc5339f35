package world_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/content"
	"sendonce/internal/simtest/world"
)

// rotten is a store whose disk has flipped bits in some records.
type rotten struct {
	blobstore.Store
	mu   sync.Mutex // guards bad
	bad  map[sendonce.Location]bool
	fair bool // the record's checksum is right again, so that only the chunk's ID tells
}

func (r *rotten) Get(ctx context.Context, locs []sendonce.Location, fn func(int, []byte) error) error {
	return r.Store.Get(ctx, locs, func(i int, record []byte) error {
		r.mu.Lock()
		bad, fair := r.bad[locs[i]], r.fair
		r.mu.Unlock()
		if bad && record != nil {
			record = flip(record, fair)
		}
		return fn(i, record)
	})
}

// flip returns a record with one bit of each of its chunks' bytes changed.
func flip(record []byte, fair bool) []byte {
	rec, err := content.ParseRecord(record)
	if err != nil || !fair {
		record = slices.Clone(record)
		record[len(record)-1] ^= 4
		return record
	}
	u, err := content.NewUnpacker()
	if err != nil {
		return nil
	}
	plain, err := u.Decode(nil, rec.Encoding, rec.Payload, rec.RawSize())
	if err != nil {
		return nil
	}
	at := 0
	for _, size := range rec.Sizes {
		plain[at+int(size)/2] ^= 4
		at += int(size)
	}
	rec.Encoding, rec.Payload = content.EncodingRaw, plain
	return content.AppendRecord(nil, &rec)
}

// TestI14_Damage flips bits under the proxy: a restore reports damage for the
// files concerned and delivers the rest; what was found damaged is asked for again
// and a device that still has it heals the store.
func TestI14_Damage(t *testing.T) {
	for name, fair := range map[string]bool{"checksum wrong": false, "checksum right": true} {
		t.Run(name, func(t *testing.T) {
			seeds(t, 1, func(t *testing.T, seed uint64) {
				run(t, seed, func(w *world.World) {
					store := &rotten{bad: map[sendonce.Location]bool{}, fair: fair}
					w.Proxy.WrapStore = func(s blobstore.Store) blobstore.Store { store.Store = s; return store }
					w.Proxy.Restart()
					c := w.Client("a", "f", "")
					c.Write("first/one", random(w.Rand, 400_000))
					c.Settle(time.Second)
					c.Write("second/two", random(w.Rand, 300_000)) // a pack of its own
					c.Write("second/small", random(w.Rand, 3000))
					c.Settle(time.Second)
					c.Write("third/three", random(w.Rand, 200_000))
					c.Settle(time.Second)
					before, _, err := c.Restore(0)
					if err != nil {
						t.Fatal(err)
					}
					store.damage(w, c, "second/two")

					// The first restore meets the damage, the second knows of it.
					for range 2 {
						got, skipped, err := c.Restore(0)
						if sendonce.KindOf(err) != sendonce.KindPartial {
							t.Errorf("a restore of damaged files says: %v", err)
						}
						// second/small shares the record with second/two.
						slices.Sort(skipped)
						if want := []string{"second/small", "second/two"}; !slices.Equal(skipped, want) {
							t.Errorf("reported as damaged: %q, want %q", skipped, want)
						}
						want := []string{"second/small: missing", "second/two: missing"}
						if diff := before.Diff(got); !slices.Equal(diff, want) {
							t.Errorf("the restored tree differs in %q, want %q", diff, want)
						}
					}

					if fair {
						// The proxy sends packs as they are and finds nothing wrong with
						// such a record; the reader's check does. Flagging is then the work
						// of a verification of the store.
						ids := append(chunksOf(w, c, "second/two"), chunksOf(w, c, "second/small")...)
						if err := w.Proxy.Index.FlagDamaged(t.Context(), sendonce.DefaultTenant, ids); err != nil {
							t.Fatal(err)
						}
					}
					// A device offers only what it wants to commit. A file whose bytes are
					// those of Synced, touched or not, is not offered; under a new name the
					// same bytes are offered, found missing, and sent.
					for _, name := range []string{"second/two", "second/small"} {
						c.Write("healer/"+name, []byte(before[name].Data))
					}
					c.Settle(time.Second)
					w.Check() // every older revision restores again, too
				})
			})
		})
	}
}

// damage flips bits in every record that holds a chunk of a file.
func (r *rotten) damage(w *world.World, c *world.Client, path string) {
	w.T.Helper()
	rows, err := w.Proxy.Index.Locate(context.Background(), sendonce.DefaultTenant, chunksOf(w, c, path))
	if err != nil || len(rows) == 0 {
		w.T.Fatalf("%d chunks, %v", len(rows), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range rows {
		r.bad[row.Location] = true
	}
}

// chunksOf returns the chunks of a file of at most sendonce.MaxDirectRefs.
func chunksOf(w *world.World, c *world.Client, path string) (ids []sendonce.ID) {
	w.T.Helper()
	at, refs := c.ID.Root(), sendonce.Manifest(nil)
	for name := range strings.SplitSeq(path, "/") {
		err := w.Proxy.Index.Children(context.Background(), sendonce.DefaultTenant, c.ID, 0, at, "", func(n *sendonce.Node) (bool, error) {
			if n.Name == name {
				at, refs = n.ID, n.Content.Refs
				return false, nil
			}
			return true, nil
		})
		if err != nil {
			w.T.Fatal(err)
		}
	}
	for _, ref := range refs {
		ids = append(ids, ref.ID)
	}
	if len(ids) == 0 {
		w.T.Fatalf("%s has no chunks", path)
	}
	return ids
}
