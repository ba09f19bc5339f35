package metrics

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
)

// Every counter is listed once, under a name of its own.
func TestListIsComplete(t *testing.T) {
	var m Metrics
	v := reflect.ValueOf(&m).Elem()
	for i := range v.NumField() {
		v.Field(i).Addr().Interface().(*atomic.Int64).Store(int64(1000 + i))
	}
	names, values := map[string]bool{}, map[int64]bool{}
	for _, one := range m.List() {
		if names[one.Name] || values[one.Value] || one.Help == "" || one.Value < 1000 {
			t.Errorf("%+v", one)
		}
		names[one.Name], values[one.Value] = true, true
	}
	if len(values) != v.NumField() {
		t.Errorf("%d metrics are listed, there are %d", len(values), v.NumField())
	}
}

func TestWrite(t *testing.T) {
	var b bytes.Buffer
	list := []Metric{{Name: "a_total", Help: "First.", Value: 5}, {Name: "b", Help: "Second.", Gauge: true, Value: -1}}
	if err := Write(&b, list); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"# HELP sendonce_a_total First.", "# TYPE sendonce_a_total counter", "sendonce_a_total 5",
		"# HELP sendonce_b Second.", "# TYPE sendonce_b gauge", "sendonce_b -1", ""}, "\n")
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if err := Write(full{}, list); !errors.Is(err, errFull) {
		t.Errorf("a writer that fails: %v", err)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
