package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"time"

	"sendonce"
	"sendonce/protocol"
	"sendonce/proxy/metrics"
)

// adminPath is where the admin methods are on the socket: POST, with a JSON body.
const adminPath = "/v1/"

// Handler serves the admin methods (docs/protocol.md) over HTTP, for the
// proxy's own socket. Whoever reaches it may do everything: its file must be the
// owner's alone.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+adminPath+"{method}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, protocol.MaxAdminBody))
		var reply any
		if err == nil {
			reply, err = s.run(r.Context(), owner, r.PathValue("method"), body)
		}
		if err != nil {
			writeJSON(w, statusOf(err), adminFailure{errorText(err), sendonce.KindOf(err), sendonce.HintOf(err)})
			return
		}
		writeJSON(w, http.StatusOK, reply)
	})
	return mux
}

// adminFailure is the body of an answer that is not 200.
type adminFailure struct {
	Error string           `json:"error"`
	Kind  sendonce.ErrKind `json:"kind"`
	Hint  string           `json:"hint,omitempty"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded","kind":1}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n')) // nobody is left to hear of an error
}

func statusOf(err error) int {
	switch sendonce.KindOf(err) {
	case sendonce.KindInvalid, sendonce.KindUsage, sendonce.KindLimit:
		return http.StatusBadRequest
	case sendonce.KindNotFound:
		return http.StatusNotFound
	case sendonce.KindConflict, sendonce.KindExists:
		return http.StatusConflict
	case sendonce.KindUnauthorized:
		return http.StatusForbidden
	case sendonce.KindUnsupported:
		return http.StatusNotImplemented
	case sendonce.KindUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// errorText is an error's text, within what a message may carry.
func errorText(err error) string {
	s := strings.ToValidUTF8(err.Error(), "?")
	return s[:min(len(s), protocol.MaxText)]
}

// readyPatience is how long /readyz waits for the index and the store.
const readyPatience = 5 * time.Second

// Monitor serves what machines ask for, and nothing that needs to be secret:
// /metrics (Prometheus text), /healthz (the process runs), /readyz (index and
// store answer, and the server is not stopping) and /version.
func (s *Service) Monitor() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", metrics.ContentType)
		metrics.Write(w, s.metricList()) // nobody is left to hear of an error
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyPatience)
		defer cancel()
		if err := s.env.Ready(ctx); err != nil {
			http.Error(w, errorText(err), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"version": s.env.Version, "protocol": protocol.Version, "go": runtime.Version()})
	})
	return mux
}

// metricList adds what the server knows of the present moment.
func (s *Service) metricList() []metrics.Metric {
	devices := s.env.Live.Devices()
	conns := 0
	for _, n := range devices {
		conns += n
	}
	return append(s.env.Metrics.List(),
		metrics.Metric{Name: "pushes_open", Help: "Push streams open now.", Gauge: true, Value: int64(s.env.Live.Pushes())},
		metrics.Metric{Name: "devices_connected", Help: "Devices connected now.", Gauge: true, Value: int64(len(devices))},
		metrics.Metric{Name: "connections_open", Help: "Connections open now.", Gauge: true, Value: int64(conns)},
		metrics.Metric{Name: "uptime_seconds", Help: "Seconds since the proxy was made.", Gauge: true, Value: int64(s.env.Now().Sub(s.env.Started).Seconds())},
	)
}
