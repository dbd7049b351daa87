package hdbtrigger

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDatabases(t *testing.T) {
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	got, err := trigger.Databases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"DOWN", "HXE", "SYSTEMDB"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	hana.set("SYS.M_DATABASES")
	if got, err = trigger.Databases(t.Context()); err == nil || got != nil || !strings.Contains(err.Error(), "CATALOG READ") {
		t.Errorf("an empty view gave %v, %v", got, err)
	}
}
