package hdbtrigger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// setting is a global.ini parameter as the strongest layer has it that sets it:
// HOST (one value per host), DATABASE, SYSTEM, DEFAULT.
type setting struct {
	layer  string
	values []string
}

// section gives the parameters of a section of global.ini that hold for a
// database, by key. What no layer sets is not there.
func (t *Trigger) section(ctx context.Context, database, section string) (map[string]setting, error) {
	rank := map[string]int{"HOST": 4, "DATABASE": 3, "SYSTEM": 2, "DEFAULT": 1}
	settings := map[string]setting{}
	err := t.query(ctx, selectSection, func(scan func(...any) error) error {
		var key string
		var value, layer, tenant sql.Null[string]
		if err := scan(&key, &value, &layer, &tenant); err != nil {
			return err
		}
		ours := tenant.V == "" || tenant.V == database
		strongest := settings[key]
		if !ours || rank[layer.V] == 0 || rank[layer.V] < rank[strongest.layer] {
			return nil
		}
		if layer.V != strongest.layer {
			strongest = setting{layer: layer.V}
		}
		strongest.values = append(strongest.values, strings.TrimSpace(value.V))
		settings[key] = strongest
		return nil
	}, section)
	if err != nil {
		return nil, err
	}
	return settings, nil
}

// checkChunkSize refuses when HANA would split a volume into several files:
// their number is not known before, and only the first has a reader.
func (t *Trigger) checkChunkSize(ctx context.Context, database string) error {
	settings, err := t.section(ctx, database, sectionBackup)
	if err != nil {
		return err
	}
	for _, value := range settings[keyChunkSize].values {
		if value != "" && value != "0" {
			return fmt.Errorf("global.ini [%s] %s is %s: expected 0 or unset, for HANA must write each volume into one file", sectionBackup, keyChunkSize, value)
		}
	}
	return nil
}

const (
	sectionBackup      = "backup"
	sectionPersistence = "persistence"
	sectionReplication = "system_replication"

	keyChunkSize = "data_backup_max_chunk_size"
)

// checkPrimary refuses on the secondary site of a system replication.
func (t *Trigger) checkPrimary(ctx context.Context, _ string) error {
	primary, mode, err := t.role(ctx)
	if err != nil {
		return err
	}
	if !primary {
		return fmt.Errorf("%w: global.ini [%s] %s", backup.ErrNotPrimary, sectionReplication, mode)
	}
	return nil
}

// role tells whether this is the primary site, or the only one, and which
// parameter says so ("actual_mode is sync"), empty when none does.
//
// What SQL can tell is limited. A usual secondary refuses every connection, so
// this is never reached there; one that is read-enabled answers SELECTs. HANA
// keeps the role in global.ini [system_replication]: actual_mode follows a
// takeover, mode only says how the site was registered, so that rows in
// M_SERVICE_REPLICATION, which only a primary has, overrule it (inferred). A
// suspended primary, and two primaries after a takeover without fencing, look
// like a primary; hdbnsutil -sr_state in HANA's container knows more.
func (t *Trigger) role(ctx context.Context) (primary bool, mode string, err error) {
	settings, err := t.section(ctx, backup.SystemDB, sectionReplication)
	if err != nil {
		return false, "", err
	}
	actual, registered := settings["actual_mode"].values, settings["mode"].values
	for _, value := range actual {
		if isSecondary(value) {
			return false, "actual_mode is " + value, nil
		}
	}
	if len(actual) > 0 {
		mode = "actual_mode is " + actual[0]
	}
	if len(actual) > 0 && strings.EqualFold(actual[0], "primary") {
		return true, mode, nil
	}
	for _, value := range registered {
		if !isSecondary(value) {
			continue
		}
		replicating, err := t.replicates(ctx)
		return replicating, "mode is " + value, err
	}
	return true, mode, nil
}

// isSecondary reports whether a mode (primary, none, sync, syncmem, async …)
// is that of a site that receives.
func isSecondary(mode string) bool {
	return mode != "" && !strings.EqualFold(mode, "primary") && !strings.EqualFold(mode, "none")
}

// replicates reports whether this site ships its log to another.
func (t *Trigger) replicates(ctx context.Context) (bool, error) {
	var rows int64
	err := t.query(ctx, selectReplication, func(scan func(...any) error) error { return scan(&rows) })
	return rows > 0, err
}
