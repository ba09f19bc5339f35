package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sendonce"
	"sendonce/daemon/state/internal/fatal"
	"sendonce/daemon/state/internal/row"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustOpen(t *testing.T, fs vfs.FS) *DB {
	t.Helper()
	d, err := Open(fs, "state", Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, what string, err error, kind sendonce.ErrKind) {
	t.Helper()
	if sendonce.KindOf(err) != kind {
		t.Errorf("%s: %v, want kind %v", what, err, kind)
	}
	if kind != sendonce.KindInvalid && sendonce.HintOf(err) == "" {
		t.Errorf("%s: %v has no hint", what, err)
	}
}

func TestRecords(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, fs)
	if s, err := d.Server(); s != nil || err != nil {
		t.Errorf("a new state has server %v, %v", s, err)
	}
	if s, err := d.Setting("name"); s != "" || err != nil {
		t.Errorf("a new state has setting %q, %v", s, err)
	}
	srv := Server{Addrs: []string{"a:1", "b:2"}, Fingerprint: sendonce.DeviceID{1, 2}}
	folders := []Folder{
		{ID: sendonce.FolderID{9}, Name: "a", Dir: "/a", Role: sendonce.RoleAdmin, Dev: 1, Ino: 2},
		{ID: sendonce.FolderID{1}, Name: "b", Dir: "/b", Names: sendonce.NamesPortable, Paused: true, PauseReason: "why"},
	}
	must(t, d.SetServer(srv))
	must(t, d.SetSetting("name", "laptop"))
	must(t, d.SetSetting("gone", "x"))
	must(t, d.SetSetting("gone", ""))
	for _, f := range folders {
		must(t, d.SetFolder(f))
	}
	must(t, d.SetReceipt(folders[0].ID, []byte("signed")))
	must(t, d.Close())

	d = mustOpen(t, fs)
	got, err := d.Server()
	same(t, "Server", got, err, &srv)
	list, err := d.Folders()
	same(t, "Folders", list, err, folders)
	name, err := d.Setting("name")
	same(t, "Setting", name, err, "laptop")
	gone, err := d.Setting("gone")
	same(t, "a forgotten setting", gone, err, "")
	must(t, d.DropFolder(folders[0].ID))
	list, err = d.Folders()
	same(t, "Folders after DropFolder", list, err, folders[1:])
	receipt, err := d.Receipt(folders[0].ID)
	same(t, "Receipt after DropFolder", receipt, err, []byte(nil))

	long := strings.Repeat("x", maxText+1)
	for what, err := range map[string]error{
		"a long setting": d.SetSetting("a", long), "a long address": d.SetServer(Server{Addrs: []string{long}}), "many addresses": d.SetServer(Server{Addrs: make([]string, maxAddrs+1)}),
		"a long name": d.SetFolder(Folder{ID: sendonce.FolderID{1}, Name: long}), "no folder ID": d.SetFolder(Folder{}),
		"an empty receipt": d.SetReceipt(testFolder, nil), "a long receipt": d.SetReceipt(testFolder, []byte(long)),
	} {
		wantKind(t, what, err, sendonce.KindInvalid)
	}
	must(t, d.Close())
}

func TestForgetTrees(t *testing.T) {
	d := mustOpen(t, vfs.NewMem())
	n := sendonce.Node{ID: sendonce.NodeID{1}, Name: "a", Kind: sendonce.KindFile, Content: sendonce.Content{Root: sendonce.ID{1}, Level: 1, Count: 1}}
	r := n
	r.Rev = 9
	must(t, d.SetFolder(Folder{ID: testFolder, Name: "f"}))
	must(t, d.Apply(testFolder, &Batch{SetLocal: []Local{{Node: n.ID, Name: "a", Kind: 1}}, SetSynced: []sendonce.Node{n}, SetRemote: []sendonce.Node{r},
		SetManifest: map[sendonce.NodeID]sendonce.Manifest{n.ID: {{Size: 1}}}, Cursor: &sendonce.Cursor{Seq: 1}, Receipt: []byte("r")}))
	if got := storedRows(t, d); got != 10 {
		t.Errorf("%d rows are stored, want 10", got)
	}
	must(t, d.ForgetTrees(testFolder))
	empty := newModel()
	empty.receipt = []byte("r")
	check(t, d, d.Live(testFolder), empty)
	if fs, err := d.Folders(); err != nil || len(fs) != 1 {
		t.Errorf("the folder's record: %v, %v", fs, err)
	}
	must(t, d.Close())
}

