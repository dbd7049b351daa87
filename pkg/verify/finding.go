package verify

// Severity is how much a finding matters.
type Severity string

// The severities.
const (
	// SeverityError means that the backup cannot be restored as it is.
	SeverityError Severity = "error"
	// SeverityWarning means that it can, but somebody should look.
	SeverityWarning Severity = "warning"
)

// Finding is a difference between a manifest and what the store holds.
type Finding struct {
	// Code is stable, for example "object_missing".
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Stream   string   `json:"stream,omitempty"`
	Key      string   `json:"key,omitempty"`
	// Part counts from 1; 0 means the object as a whole.
	Part    int    `json:"part_number,omitempty"`
	Message string `json:"message"`
}
