package daemon_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sendonce"
	"sendonce/daemon/state"
)

func TestBrake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	for i := range 600 {
		d.write(fmt.Sprintf("dir/%d", i), fmt.Appendf(nil, "%d", i))
	}
	for i := range 300 {
		d.write(fmt.Sprintf("keep%d", i), nil)
	}
	d.sync()
	w.must(os.RemoveAll(d.path("dir")))

	_, err := d.Sync(t.Context(), nil, dryRun)
	w.kind(err, sendonce.KindRefused)
	_, err = d.trySync()
	w.kind(err, sendonce.KindRefused)
	st, err := d.Status(t.Context())
	w.must(err)
	if st.Folders[0].State != "paused" || !strings.Contains(st.Folders[0].Detail, "601 of") {
		t.Errorf("status: %+v", st.Folders[0])
	}
	_, err = d.trySync() // still paused
	w.kind(err, sendonce.KindRefused)

	w.must(d.SetPaused(t.Context(), d.dir, false, true))
	if sum, err := d.Sync(t.Context(), nil, dryRun); err != nil || sum.Changes != 601 { // a dry run does not use the word up
		t.Errorf("dry run: %v %+v", err, sum)
	}
	if sum := d.sync(); sum.Changes != 601 {
		t.Errorf("%d changes", sum.Changes)
	}
	d.verify()

	for i := range 700 { // the word was good for once
		d.write(fmt.Sprintf("more/%d", i), nil)
	}
	d.sync()
	w.must(os.RemoveAll(d.path("more")))
	_, err = d.trySync()
	w.kind(err, sendonce.KindRefused)
}

func TestBrakeCountsTheWholeFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	for i := range 600 { // 600 of 2,500 is less than a quarter
		d.write(fmt.Sprintf("dir/%d", i), nil)
	}
	for i := range 1900 {
		d.write(fmt.Sprintf("keep/%d", i), nil)
	}
	d.sync()
	w.must(os.RemoveAll(d.path("dir")))
	d.sync()
	d.verify()
}

func TestRootMissingOrReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.write("a", []byte("a"))
	d.sync()
	away := d.dir + ".away"
	w.must(os.Rename(d.dir, away))
	_, err := d.trySync()
	w.kind(err, sendonce.KindRefused)
	w.must(os.Mkdir(d.dir, 0o755)) // an empty mount point
	_, err = d.trySync()
	w.kind(err, sendonce.KindRefused)
	if sendonce.HintOf(err) == "" {
		t.Error("no hint")
	}
	w.must(os.Remove(d.dir))
	w.must(os.WriteFile(d.dir, nil, 0o644))
	_, err = d.trySync()
	w.kind(err, sendonce.KindRefused)
	w.must(os.Remove(d.dir))
	w.must(os.Rename(away, d.dir))
	d.settle()
	d.quiet()
}

func TestConflictIsListedAndNothingOverwritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.device(sendonce.RoleReadWrite)
	a.write("shared", []byte("base"))
	a.write("other", []byte("base"))
	a.write("dir/x", []byte("x"))
	a.sync()
	b := w.device(sendonce.RoleReadWrite)
	for _, name := range []string{"shared", "other", "dir/x"} {
		data, err := os.ReadFile(a.path(name))
		w.must(err)
		b.write(name, data)
	}
	if sum := b.sync(); sum.Chunks != 0 || sum.ChunksMissing != 0 {
		t.Errorf("equal content was offered: %+v", sum)
	}

	a.write("shared", []byte("from a"))
	a.write("large", noise(1, 2<<20))
	a.sync()
	b.write("shared", []byte("from b"))
	b.write("large", noise(2, 2<<20))
	b.write("fine", []byte("nobody else has it"))
	sum, err := b.trySync()
	w.kind(err, sendonce.KindPartial)
	if len(sum.Conflicts) != 2 || sum.Conflicts[0].Path != "large" || sum.Conflicts[1].Path != "shared" {
		t.Errorf("conflicts: %+v", sum.Conflicts)
	}
	if data, _ := os.ReadFile(b.path("shared")); string(data) != "from b" {
		t.Errorf("the local file is %q now", data)
	}
	got := tree(t, a.restored())
	if got["shared"].data != "from a" || got["fine"].data != "nobody else has it" || got["large"].data != string(noise(1, 2<<20)) {
		t.Error("the server does not have what a pushed, and what b alone has")
	}
	// It stays a conflict, and the rest of the folder goes on.
	b.write("fine", []byte("again"))
	sum, err = b.trySync()
	w.kind(err, sendonce.KindPartial)
	if len(sum.Conflicts) != 2 || sum.Changes != 1 {
		t.Errorf("later: %+v", sum)
	}
}

func TestDeletedDirectoryThatAnotherDeviceUses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.device(sendonce.RoleReadWrite), w.device(sendonce.RoleReadWrite)
	a.write("d/sub/x", []byte("x"))
	a.sync()
	b.write("d/sub/x", []byte("x"))
	b.sync()
	// b does not know of a's new file when it deletes the directory.
	a.write("d/sub/new", []byte("n"))
	a.sync()
	w.must(os.RemoveAll(b.path("d")))
	b.write("unrelated", []byte("u"))
	sum, err := b.trySync()
	w.kind(err, sendonce.KindPartial)
	if len(sum.Conflicts) == 0 {
		t.Errorf("no conflict: %+v", sum)
	}
	got := tree(t, a.restored())
	if got["d/sub/new"].data != "n" || got["unrelated"].data != "u" {
		t.Errorf("the server has %v", got)
	}
}

