package hdbtrigger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// parameter gives every value of a global.ini parameter that holds for a
// database, from the strongest layer that sets it: HOST (one value per host),
// DATABASE, SYSTEM, DEFAULT. None is an empty list.
func (t *Trigger) parameter(ctx context.Context, database, section, key string) ([]string, error) {
	layers := map[string][]string{}
	err := t.query(ctx, selectParameter, func(scan func(...any) error) error {
		var name string
		var value, layer, tenant sql.Null[string]
		if err := scan(&name, &value, &layer, &tenant); err != nil {
			return err
		}
		ours := tenant.V == "" || tenant.V == database
		if name == key && ours {
			layers[layer.V] = append(layers[layer.V], strings.TrimSpace(value.V))
		}
		return nil
	}, section)
	if err != nil {
		return nil, err
	}
	for _, layer := range []string{"HOST", "DATABASE", "SYSTEM", "DEFAULT"} {
		if values := layers[layer]; len(values) > 0 {
			return values, nil
		}
	}
	return nil, nil
}

// checkChunkSize refuses when HANA would split a volume into several files:
// their number is not known before, and only the first has a reader.
func (t *Trigger) checkChunkSize(ctx context.Context, database string) error {
	const section, key = "backup", "data_backup_max_chunk_size"
	values, err := t.parameter(ctx, database, section, key)
	if err != nil {
		return err
	}
	for _, value := range values {
		if value != "" && value != "0" {
			return fmt.Errorf("global.ini [%s] %s is %s: expected 0 or unset, for HANA must write each volume into one file", section, key, value)
		}
	}
	return nil
}

// checkPrimary refuses on the secondary site of a system replication.
//
// What SQL can tell is limited. A usual secondary refuses every connection, so
// this is never reached there; one that is read-enabled answers SELECTs. HANA
// keeps the role in global.ini [system_replication]: actual_mode follows a
// takeover, mode only says how the site was registered, so that rows in
// M_SERVICE_REPLICATION, which only a primary has, overrule it (inferred). A
// suspended primary, and two primaries after a takeover without fencing, look
// like a primary; hdbnsutil -sr_state in HANA's container knows more.
func (t *Trigger) checkPrimary(ctx context.Context, _ string) error {
	const section = "system_replication"
	actual, err := t.parameter(ctx, backup.SystemDB, section, "actual_mode")
	if err != nil {
		return err
	}
	for _, mode := range actual {
		if isSecondary(mode) {
			return fmt.Errorf("%w: global.ini [%s] actual_mode is %s", backup.ErrNotPrimary, section, mode)
		}
	}
	if len(actual) > 0 && strings.EqualFold(actual[0], "primary") {
		return nil
	}
	registered, err := t.parameter(ctx, backup.SystemDB, section, "mode")
	if err != nil {
		return err
	}
	for _, mode := range registered {
		if !isSecondary(mode) {
			continue
		}
		replicating, err := t.replicates(ctx)
		if err != nil || replicating {
			return err
		}
		return fmt.Errorf("%w: global.ini [%s] mode is %s", backup.ErrNotPrimary, section, mode)
	}
	return nil
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
