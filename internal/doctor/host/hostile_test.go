package host_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pipestreamer/pipestreamer/internal/doctor/host"
)

// TestLookAtALink: a directory that was swapped for a link is not followed, and
// nothing is tried where it leads.
func TestLookAtALink(t *testing.T) {
	t.Parallel()
	target := t.TempDir()
	link := filepath.Join(t.TempDir(), "backup")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	d := host.LookAt(link)
	if d.Error == nil || !strings.Contains(d.Error.Error(), "symbolic link") {
		t.Errorf("got %v", d.Error)
	}
	after, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	if !after.ModTime().Equal(before.ModTime()) {
		t.Error("something was tried where the link leads")
	}
}

// TestTrialIsSwapped has somebody in HANA's container who puts a link, or a hard
// link, where the trial is: what that is of is not written to.
func TestTrialIsSwapped(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(victim, at string) error{"a link": os.Symlink, "a hard link": os.Link} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			shared, victim := filepath.Join(dir, "shared"), filepath.Join(dir, "victim")
			if err := errors.Join(os.Mkdir(shared, 0o770), os.WriteFile(victim, []byte("precious"), 0o600)); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			var attacker sync.WaitGroup
			planted := 0
			attacker.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					entries, err := os.ReadDir(shared)
					if err != nil {
						t.Error(err)
						return
					}
					for _, e := range entries {
						at := filepath.Join(shared, e.Name())
						if os.Remove(at) == nil && plant(victim, at) == nil {
							planted++
						}
					}
				}
			})
			for range 200 {
				host.LookAt(shared)
			}
			close(done)
			attacker.Wait()
			if planted == 0 {
				t.Error("nothing was planted")
			}
			if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
				t.Errorf("the file that was linked has %q, %v; %d were planted", text, err, planted)
			}
		})
	}
}
