package main

import (
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	names := func(o options) (out []string) {
		list, err := choose(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			out = append(out, r.name)
		}
		return out
	}
	all := names(options{})
	if slices.Contains(all, "big-10g") || !slices.Contains(names(options{long: true}), "big-10g") || len(all) != len(rows())-1 {
		t.Errorf("without -long: %v", all)
	}
	if got := names(options{only: "link,big-10g"}); !slices.Equal(got, []string{"big-10g", "link"}) {
		t.Errorf("-only: %v", got)
	}
	if got := names(options{skip: "link"}); slices.Contains(got, "link") || len(got) != len(all)-1 {
		t.Errorf("-skip: %v", got)
	}
	if _, err := choose(options{only: "lnik"}); err == nil {
		t.Error("an unknown row was taken")
	}
}

func TestPartsRefuseNonsense(t *testing.T) {
	for _, args := range [][]string{nil, {"get"}, {"receive", "127.0.0.1:0", "x"}, {"send", "a", "b", "x"}, {"stages", "a", "b", "x"}} {
		if part(args) == nil {
			t.Errorf("part %q did something", args)
		}
	}
}
