package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
)

// TestFollow has a backup pass through a file system that is a quarter of its
// size: it is uploaded while HANA writes it, and freed behind the store. HANA
// writes no faster than the store takes, for nothing holds it back.
// E2E_FOLLOW_MIB asks for a larger one, through an eighth of it.
func TestFollow(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		missing(t, "needs root, to mount a tmpfs")
	}
	size := int64(numberOr(t, "E2E_FOLLOW_MIB", 768))
	follow(t, size, max(size/8, 192), nil)
}

// TestFollowEncoded does the same with HANA's bytes compressed and encrypted: what
// the store acknowledges of them has to be translated before a block is freed.
func TestFollowEncoded(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		missing(t, "needs root, to mount a tmpfs")
	}
	recipient, identity := newIdentity(t)
	follow(t, 400, 160, map[string]any{
		"compression": "fastest", "encryption": map[string]any{"recipients": []string{recipient}, "identityFile": identity},
	})
}

// follow has size MiB pass through room MiB, with changes of the configuration.
func follow(t *testing.T, size, room int64, changes map[string]any) {
	t.Helper()
	w := &world{t: t, depot: openS3(t), backups: directory(t), hana: startHANA(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(size * mebibyte)}}, Profile: hanasim.Dotname,
	})}
	w.log.showOnFailure(t, "the daemon")
	if err := unix.Mount("tmpfs", w.backups, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0770", room)); err != nil {
		t.Fatalf("mount %s: %v", w.backups, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(w.backups, 0); err != nil {
			t.Errorf("unmount %s: %v", w.backups, err)
		}
	})
	w.configure(overlay(map[string]any{"door": "spool", "spool": map[string]any{"follow": true, "punch": true}}, changes))
	w.startDaemon()
	w.hana.set("delay-write", "30ms") // for each MiB
	start := time.Now()
	record := w.backUp("HXE")
	t.Logf("%d MiB through %d MiB in %s", size, room, time.Since(start).Round(time.Millisecond))
	w.expectAgreement(record)
	w.stopDaemon()

	// There is no room for files, so it comes back through pipes.
	w.hana.set("delay-write", "0s")
	w.configure(changes)
	w.startDaemon()
	w.destroyAndRestore(record)
	w.stopDaemon()
}
