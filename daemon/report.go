package daemon

import (
	"encoding/json"
	"time"

	"sendonce"
)

// report is what the last pass over a folder left to tell, kept in the state so
// that status and conflicts can tell it in a later process.
type report struct {
	LastSync  time.Time   `json:"last_sync"`
	Conflicts []reportRow `json:"conflicts,omitempty"`
	Skipped   []reportRow `json:"skipped,omitempty"`
}

// reportRow holds the path as bytes: names need not be UTF-8.
type reportRow struct {
	Path   []byte `json:"path"`
	Reason string `json:"reason"`
}

// maxReport bounds each list that is kept; a row has a path of up to 4 KiB, so
// the lists are also cut to maxReportBytes.
const (
	maxReport      = 500
	maxReportBytes = 24 << 10
)

func reportOf(id sendonce.FolderID) string { return "report of " + id.String() }

// keep stores what a pass left to tell, unless that is what was told before.
func (c *Client) keep(id sendonce.FolderID, st *FolderStatus, changed bool) error {
	r := report{LastSync: st.LastSync}
	size := 0
	row := func(list *[]reportRow, path, reason string) {
		if size += len(path)*4/3 + len(reason) + 40; len(*list) < maxReport && size < maxReportBytes {
			*list = append(*list, reportRow{[]byte(path), reason})
		}
	}
	for _, n := range st.Conflicts {
		row(&r.Conflicts, n.Path, n.Reason)
	}
	size = 0
	for _, n := range st.Skipped {
		row(&r.Skipped, n.Path, n.Reason)
	}
	old := c.told(id)
	if !changed && !old.LastSync.IsZero() && sameRows(old.Conflicts, r.Conflicts) && sameRows(old.Skipped, r.Skipped) {
		return nil // a quiet pass writes nothing
	}
	data, err := json.Marshal(r)
	if err != nil {
		return &sendonce.Error{Op: "keep report", Kind: sendonce.KindInternal, Err: err}
	}
	return c.db.SetSetting(reportOf(id), string(data))
}

func sameRows(a, b []reportRow) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if string(a[i].Path) != string(b[i].Path) || a[i].Reason != b[i].Reason {
			return false
		}
	}
	return true
}

// told returns what was kept; one that cannot be read is as good as none.
func (c *Client) told(id sendonce.FolderID) (r report) {
	text, err := c.db.Setting(reportOf(id))
	if err == nil && text != "" {
		_ = json.Unmarshal([]byte(text), &r)
	}
	return r
}

// recall fills a status that no pass of this process has filled yet.
func (c *Client) recall(id sendonce.FolderID, name string, st *FolderStatus) {
	if !st.LastSync.IsZero() {
		return
	}
	r := c.told(id)
	st.LastSync = r.LastSync
	for _, n := range r.Conflicts {
		st.Conflicts = append(st.Conflicts, Conflict{Folder: name, Path: string(n.Path), Reason: n.Reason})
	}
	for _, n := range r.Skipped {
		st.Skipped = append(st.Skipped, Skipped{Folder: name, Path: string(n.Path), Reason: n.Reason})
	}
}