func TestNewFileInDirectoryThatAnotherDeviceDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.device(sendonce.RoleReadWrite), w.device(sendonce.RoleReadWrite)
	for _, d := range []*device{a, b} {
		d.write("d/x", []byte("x"))
		d.sync()
	}
	w.must(os.RemoveAll(a.path("d")))
	a.sync()
	b.write("d/new", []byte("n"))
	b.write("unrelated", []byte("u"))
	sum, err := b.trySync()
	w.kind(err, sendonce.KindPartial)
	if len(sum.Conflicts) == 0 || sum.Changes != 1 {
		t.Errorf("%+v", sum)
	}
}

func TestPushOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.device(sendonce.RoleReadWrite)
	owner.write("taken", []byte("the owner's"))
	owner.write("same", []byte("same"))
	owner.sync()
	d := w.device(sendonce.RolePushOnly)
	d.write("log", []byte("1"))
	d.write("dir/a", noise(1, 3000))
	d.sync()
	d.write("log", []byte("2"))
	w.must(os.RemoveAll(d.path("dir")))
	d.sync() // what it deletes stays on the server
	got := tree(t, owner.restored())
	if got["log"].data != "2" || got["dir/a"].data != string(noise(1, 3000)) {
		t.Errorf("the server has %v", got)
	}
	d.write("dir/a", noise(2, 3000)) // back again: the same node
	d.sync()
	w.must(os.Remove(d.path("log")))
	d.write("log/now a directory", []byte("x"))
	d.sync()
	got = tree(t, owner.restored())
	if got["dir/a"].data != string(noise(2, 3000)) || got["log/now a directory"].data != "x" {
		t.Errorf("the server has %v", got)
	}
	// A name that it may not even know of fails alone, not with its neighbours.
	d.write("taken", []byte("mine"))
	d.write("unrelated", []byte("u"))
	sum, err := d.trySync()
	w.kind(err, sendonce.KindPartial)
	if len(sum.Conflicts) != 1 || sum.Conflicts[0].Path != "taken" {
		t.Errorf("conflicts: %+v", sum.Conflicts)
	}
	got = tree(t, owner.restored())
	if got["taken"].data != "the owner's" || got["unrelated"].data != "u" {
		t.Errorf("the server has %v", got)
	}
}

func TestReadOnlyDeviceSendsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.device(sendonce.RoleReadWrite)
	owner.write("a", []byte("a"))
	owner.sync()
	d := w.device(sendonce.RoleReadOnly)
	d.write("a", []byte("a"))
	d.write("b", []byte("b"))
	sum, err := d.trySync()
	w.kind(err, sendonce.KindPartial)
	if len(sum.Skipped) != 1 || sum.Skipped[0].Path != "b" || sum.Commits != 0 {
		t.Errorf("%+v", sum)
	}
}

// A server that was restored from an older backup, or replaced, unites with what
// is here: nothing is deleted on either side (P8).
func TestForkedServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.device(sendonce.RoleReadWrite)
	for i := range 5 {
		a.write(fmt.Sprint(i), fmt.Appendf(nil, "file %d", i))
	}
	a.sync()
	folders, err := a.Folders()
	w.must(err)
	// A cursor that the server's journal does not have.
	w.must(a.db.Apply(folders[0].ID, &state.Batch{Cursor: &sendonce.Cursor{Seq: 7, Chain: [32]byte{9}}}))
	w.must(os.Remove(a.path("1"))) // without a base this is no delete
	a.write("2", []byte("changed"))
	a.write("new", []byte("n"))
	sum, err := a.trySync()
	w.kind(err, sendonce.KindPartial)
	if len(sum.Conflicts) != 1 || sum.Conflicts[0].Path != "2" || sum.Changes != 1 {
		t.Errorf("%+v", sum)
	}
	got := tree(t, a.restored())
	if got["1"].data != "file 1" || got["2"].data != "file 2" || got["new"].data != "n" {
		t.Errorf("the server has %v", got)
	}
}

func TestPausedByTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	w.must(d.SetPaused(t.Context(), d.dir, true, false))
	d.write("a", []byte("a"))
	sum, err := d.trySync()
	if err == nil || sum.Changes != 0 {
		t.Errorf("a paused folder was pushed: %v %+v", err, sum)
	}
	w.must(d.SetPaused(t.Context(), d.dir, false, false))
	d.sync()
	w.must(d.Detach(t.Context(), d.dir))
	_, err = d.trySync()
	w.kind(err, sendonce.KindNotSetUp)
}

func TestAttach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	ctx := t.Context()
	inner := d.path("inner")
	w.must(os.Mkdir(inner, 0o755))
	for _, c := range []struct {
		dir, name string
		kind      sendonce.ErrKind
	}{
		{d.dir, "", sendonce.KindExists},
		{d.dir, "another", sendonce.KindExists},
		{inner, "inner", sendonce.KindRefused},
		{"/", "all", sendonce.KindRefused},
		{"relative", "r", sendonce.KindUsage},
		{w.tempDir(), d.name, sendonce.KindExists},
	} {
		_, err := d.Attach(ctx, c.dir, c.name, sendonce.NamesExact)
		if sendonce.KindOf(err) != c.kind {
			t.Errorf("attach %s as %q: %v", c.dir, c.name, err)
		}
	}
	w.must(os.RemoveAll(d.dir))
	w.must(os.Mkdir(d.dir, 0o755)) // the user says that this is the root now
	_, err := d.Attach(ctx, d.dir, "", sendonce.NamesExact)
	w.must(err)
	d.sync()
}
