package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"text/template"
	"time"
)

// The types of events.
const (
	JobSucceeded = "job.succeeded"
	// JobRecovered is a success that ends the failures of the same action on the
	// same database.
	JobRecovered = "job.recovered"
	JobFailed    = "job.failed"
	JobCanceled  = "job.canceled"
	JobLost      = "job.lost"
	LogsTrouble  = "logs.trouble"
	LogsWell     = "logs.recovered"
)

// Types are all types of events.
func Types() []string {
	return []string{JobSucceeded, JobRecovered, JobFailed, JobCanceled, JobLost, LogsTrouble, LogsWell}
}

// Event is what a webhook is told. Its JSON is the body of a request unless there
// is a template, and what a template sees.
type Event struct {
	// Type is one of Types.
	Type string `json:"type"`
	// Timestamp is when it happened.
	Timestamp time.Time `json:"timestamp"`
	Data      Data      `json:"data"`
}

// Data is what an event is about. Fields that it does not have are missing.
type Data struct {
	SID      string `json:"sid"`
	Database string `json:"database"`
	// Of jobs: what it did, how it has ended, and the first cause, if it failed.
	JobID    string  `json:"job_id,omitempty"`
	Action   string  `json:"action,omitempty"`
	Kind     string  `json:"kind,omitempty"`
	State    string  `json:"state,omitempty"`
	BackupID int64   `json:"backup_id,omitempty"`
	Bytes    int64   `json:"bytes,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
	Code     string  `json:"code,omitempty"`
	HANACode int     `json:"hana_code,omitempty"`
	// Message is the cause, or what the trouble is, in words; Hint what to do.
	Message string `json:"message,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// sample is an event with every field, to try templates with. Its text has what
// has to be quoted in JSON.
func sample() Event {
	return Event{
		Type: JobFailed, Timestamp: time.Date(2026, 11, 30, 2, 3, 40, 0, time.UTC),
		Data: Data{
			SID: "HXE", Database: "HXE", JobID: "01a201df-8588-7548-82aa-7f9b79228d61", Action: "backup", Kind: "complete", State: "failed",
			BackupID: 1795327755677, Bytes: 1 << 30, Seconds: 220.5, Code: "upload_failed", HANACode: 447,
			Message: "part 86:\n\"403 ExpiredToken\"", Hint: "Mend the store, then start a new backup.",
		},
	}
}

// parseTemplate reads a template and tries it. A text that is to stand in JSON goes
// through the function json, which quotes it.
func parseTemplate(text string) (*template.Template, error) {
	t, err := template.New("notify.template").Option("missingkey=error").Funcs(template.FuncMap{"json": quote}).Parse(text)
	if err != nil {
		return nil, err
	}
	_, err = render(t, sample())
	return t, err
}

// quote gives any value as JSON.
func quote(value any) (string, error) {
	text, err := json.Marshal(value)
	return string(text), err
}

// render makes the body of a request.
func render(t *template.Template, e Event) ([]byte, error) {
	if t == nil {
		return json.Marshal(e)
	}
	var body bytes.Buffer
	if err := t.Execute(&body, e); err != nil {
		return nil, err
	}
	var document any
	if err := json.Unmarshal(body.Bytes(), &document); err != nil {
		return nil, fmt.Errorf("expected JSON from the template: %w (texts go through json: {{.Data.Message | json}})", err)
	}
	return body.Bytes(), nil
}