func TestManifestParts(t *testing.T) {
	d := mustOpen(t, vfs.NewMem())
	id := sendonce.NodeID{1}
	for _, n := range []int{row.PartRefs - 1, row.PartRefs, row.PartRefs + 1, 3*row.PartRefs + 7, 17} { // also: shorter over longer
		m := make(sendonce.Manifest, n)
		for i := range m {
			m[i] = sendonce.Ref{ID: sendonce.ID{byte(i), byte(i >> 8), byte(n)}, Size: int64(i)}
		}
		node := sendonce.Node{ID: id, Kind: sendonce.KindFile, Content: sendonce.Content{Root: sendonce.ID{1, byte(n), byte(n >> 8)}, Level: 1, Count: uint64(n)}}
		must(t, d.Apply(testFolder, &Batch{SetSynced: []sendonce.Node{node}, SetManifest: map[sendonce.NodeID]sendonce.Manifest{id: m}}))
		got, err := d.Live(testFolder).Manifest(id)
		same(t, "Manifest", got, err, m)
	}
	// Another content without a manifest leaves none.
	must(t, d.Apply(testFolder, &Batch{SetSynced: []sendonce.Node{{ID: id, Kind: sendonce.KindFile, Content: treeContent}}}))
	got, err := d.Live(testFolder).Manifest(id)
	same(t, "a manifest of the old content", got, err, sendonce.Manifest(nil))
	must(t, d.Close())
}

