package stages

import (
	"context"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"sendonce"
	"sendonce/bench/figures/corpus"
)

func TestLink(t *testing.T) {
	const total = 100<<20 + 3 // more streams than a connection may have open at once
	where := make(chan [2]string, 1)
	g, ctx := errgroup.WithContext(t.Context())
	var in, out LinkResult
	g.Go(func() (err error) {
		in, err = Receive(ctx, "127.0.0.1:0", total, func(addr, id string) error { where <- [2]string{addr, id}; return nil })
		return err
	})
	g.Go(func() (err error) {
		select {
		case w := <-where:
			out, err = Send(ctx, w[0], w[1], total, 4)
		case <-ctx.Done():
		}
		return err
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if in.Bytes != total || out.Bytes != total || out.Seconds <= 0 || out.CPU <= 0 {
		t.Errorf("in %+v, out %+v", in, out)
	}
	if _, err := Send(t.Context(), "127.0.0.1:1", "xyz", 1, 1); err == nil {
		t.Error("an identity that is none was taken")
	}
}

func TestModel(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := corpus.Random(file, 1<<20, 1); err != nil {
		t.Fatal(err)
	}
	stages, err := Run(t.Context(), dir, file, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(stages) != 8 {
		t.Errorf("%d stages", len(stages))
	}
	for _, s := range stages {
		if s.Name != "read" && s.CPU <= 0 || s.Wall <= 0 {
			t.Errorf("%+v", s)
		}
	}
	if _, err := Run(context.Background(), dir, filepath.Join(dir, "none"), 1); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestSentAgain(t *testing.T) {
	id := func(n byte) sendonce.ID { return sendonce.ID{n} }
	at := func(n byte, offset uint32) Copy {
		return Copy{ID: id(n), Location: sendonce.Location{Segment: 1, Offset: offset}}
	}
	death := Audit{Copies: []Copy{at(1, 1), at(2, 2)}, Indexed: map[sendonce.ID]bool{id(1): true}}
	end := Audit{Copies: []Copy{at(1, 1), at(2, 2), at(2, 3), at(3, 4)}}
	if again, ok := end.SentAgain([]Audit{death}); again != 0 || ok != 1 {
		t.Errorf("again %d, explained %d", again, ok)
	}
	end.Copies = append(end.Copies, at(1, 5), at(2, 6), at(3, 7))
	if again, ok := end.SentAgain([]Audit{death}); again != 3 || ok != 1 {
		t.Errorf("again %d, explained %d", again, ok)
	}
}

func TestOpenNothing(t *testing.T) {
	if _, err := Open(t.Context(), t.TempDir()); err == nil {
		t.Error("an empty directory was looked into")
	}
}
