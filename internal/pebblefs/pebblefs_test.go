package pebblefs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"sendonce/internal/pebblefs"
)

// TestOrder: when a marker is made, every older name is on the disk.
func TestOrder(t *testing.T) {
	mem := vfs.NewCrashableMem()
	fs := pebblefs.Ordered(mem)
	if err := fs.MkdirAll("/db", 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := fs.OpenDir("/")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(root.Sync(), root.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"MANIFEST-000001", "marker.manifest.000001.MANIFEST-000001", "other"} {
		f, err := fs.Create(fs.PathJoin("/db", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	found, err := mem.CrashClone(vfs.CrashCloneCfg{}).List("/db")
	if err != nil || strings.Join(found, " ") != "MANIFEST-000001" {
		t.Errorf("a crash leaves %q, %v; want the manifest, and no name that was made later", found, err)
	}
	if fs.Unwrap() != mem {
		t.Error("Unwrap returns something else than what was wrapped")
	}
}

// TestSyncFails: a marker is not made where the older names may not be on disk.
func TestSyncFails(t *testing.T) {
	for _, broken := range []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpOpenDir} {
		failed := errors.New("no sync")
		mem := vfs.NewMem()
		fs := pebblefs.Ordered(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == broken {
				return failed
			}
			return nil
		})))
		if _, err := fs.Create("/marker.x.000001.y", vfs.WriteCategoryUnspecified); !errors.Is(err, failed) {
			t.Errorf("created with %v", err)
		}
		if names, err := mem.List("/"); err != nil || len(names) > 0 {
			t.Errorf("found %q, %v", names, err)
		}
		if f, err := fs.Create("/plain", vfs.WriteCategoryUnspecified); err != nil {
			t.Errorf("a plain file: %v", err)
		} else if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestMkdirAll: a new directory survives a crash with all its parents.
func TestMkdirAll(t *testing.T) {
	mem := vfs.NewCrashableMem()
	for _, dir := range []string{"/a/b/c", "/a/b", "/a/d", "/"} {
		if err := pebblefs.MkdirAll(mem, dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := mem.CrashClone(vfs.CrashCloneCfg{}).Stat(dir); err != nil {
			t.Errorf("after a crash: %v", err)
		}
	}
	if err := pebblefs.MkdirAll(mem, "relative/path", 0o700); err != nil {
		t.Errorf("a relative path: %v", err)
	}
}

// TestMkdirAllFails: what keeps a directory from being durable is an error.
func TestMkdirAllFails(t *testing.T) {
	for _, broken := range []errorfs.OpKind{errorfs.OpStat, errorfs.OpMkdirAll, errorfs.OpOpenDir, errorfs.OpFileSync} {
		failed := errors.New("broken")
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == broken {
				return failed
			}
			return nil
		}))
		if err := pebblefs.MkdirAll(fs, "/a/b", 0o700); !errors.Is(err, failed) {
			t.Errorf("operation %v: %v", broken, err)
		}
	}
}
