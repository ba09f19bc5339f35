package protocol

import (
	"bytes"
	"io"
	"testing"
)

func benchmarkMessage(b *testing.B, m Message) {
	encoded, err := AppendFrame(nil, m)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(encoded)))
		b.ReportAllocs()
		w := NewWriter(io.Discard)
		for b.Loop() {
			if err := w.Send(m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(encoded)))
		b.ReportAllocs()
		src := bytes.NewReader(nil)
		for b.Loop() {
			src.Reset(encoded)
			if _, err := NewReader(src).Next(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOffer16384Refs(b *testing.B)    { benchmarkMessage(b, bigOffer()) }
func BenchmarkCommit1000Creates(b *testing.B) { benchmarkMessage(b, firstPush(1000)) }

func BenchmarkNodeList1000(b *testing.B) {
	benchmarkMessage(b, &NodeList{Op: 1, Nodes: repeat(sampleNodes()[0], 1000)})
}