func TestBadBatchesChangeNothing(t *testing.T) {
	d := mustOpen(t, vfs.NewMem())
	id := sendonce.NodeID{1}
	good := sendonce.Node{ID: id, Name: "a", Kind: sendonce.KindFile}
	node := func(f func(*sendonce.Node)) []sendonce.Node {
		n := good
		f(&n)
		return []sendonce.Node{good, n}
	}
	row := func(f func(*Local)) []Local {
		l := Local{Node: id, Name: "a", Kind: sendonce.KindFile}
		f(&l)
		return []Local{l}
	}
	manifest := func(m sendonce.Manifest) map[sendonce.NodeID]sendonce.Manifest {
		return map[sendonce.NodeID]sendonce.Manifest{id: m}
	}
	tree1 := sendonce.Node{ID: id, Kind: sendonce.KindFile, Content: sendonce.Content{Root: sendonce.ID{1}, Level: 1, Count: 1}}
	for what, b := range map[string]*Batch{
		"no ID":                        {SetSynced: node(func(n *sendonce.Node) { n.ID = sendonce.NodeID{} })},
		"a synced tombstone":           {SetSynced: node(func(n *sendonce.Node) { n.Deleted = true })},
		"a NUL in a name":              {SetRemote: node(func(n *sendonce.Node) { n.Name = "a\x00b" })},
		"a slash in a name":            {SetRemote: node(func(n *sendonce.Node) { n.Name = "a/b" })},
		"a long name":                  {SetRemote: node(func(n *sendonce.Node) { n.Name = strings.Repeat("x", 256) })},
		"no kind":                      {SetRemote: node(func(n *sendonce.Node) { n.Kind = 0 })},
		"a negative size":              {SetRemote: node(func(n *sendonce.Node) { n.Size = -1 })},
		"two forms":                    {SetRemote: node(func(n *sendonce.Node) { n.Content = sendonce.Content{Inline: []byte("a"), Root: sendonce.ID{1}} })},
		"a count without a tree":       {SetRemote: node(func(n *sendonce.Node) { n.Content.Count = 1 })},
		"much inline":                  {SetRemote: node(func(n *sendonce.Node) { n.Content.Inline = make([]byte, sendonce.MaxInline+1) })},
		"many references":              {SetRemote: node(func(n *sendonce.Node) { n.Content.Refs = make([]sendonce.Ref, sendonce.MaxDirectRefs+1) })},
		"a negative reference":         {SetRemote: node(func(n *sendonce.Node) { n.Content.Refs = []sendonce.Ref{{Size: -1}} })},
		"a long target":                {SetRemote: node(func(n *sendonce.Node) { n.Target = strings.Repeat("x", sendonce.MaxTarget+1) })},
		"large xattrs":                 {SetRemote: node(func(n *sendonce.Node) { n.Xattrs = []sendonce.Xattr{{Value: make([]byte, sendonce.MaxXattrs+1)}} })},
		"a row without a node":         {SetSynced: []sendonce.Node{good}, SetLocal: row(func(l *Local) { l.Node = sendonce.NodeID{} })},
		"a row of no kind":             {SetSynced: []sendonce.Node{good}, SetLocal: row(func(l *Local) { l.Kind = 4 })},
		"a row of negative size":       {SetSynced: []sendonce.Node{good}, SetLocal: row(func(l *Local) { l.Stat.Size = -1 })},
		"a manifest of nothing":        {SetManifest: manifest(sendonce.Manifest{{Size: 1}})},
		"a manifest of another length": {SetSynced: []sendonce.Node{tree1}, SetManifest: manifest(sendonce.Manifest{{Size: 1}, {Size: 1}})},
		"a manifest of negative size":  {SetSynced: []sendonce.Node{tree1}, SetManifest: manifest(sendonce.Manifest{{Size: -1}})},
		"a receipt without bytes":      {SetSynced: []sendonce.Node{good}, Receipt: []byte{}},
	} {
		wantKind(t, what, d.Apply(testFolder, b), sendonce.KindInvalid)
		if n := storedRows(t, d); n != 0 {
			t.Fatalf("%s: %d rows were written", what, n)
		}
	}
	for what, b := range map[string]*Batch{
		"Synced": {SetSynced: []sendonce.Node{good}}, "a cursor": {Cursor: &sendonce.Cursor{}}, "a drop": {DropLocal: []sendonce.NodeID{id}}, "a receipt": {Receipt: []byte("r")},
	} {
		wantKind(t, "unsynced "+what, d.ApplyUnsynced(testFolder, b), sendonce.KindInvalid)
	}
	must(t, d.Apply(testFolder, &Batch{}))
	must(t, d.Close())
}

func TestStops(t *testing.T) {
	d := mustOpen(t, vfs.NewMem())
	var b Batch
	for i := range byte(5) {
		b.SetSynced = append(b.SetSynced, sendonce.Node{ID: sendonce.NodeID{1, i}, Name: fmt.Sprint(i), Kind: sendonce.KindFile})
	}
	must(t, d.Apply(testFolder, &b))
	v := d.Live(testFolder)
	stop := errors.New("stop")
	for what, walk := range map[string]func(func(*sendonce.Node) (bool, error)) error{
		"AllSynced": v.AllSynced, "RemoteChildren": func(fn func(*sendonce.Node) (bool, error)) error { return v.RemoteChildren(sendonce.NodeID{}, fn) },
	} {
		n := 0
		if err := walk(func(*sendonce.Node) (bool, error) { n++; return n < 2, nil }); err != nil || n != 2 {
			t.Errorf("%s went on for %d calls, %v", what, n, err)
		}
		if err := walk(func(*sendonce.Node) (bool, error) { return true, stop }); err != stop {
			t.Errorf("%s returns %v, want the callback's error as it is", what, err)
		}
	}
	must(t, d.Close())
}

func TestLocked(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, fs)
	_, err := Open(fs, "state", Options{})
	wantKind(t, "a second Open", err, sendonce.KindLocked)
	must(t, d.Close())
	must(t, mustOpen(t, fs).Close())

	dir := filepath.Join(t.TempDir(), "a", "state")
	d, err = Open(vfs.Default, dir, Options{})
	must(t, err)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
	_, err = Open(vfs.Default, dir, Options{})
	wantKind(t, "a second Open on disk", err, sendonce.KindLocked)
	must(t, d.Close())
}

