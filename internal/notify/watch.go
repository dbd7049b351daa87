package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
)

// troubledFile has the names of the databases whose trouble was told and has not
// ended, beside the notifications.
const troubledFile = "troubled.json"

// Watch asks look at intervals, until ctx ends, what is wrong with the log of which
// database, and tells when something begins to be and when nothing is any more. look
// gets the names of those whose trouble was told, by an earlier process maybe. A
// database that look does not name is as it was; one without trouble is well.
func (n *Notifier) Watch(ctx context.Context, interval time.Duration, look func(troubled []string) map[string]string) {
	troubled := n.recall()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := look(slices.Sorted(maps.Keys(troubled)))
		if n.compare(troubled, now) {
			n.remember(troubled)
		}
	}
}

// compare tells of what has changed since, and says whether anything did.
func (n *Notifier) compare(troubled map[string]bool, now map[string]string) (changed bool) {
	for database, trouble := range now {
		event := Event{Timestamp: time.Now().UTC(), Data: Data{Database: database, Message: trouble}}
		switch {
		case trouble != "" && !troubled[database]:
			event.Type = LogsTrouble
			if n.Tell(event) {
				troubled[database], changed = true, true
			}
		case trouble == "" && troubled[database]:
			event.Type = LogsWell
			n.Tell(event)
			delete(troubled, database)
			changed = true
		}
	}
	return changed
}

// recall reads what an earlier process has told.
func (n *Notifier) recall() map[string]bool {
	troubled := make(map[string]bool)
	var names []string
	text, err := os.ReadFile(filepath.Join(n.config.Directory, troubledFile))
	if err == nil {
		err = json.Unmarshal(text, &names)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.log.Error("which trouble with logs was told is not known any more: it is told again, or its end is not", zap.Error(err))
	}
	for _, name := range names {
		troubled[name] = true
	}
	return troubled
}

// remember lets the next process know.
func (n *Notifier) remember(troubled map[string]bool) {
	text, err := json.Marshal(slices.Sorted(maps.Keys(troubled)))
	if err == nil {
		err = write(n.config.Directory, troubledFile, text)
	}
	if err != nil {
		n.log.Warn("which trouble with logs was told is forgotten when the daemon ends", zap.Error(err))
	}
}
