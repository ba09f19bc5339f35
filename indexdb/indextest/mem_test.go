package indextest_test

import (
	"errors"
	"testing"
	"time"

	"sendonce/indexdb"
	"sendonce/indexdb/indextest"
)

func TestMemEngine(t *testing.T) {
	indextest.RunEngine(t, func(testing.TB) indexdb.Engine { return indextest.NewMem() })
}

func TestRefuse(t *testing.T) {
	no := errors.New("no")
	_, err := indexdb.New(indextest.Refuse(no), indexdb.Options{Now: time.Now, Rand: zeros{}})
	if !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestMem(t *testing.T) { indextest.Run(t, indextest.MemWorld) }