func TestFormats(t *testing.T) {
	write := func(key, value string) *vfs.MemFS {
		t.Helper()
		fs := vfs.NewMem()
		p, err := pebble.Open("state", &pebble.Options{FS: fs, Logger: &fatal.Log{}})
		must(t, err)
		must(t, p.Set([]byte(key), []byte(value), pebble.Sync))
		must(t, p.Close())
		return fs
	}
	for what, tt := range map[string]struct {
		fs   *vfs.MemFS
		kind sendonce.ErrKind
	}{
		"a newer format":     {write(keyFormat, "\x02"), sendonce.KindNewerFormat},
		"a broken format":    {write(keyFormat, "\x80"), sendonce.KindDamaged},
		"format 0":           {write(keyFormat, "\x00"), sendonce.KindDamaged},
		"another's database": {write("x", "y"), sendonce.KindDamaged},
	} {
		_, err := Open(tt.fs, "state", Options{})
		wantKind(t, what, err, tt.kind)
		if _, err := Open(tt.fs, "state", Options{}); sendonce.KindOf(err) == sendonce.KindLocked {
			t.Errorf("%s: a failed Open left the lock behind", what)
		}
	}
	fs := vfs.NewMem()
	must(t, mustOpen(t, fs).Close())
	names, err := fs.List("state")
	must(t, err)
	for _, n := range names {
		if strings.HasPrefix(n, "marker.format-version") {
			must(t, fs.Rename("state/"+n, "state/marker.format-version.999999.999"))
		}
	}
	_, err = Open(fs, "state", Options{})
	wantKind(t, "a newer engine", err, sendonce.KindNewerFormat)
}

// TestDamagedRows spoils every kind of row and asks for it.
func TestDamagedRows(t *testing.T) {
	d := mustOpen(t, vfs.NewMem())
	tr, id := tree{testFolder}, sendonce.NodeID{1}
	put := func(key []byte, value string) { must(t, d.p.Set(key, []byte(value), pebble.NoSync)) }
	v := d.Live(testFolder)
	ask := map[string]func() error{
		"LocalChildren": func() error { _, err := v.LocalChildren(sendonce.NodeID{}); return err },
		"Local":         func() error { _, err := v.Local(id); return err },
		"LocalByInode":  func() error { _, err := v.LocalByInode(1, 1); return err },
		"Synced":        func() error { _, err := v.Synced(id); return err },
		"Remote":        func() error { _, err := v.Remote(id); return err },
		"RemoteSlot":    func() error { _, err := v.RemoteSlot(sendonce.NodeID{}, "a"); return err },
		"RemoteChildren": func() error {
			return v.RemoteChildren(sendonce.NodeID{}, func(*sendonce.Node) (bool, error) { return true, nil })
		},
		"Foreign":      func() error { return v.Foreign(func(*sendonce.Node) (bool, error) { return true, nil }) },
		"AllSynced":    func() error { return v.AllSynced(func(*sendonce.Node) (bool, error) { return true, nil }) },
		"Manifest":     func() error { _, err := v.Manifest(id); return err },
		"Cursor":       func() error { _, err := v.Cursor(); return err },
		"Server":       func() error { _, err := d.Server(); return err },
		"Folders":      func() error { _, err := d.Folders(); return err },
		"Apply Local":  func() error { return d.Apply(testFolder, &Batch{DropLocal: []sendonce.NodeID{id}}) },
		"Apply Synced": func() error { return d.Apply(testFolder, &Batch{DropSynced: []sendonce.NodeID{id}}) },
	}
	for what, fn := range ask {
		must(t, fn())
		_ = what
	}
	put(tr.child(sendonce.NodeID{}, "a"), "\x01")
	put(tr.node(tabPlace, id), string(make([]byte, 16))+"a")
	put(append(tr.inode(1, 1), "short"...), "")
	put(tr.node(tabSynced, id), "\x02")
	put(tr.node(tabRemote, id), "\x01\x07")
	put(append(tr.slotName(tabSyncedSlot, sendonce.NodeID{}, "a", 0), "short"...), "")
	put(tr.part(id, 1), "")
	put(tr.table(tabCursor), "\x01")
	put([]byte(keyServer), "\x01")
	put(folderKey(testFolder), "\x01")
	for what, fn := range ask {
		wantKind(t, what, fn(), sendonce.KindDamaged)
	}
	must(t, d.p.Set(tr.part(id, 0), row.AppendPart(nil, 5, refsContent.Refs), pebble.NoSync))
	must(t, d.p.Delete(tr.part(id, 1), pebble.NoSync))
	wantKind(t, "a manifest without its end", ask["Manifest"](), sendonce.KindDamaged)
	must(t, d.Close())
}

