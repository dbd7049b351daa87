package main

import (
	"encoding/json"
	"errors"
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

// tell writes a line for people to standard error; with -o json nothing.
func (a *app) tell(text string) {
	if a.output != "json" {
		_, _ = fmt.Fprintln(a.stderr, text)
	}
}

// table writes rows in columns. A cell of several lines goes on in its column.
func (a *app) table(rows [][]string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			// Tabs and their like would be columns to the writer.
			cell = strings.NewReplacer("\t", " ", "\v", " ", "\f", " ", "\r", "").Replace(strings.TrimSpace(cell))
			cells[i] = strings.ReplaceAll(cell, "\n", "\n"+strings.Repeat("\t", i))
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// printJob writes a job for people, and a note if there is one.
func (a *app) printJob(r job.Record, note string) error {
	rows := [][]string{{"job", r.ID}, {"action", string(r.Action)}, {"database", r.Database}, {"state", string(r.State)}, {"stage", string(r.Stage)}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("backup id", backupIDText(r.BackupID))
	if r.BaseID != 0 {
		add("builds on", strconv.FormatInt(r.BaseID, 10))
	}
	add("prefix", r.Prefix)
	add("manifest", r.Manifest)
	add("asked by", r.RequestedBy)
	add("started", timeText(r.StartedAt))
	add("finished", timeText(r.FinishedAt))
	if r.Plan != nil {
		add("plan", planText(r.Plan))
	}
	add("command", r.Command)
	add("note", note)
	add("proven", provenText(&r))
	addCause(add, &r)
	for i := range r.Streams {
		add(streamTitle(&r.Streams[i]), streamText(&r.Streams[i], r.Error))
	}
	for _, f := range r.Findings {
		add(string(f.Severity), fmt.Sprintf("%s: %s %s", f.Code, f.Message, f.Key))
	}
	if r.State != job.StateSucceeded {
		for i := range r.History {
			add(historyTitle(i), eventText(&r.History[i]))
		}
	}
	return errors.Join(a.table(rows), a.printProbe(r.Probe))
}

// provenText says what a verification has shown.
func provenText(r *job.Record) string {
	var bytes int64
	for i := range r.Streams {
		bytes += r.Streams[i].Bytes
	}
	text := countText(len(r.Streams), "stream") + ", " + byteText(bytes)
	switch r.Proven {
	case job.ProofSHA256:
		return text + ": every byte matches the manifest's SHA-256"
	case job.ProofCRC64:
		return text + ": every byte matches the CRC-64 of its part; the manifest has no SHA-256"
	case job.ProofSample:
		return text + " read as a sample, which matches the checksums of its parts; the rest was not read"
	default:
		return ""
	}
}

// addCause tells why a job did not succeed, and what else there is to know.
func addCause(add func(name, value string), r *job.Record) {
	if r.Error != nil {
		add("cause", r.Error.Error())
		add("code", codeText(r.Error))
	}
	add("that means", lostText(r))
	if r.Error != nil {
		add("what to do", r.Error.Hint)
	}
	add("attention", attentionText(r))
	for _, warning := range r.Warnings {
		add("warning", warning)
	}
	for _, consequence := range r.Consequences {
		add("followed by", consequence)
	}
}

// streamTitle names a stream, by its file where several have the same id.
func streamTitle(s *job.Progress) string {
	if f, err := backup.ParseFileName(s.File); err == nil && f.Kind != backup.KindComplete {
		return fmt.Sprintf("stream %s (%s %d)", s, f.Kind, f.BackupID)
	}
	return "stream " + s.String()
}

// planText says what a restore uses.
func planText(p *job.RestorePlan) string {
	backups := "complete backup " + strconv.FormatInt(p.Complete, 10)
	if len(p.Deltas) > 0 {
		backups += ", deltas " + strings.Trim(strings.ReplaceAll(fmt.Sprint(p.Deltas), " ", ", "), "[]")
	}
	lines := []string{fmt.Sprintf("%s (%s in %s)", backups, byteText(p.Needs.DataBytes), countText(p.Needs.DataFiles, "file"))}
	if p.Logs > 0 {
		lines = append(lines, countText(p.Logs, "log backup")+", from "+p.FirstLog)
	}
	if p.Logs > 1 {
		lines = append(lines, "to "+p.LastLog)
	}
	if p.Catalog != "" {
		lines = append(lines, "catalog "+p.Catalog)
	}
	if p.Needs.StagedFiles > 0 {
		lines = append(lines, byteText(p.Needs.StagedBytes)+" have to lie in backupDirectory before HANA begins")
	}
	if !p.Until.IsZero() {
		lines = append(lines, "asked for "+timeText(p.Until))
	}
	lines = append(lines, "reaches "+timeText(p.Reaches))
	for _, note := range p.Notes {
		lines = append(lines, "note: "+note)
	}
	return strings.Join(lines, "\n")
}

// backupIDText also gives the id as HANA's backup.log writes it.
func backupIDText(id int64) string {
	if id <= 0 {
		return ""
	}
	return fmt.Sprintf("%d (in HANA's backup.log: %s)", id, job.BackupLogID(id))
}

// codeText gives our code and those of HANA, outer one first.
func codeText(e *job.Error) string {
	if e.HANACode == 0 {
		return e.Code
	}
	text := fmt.Sprintf("%s, HANA %d", e.Code, e.HANACode)
	if len(e.HANAInner) > 0 {
		text += fmt.Sprintf(" with %v", e.HANAInner)
	}
	return text
}

// streamText says how far a stream is, and what its time went into.
func streamText(s *job.Progress, cause *job.Error) string {
	if cause != nil && cause.Code == job.CodeInterrupted {
		return s.Service + ", how much it had moved is not known"
	}
	text := fmt.Sprintf("%s, %s, stored %s", s.Service, byteText(s.Bytes), byteText(s.Stored))
	if s.Door == backup.DoorSpool {
		text += ", from a file"
	}
	if w := s.Waits; w != (job.Waits{}) {
		text += fmt.Sprintf("; waited %s for HANA, %s for the store, worked %s",
			secondsText(w.HANASeconds), secondsText(w.StoreSeconds), secondsText(w.OwnSeconds))
	}
	if s.Stalled {
		text += "; STALLED, waiting for " + string(s.WaitingFor)
	}
	if s.StoreError != "" {
		text += "\n" + askedAgainText(s)
		if left := time.Until(s.StoreErrorUntil).Round(time.Second); left > 0 {
			text += ", " + left.String() + " left"
		}
		text += ": " + s.StoreError
	}
	return text
}

// historyTitle stands beside the first event only.
func historyTitle(i int) string {
	if i == 0 {
		return "what happened"
	}
	return " "
}

func eventText(e *job.Event) string {
	who := string(e.Side)
	if e.Side == job.SideHANA {
		who = "HANA"
	}
	text := e.At.UTC().Format("15:04:05.000") + "  " + who
	if e.Stream != "" {
		text += fmt.Sprintf(", stream %s at %s", e.Stream, byteText(e.Bytes))
	}
	return text + ": " + e.Text
}

// secondsText writes a number of seconds for people.
func secondsText(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// lostText explains the state that people fear most.
func lostText(r *job.Record) string {
	if r.State != job.StateLost {
		return ""
	}
	id := "this backup"
	if r.BackupID != 0 {
		id = "backup " + strconv.FormatInt(r.BackupID, 10)
	}
	return "HANA's catalog lists " + id + " as successful, the store does not have it, so it cannot be restored.\n" +
		"Deltas must not be based on it: start a new complete backup now (pipestreamer backup --database " + r.Database + ")."
}

// attentionText is what a person has to see to after a job.
func attentionText(r *job.Record) string {
	switch {
	case r.OutcomeUnknown:
		return "HANA's catalog could not be asked how the backup ended there: HANA may take it for a good one.\n" +
			"Look at M_BACKUP_CATALOG; deltas are refused until a complete backup succeeds."
	case r.TenantStopped:
		return stoppedText(r)
	case r.Suspended:
		return "This daemon was drained, or ends, before HANA could be asked how the backup had ended: the next daemon finds out."
	default:
		return ""
	}
}

func stoppedText(r *job.Record) string {
	return "tenant " + r.Database + " is stopped and not usable until a restore succeeds"
}

// ending is the last line for a job that did not succeed; its record, with the
// cause, was shown before.
func ending(r *job.Record) string {
	end := map[job.State]string{job.StateFailed: "failed", job.StateCanceled: "was canceled", job.StateLost: "is lost"}[r.State]
	text := fmt.Sprintf("%s of %s %s (see above; again with pipestreamer show %s)", r.Action, r.Database, end, r.ID)
	if r.TenantStopped {
		text += "\n" + stoppedText(r)
	}
	return text
}

// countText writes a number of things: "1 stream", "2 streams".
func countText(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
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
