package indexdb_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/indexdb/indextest"
)

var (
	ctx   = context.Background()
	clock = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func options() indexdb.Options {
	return indexdb.Options{Now: func() time.Time { return clock }, Rand: rand.NewChaCha8([32]byte{1})}
}

func open(t *testing.T, e indexdb.Engine) *indexdb.DB {
	t.Helper()
	db, err := indexdb.New(e, options())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNew(t *testing.T) {
	for _, o := range []indexdb.Options{{Rand: options().Rand}, {Now: time.Now}} {
		if _, err := indexdb.New(indextest.NewMem(), o); sendonce.KindOf(err) != sendonce.KindInvalid {
			t.Errorf("without what it needs: %v", err)
		}
	}
	for name, c := range map[string]struct {
		key, value []byte
		kind       sendonce.ErrKind
	}{
		"newer":     {[]byte("v"), []byte{indexdb.FormatVersion + 1}, sendonce.KindNewerFormat},
		"malformed": {[]byte("v"), []byte{}, sendonce.KindDamaged},
		"something": {[]byte("x"), []byte{1}, sendonce.KindDamaged},
	} {
		e := indextest.NewMem()
		must(t, e.Write(ctx, []indexdb.Op{{Key: c.key, Value: c.value}}))
		_, err := indexdb.New(e, options())
		if sendonce.KindOf(err) != c.kind || sendonce.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", name, err, sendonce.HintOf(err))
		}
	}
}

// sample fills an index with something of everything and returns the folder.
func sample(t *testing.T, db *indexdb.DB) (who indexdb.Asker, nodes []sendonce.NodeID) {
	t.Helper()
	folder := sendonce.FolderID{1}
	who = indexdb.Asker{Tenant: 1, Device: sendonce.DeviceID{2}, Folder: folder}
	_, err := db.CreateFolder(ctx, indexdb.Folder{ID: folder, Tenant: 1, Name: "f", Names: sendonce.NamesPortable})
	must(t, err)
	must(t, db.AddInvite(ctx, indexdb.Invite{Tenant: 1, Role: sendonce.RoleReadWrite, Folder: "f", Expires: clock.Add(time.Hour)}))
	_, err = db.Redeem(ctx, [32]byte{}, who.Device, "d", clock, sendonce.FolderID{9})
	must(t, err)
	chunk, page := sendonce.ID{1}, sendonce.ID{2}
	at := sendonce.Location{Segment: 1, Length: 9}
	for i := range byte(4) {
		nodes = append(nodes, sendonce.NodeID{10 + i})
	}
	place := func(i int, parent sendonce.NodeID, kind sendonce.Kind) indexdb.Change {
		return indexdb.Change{Node: nodes[i], SetPlace: true, Parent: parent, Name: fmt.Sprint("n", i), Kind: kind}
	}
	f, g := place(2, nodes[1], sendonce.KindFile), place(3, folder.Root(), sendonce.KindFile)
	f.SetContent, f.Size, f.Refs, f.Content.Refs = true, 7, []sendonce.ID{chunk}, []sendonce.Ref{{ID: chunk, Size: 7}}
	g.SetContent, g.Size, g.Pages, g.Content = true, 7, []sendonce.ID{page}, sendonce.Content{Root: page, Count: 99}
	for i, changes := range [][]indexdb.Change{
		{place(0, folder.Root(), sendonce.KindDir), place(1, nodes[0], sendonce.KindDir), f, g},
		{{Node: nodes[2], Base: 1, SetMeta: true, Mode: 0o600}},
		{{Node: nodes[3], Base: 1, Delete: true}},
	} {
		_, err = db.Commit(ctx, &indexdb.Commit{Who: who, Op: sendonce.OpID{byte(i)}, Time: clock, Changes: changes,
			Stored: []indexdb.Stored{{ID: chunk, Location: at}, {ID: page, Location: at}}})
		must(t, err)
	}
	return who, nodes
}

type row struct{ key, value []byte }

func rows(t *testing.T, e indexdb.Engine) (all []row) {
	t.Helper()
	must(t, e.View(ctx, func(r indexdb.Reader) error {
		return r.Scan(nil, nil, func(k, v []byte) (bool, error) {
			all = append(all, row{append([]byte{}, k...), append([]byte{}, v...)})
			return true, nil
		})
	}))
	return all
}

// TestCheckFindsDamage takes every row that a folder rests on away, and changes
// every byte of those whose content can be judged: Check must notice each.
func TestCheckFindsDamage(t *testing.T) {
	e := indextest.NewMem()
	db := open(t, e)
	who, _ := sample(t, db)
	check := func() bool {
		found, err := db.Check(ctx, 1, who.Folder)
		return err != nil || len(found) > 0
	}
	if check() {
		found, err := db.Check(ctx, 1, who.Folder)
		t.Fatalf("a sound folder: %q, %v", found, err)
	}
	tried := map[byte]int{}
	for _, r := range rows(t, e) {
		kind := r.key[0]
		if kind == indexdb.ChunkRow {
			kind = r.key[indexdb.ChunkPrefixLen]
		}
		switch kind {
		case 'f', 'h', 'j', 'n', 's', 'p', 'b', 'L', 'R':
		default:
			continue // accounts, which Check is not about
		}
		// The root's first revision is in no entry, so only its form is judged.
		root := kind == 'n' && string(r.key[5:21]) == string(r.key[21:37])
		tried[kind]++
		must(t, e.Write(ctx, []indexdb.Op{{Key: r.key}}))
		if !check() {
			t.Errorf("row %c %x can be lost unnoticed", kind, r.key)
		}
		for i := range r.value {
			if root || kind == 'f' || kind == 'b' || kind == 'L' || kind == 'R' {
				break // names, bounds, places and epochs have no second source
			}
			v := append([]byte{}, r.value...)
			v[i] ^= 0x41
			must(t, e.Write(ctx, []indexdb.Op{{Key: r.key, Value: v}}))
			if !check() {
				t.Errorf("byte %d of row %c %x can change unnoticed", i, kind, r.key)
			}
		}
		must(t, e.Write(ctx, []indexdb.Op{{Key: r.key, Value: r.value}}))
	}
	if check() {
		t.Error("the rows were not put back")
	}
	for _, kind := range "fhjnspbLR" {
		if tried[byte(kind)] == 0 {
			t.Errorf("the sample has no row %c", kind)
		}
	}
}

// TestFaults fails each engine call of a commit in turn: the error comes back,
// nothing is applied, and the next attempt succeeds.
func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	inner := indextest.NewMem()
	calls, failAt := 0, -1
	db := open(t, indextest.Faulty{Engine: inner, Hook: func(string) error {
		calls++
		if calls-1 == failAt {
			return boom
		}
		return nil
	}})
	who, nodes := sample(t, db)
	actions := map[string]func() error{
		"commit": func() error {
			_, err := db.Commit(ctx, &indexdb.Commit{Who: who, Op: sendonce.OpID{77}, Changes: []indexdb.Change{
				{Node: sendonce.NodeID{50}, SetPlace: true, Parent: nodes[1], Name: "new", Kind: sendonce.KindFile, SetContent: true,
					Size: 7, Refs: []sendonce.ID{{1}}, Content: sendonce.Content{Refs: []sendonce.Ref{{ID: sendonce.ID{1}, Size: 7}}}},
				{Node: nodes[0], Base: 1, SetPlace: true, Parent: who.Folder.Root(), Name: "moved"}}})
			return err
		},
		"present": func() error { _, err := db.Present(ctx, who, []sendonce.ID{{1}}); return err },
		"locate":  func() error { _, err := db.Locate(ctx, 1, []sendonce.ID{{1}}); return err },
		"stored": func() error {
			return db.AddStored(ctx, 1, who.Device, []indexdb.Stored{{ID: sendonce.ID{7}, Location: sendonce.Location{Length: 1}}})
		},
		"begin":  func() error { _, err := db.BeginPush(ctx, who, sendonce.PushID{8}); return err },
		"end":    func() error { return db.EndPush(ctx, who, sendonce.PushID{8}) },
		"check":  func() error { _, err := db.Check(ctx, 1, who.Folder); return err },
		"sweep":  func() error { _, err := db.Sweep(ctx, 1, []sendonce.ID{{1}}); return err },
		"expire": func() error { _, err := db.ExpireReceipts(ctx, 1, clock); return err },
		"children": func() error {
			return db.Children(ctx, 1, who.Folder, 0, who.Folder.Root(), "", func(*sendonce.Node) (bool, error) { return true, nil })
		},
		"folders": func() error { _, err := db.Folders(ctx, 1); return err },
		"devices": func() error { _, err := db.Devices(ctx, 1); return err },
		"redeem": func() error {
			_, err := db.Redeem(ctx, [32]byte{}, who.Device, "d", clock, sendonce.FolderID{9})
			return err
		},
		"revoke": func() error { return db.Revoke(ctx, sendonce.DeviceID{2}) },
	}
	for _, name := range []string{"commit", "present", "locate", "stored", "begin", "end", "check", "sweep", "expire", "children", "folders", "devices", "redeem", "revoke"} {
		before := fmt.Sprint(rows(t, inner))
		n := 0
		for ; ; n++ {
			calls, failAt = 0, n
			err := actions[name]()
			if calls <= n {
				must(t, err) // no call was left to fail
				break
			}
			if !errors.Is(err, boom) {
				t.Fatalf("%s: call %d failed, and the answer is %v", name, n, err)
			}
			if fmt.Sprint(rows(t, inner)) != before {
				t.Fatalf("%s: call %d failed, and something was written", name, n)
			}
		}
		failAt = -1
		if n == 0 {
			t.Errorf("%s calls no engine", name)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	c := &indexdb.ConflictError{Nodes: []indexdb.ConflictNode{{Reason: indexdb.ConflictSlot}, {Reason: 200}}}
	for err, want := range map[error]string{
		c:                        "node 00000000000000000000000000000000: another node has the name, and 1 more",
		&indexdb.ConflictError{}: "conflict",
		&indexdb.MissingError{}:  "chunks missing",
		&indexdb.MissingError{IDs: make([]sendonce.ID, 2)}: "2 chunks are not there, " + sendonce.ID{}.String() + " first",
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	if got := indexdb.ConflictReason(200).String(); got != "conflict 200" {
		t.Error(got)
	}
}