func TestDamagedFile(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, fs)
	must(t, d.Close())
	names, err := fs.List("state")
	must(t, err)
	for _, n := range names {
		if strings.HasPrefix(n, "MANIFEST-") {
			f, err := fs.Create("state/"+n, vfs.WriteCategoryUnspecified)
			must(t, err)
			_, err = f.Write([]byte(strings.Repeat("damage", 1000)))
			must(t, errors.Join(err, f.Close()))
		}
	}
	_, err = Open(fs, "state", Options{})
	wantKind(t, "an engine file that is damaged", err, sendonce.KindDamaged)
}

func TestFull(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, fs)
	b := &Batch{Cursor: &sendonce.Cursor{Seq: 1}}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: reserve - 1})
	wantKind(t, "Apply", d.Apply(testFolder, b), sendonce.KindFull)
	wantKind(t, "SetSetting", d.SetSetting("a", "b"), sendonce.KindFull)
	wantKind(t, "DropFolder", d.DropFolder(testFolder), sendonce.KindFull)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: reserve})
	must(t, d.Apply(testFolder, b))
	d.backgroundError(fmt.Errorf("flush: %w", syscall.ENOSPC))
	wantKind(t, "Apply after background work failed", d.Apply(testFolder, b), sendonce.KindFull)
	must(t, d.p.Flush()) // background work goes on: there is room again
	must(t, d.Apply(testFolder, b))
	must(t, d.Close())
}

func TestFullInTheLog(t *testing.T) {
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			return syscall.ENOSPC
		}
		return nil
	}))
	_, err := Open(fs, "state", Options{})
	if sendonce.KindOf(err) != sendonce.KindFull {
		t.Errorf("Open: %v, want kind %v", err, sendonce.KindFull)
	}
}

// TestFatal: a fatal error of the engine inside a call is that call's error, and
// nothing is written afterwards.
func TestFatal(t *testing.T) {
	d := mustOpen(t, vfs.NewMem())
	call := func(r any) (err error) {
		defer d.catch(&err, "write state")
		if r == nil {
			d.log.Fatalf("the log: %v", fmt.Errorf("sync: %w", syscall.ENOSPC))
		}
		panic(r)
	}
	wantKind(t, "a fatal error", call(nil), sendonce.KindFull)
	wantKind(t, "Apply afterwards", d.Apply(testFolder, &Batch{Cursor: &sendonce.Cursor{}}), sendonce.KindFull)
	wantKind(t, "Close afterwards", d.Close(), sendonce.KindFull)
	func() {
		defer func() {
			if r := recover(); r != "other" {
				t.Errorf("another panic became %v", r)
			}
		}()
		_ = call("other")
	}()
	d.broken.Store(nil)
	must(t, d.Close())
}

func TestSwapNames(t *testing.T) {
	d := mustOpen(t, vfs.NewMem())
	a, b := sendonce.NodeID{1}, sendonce.NodeID{2}
	row := func(id sendonce.NodeID, name string) Local {
		return Local{Node: id, Name: name, Kind: sendonce.KindFile}
	}
	must(t, d.Apply(testFolder, &Batch{SetLocal: []Local{row(a, "x"), row(b, "y")}}))
	must(t, d.Apply(testFolder, &Batch{SetLocal: []Local{row(a, "y"), row(b, "x")}}))
	got, err := d.Live(testFolder).LocalChildren(sendonce.NodeID{})
	want := []Local{row(b, "x"), row(a, "y")}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	must(t, d.Close())
}
