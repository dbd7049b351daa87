package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// print writes value as JSON, or lets asText write it for people.
func (a *app) print(value any, asText func() error) error {
	if a.output != "json" {
		return asText()
	}
	encoder := json.NewEncoder(a.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func (a *app) println(text string) error {
	_, err := fmt.Fprintln(a.stdout, text)
	return err
}

// table writes rows in columns.
func (a *app) table(rows [][]string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// printJob writes a job for people.
func (a *app) printJob(r job.Record) error {
	rows := [][]string{{"job", r.ID}, {"action", string(r.Action)}, {"database", r.Database}, {"state", string(r.State)}, {"stage", string(r.Stage)}}
	add := func(name, value string) {
		if value != "" && value != "0" {
			rows = append(rows, []string{name, value})
		}
	}
	add("backup id", strconv.FormatInt(r.BackupID, 10))
	add("prefix", r.Prefix)
	add("manifest", r.Manifest)
	add("started", timeText(r.StartedAt))
	add("finished", timeText(r.FinishedAt))
	add("command", r.Command)
	if r.Error != nil {
		add("cause", r.Error.Error())
		add("code", r.Error.Code)
		add("what to do", r.Error.Hint)
	}
	for _, consequence := range r.Consequences {
		add("followed by", consequence)
	}
	for i := range r.Streams {
		s := &r.Streams[i]
		add("stream "+s.String(), fmt.Sprintf("%s, %s, stored %s", s.Service, byteText(s.Bytes), byteText(s.Stored)))
	}
	for _, f := range r.Findings {
		add(string(f.Severity), fmt.Sprintf("%s: %s %s", f.Code, f.Message, f.Key))
	}
	return a.table(rows)
}

// printManifest writes a manifest for people.
func (a *app) printManifest(m *backup.Manifest) error {
	rows := [][]string{
		{"backup id", strconv.FormatInt(m.BackupID, 10)},
		{"database", m.SID + "/" + m.Database},
		{"kind", string(m.Kind)},
		{"HANA version", m.HANAVersion},
		{"started", timeText(m.StartedAt)},
		{"finished", timeText(m.FinishedAt)},
		{"size", byteText(m.Bytes())},
		{"files", m.Plan("", m.Directory).Path()},
		{"job", m.JobID},
	}
	for i := range m.Streams {
		s := &m.Streams[i]
		rows = append(rows, []string{"stream " + s.String(), fmt.Sprintf("%s, %s, sha256 %s", s.Service, byteText(s.Size), s.SHA256)})
		for j := range s.Objects {
			rows = append(rows, []string{"", s.Objects[j].Key})
		}
	}
	return a.table(rows)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
