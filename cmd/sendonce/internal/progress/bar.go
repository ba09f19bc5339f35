package progress

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"sendonce/daemon"
)

// bar is one line that mpb draws again and again, from a goroutine of its own.
type bar struct {
	container *mpb.Progress
	bar       *mpb.Bar
	text      atomic.Pointer[string]
}

func newBar(w io.Writer) *bar {
	b := &bar{}
	b.text.Store(new(string))
	b.container = mpb.New(mpb.WithOutput(w), mpb.WithRefreshRate(120*time.Millisecond), mpb.WithAutoRefresh())
	style := mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]")
	b.bar = b.container.New(0, style, mpb.BarRemoveOnComplete(), mpb.BarWidth(20),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *b.text.Load() })))
	return b
}

func (b *bar) show(p daemon.Progress, text string) {
	text = " " + text
	b.text.Store(&text)
	// A total of 0 stands for "not known yet"; the bar then stays empty. The
	// bar must not complete by itself, hence one more than what is done.
	b.bar.SetTotal(max(p.BytesTotal, p.Bytes)+1, false)
	if p.BytesTotal > 0 {
		b.bar.SetCurrent(p.Bytes)
	}
}

func (b *bar) close() {
	b.bar.Abort(true)
	b.container.Wait()
}
