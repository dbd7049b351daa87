package backup

import "time"

// State of an entry in HANA's backup catalog (M_BACKUP_CATALOG.STATE_NAME).
const (
	CatalogSuccessful    = "successful"
	CatalogFailed        = "failed"
	CatalogRunning       = "running"
	CatalogCanceled      = "canceled"
	CatalogCancelPending = "cancel pending"
)

// EntryLog is the type of a log backup's entry in HANA's backup catalog
// (M_BACKUP_CATALOG.ENTRY_TYPE_NAME).
const EntryLog = "log backup"

// Type of a file in HANA's backup catalog
// (M_BACKUP_CATALOG_FILES.SOURCE_TYPE_NAME).
const (
	SourceVolume   = "volume"
	SourceTopology = "topology"
	SourceCatalog  = "catalog"
)

// CatalogEntry is one row of M_BACKUP_CATALOG with its files.
type CatalogEntry struct {
	EntryID int64 `json:"entry_id"`
	// BackupID is the time of the backup's start in epoch milliseconds.
	BackupID  int64         `json:"backup_id"`
	EntryType string        `json:"entry_type"`
	State     string        `json:"state"`
	Message   string        `json:"message,omitempty"`
	Comment   string        `json:"comment,omitempty"`
	StartedAt time.Time     `json:"started_at,omitzero"`
	EndedAt   time.Time     `json:"ended_at,omitzero"`
	Files     []CatalogFile `json:"files"`
}

// CatalogFile is one row of M_BACKUP_CATALOG_FILES.
type CatalogFile struct {
	VolumeID        int    `json:"volume_id"`
	SourceType      string `json:"source_type"`
	Service         string `json:"service"`
	Host            string `json:"host"`
	Size            int64  `json:"size"`
	DestinationType string `json:"destination_type"`
	Path            string `json:"path"`
	// RedoLogPosition is where a recovery from this file of a data backup begins
	// to replay the log.
	RedoLogPosition int64 `json:"redo_log_position,omitempty"`
	// FirstLogPosition, LastLogPosition and LastCommit are of a log backup.
	FirstLogPosition int64     `json:"first_log_position,omitempty"`
	LastLogPosition  int64     `json:"last_log_position,omitempty"`
	LastCommit       time.Time `json:"last_commit,omitzero"`
}
