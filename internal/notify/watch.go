package notify

import (
	"context"
	"time"
)

// Watch asks look at intervals, until ctx ends, what is wrong with the log of which
// database, and tells when something begins to be and when nothing is any more.
// What is wrong at the first look is told; a database that is not named is well.
func (n *Notifier) Watch(ctx context.Context, interval time.Duration, look func() map[string]string) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	wrong := make(map[string]bool)
	for {
		now := look()
		for database, trouble := range now {
			if trouble != "" && !wrong[database] {
				wrong[database] = true
				n.Tell(Event{Type: LogsTrouble, Timestamp: time.Now().UTC(), Data: Data{Database: database, Message: trouble}})
			}
		}
		for database := range wrong {
			if now[database] == "" {
				delete(wrong, database)
				n.Tell(Event{Type: LogsWell, Timestamp: time.Now().UTC(), Data: Data{Database: database}})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
