package hdbtrigger

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Databases are SYSTEMDB and the tenants, online or not. A view that does not show
// the whole system is an error: it is no proof that a tenant is gone.
func (t *Trigger) Databases(ctx context.Context) ([]string, error) {
	var names []string
	err := t.query(ctx, selectDatabases, func(scan func(...any) error) error {
		var name sql.Null[string]
		if err := scan(&name); err != nil {
			return err
		}
		names = append(names, name.V)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, backup.SystemDB) {
		return nil, errors.New("M_DATABASES does not show SYSTEMDB (without CATALOG READ the view may look empty)")
	}
	return names, nil
}
