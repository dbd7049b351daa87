package spool_test

import (
	"os"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// That files are to be punched does not say that they can be.
func TestPunching(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	for name, c := range map[string]struct {
		change     func(*spool.Config)
		configured bool
		obstacle   string
	}{
		"not wanted":               {func(*spool.Config) {}, false, ""},
		"without following":        {func(c *spool.Config) { c.Punch = true }, false, ""},
		"possible":                 {func(c *spool.Config) { c.Follow, c.Punch = true, true }, true, ""},
		"files of somebody else":   {func(c *spool.Config) { c.Follow, c.Punch, c.Owners = true, true, []uint32{12001} }, true, "user 12001"},
		"a file system without it": {func(c *spool.Config) { c.Directory, c.Follow, c.Punch = "/proc", true, true }, true, "does not show"},
		"no directory":             {func(c *spool.Config) { c.Directory, c.Follow, c.Punch = dir+"/absent", true, true }, true, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Geteuid() == 0 && strings.HasPrefix(c.obstacle, "user") {
				c.obstacle = "" // root writes files of everybody
			}
			cfg := spool.Config{Directory: dir}
			c.change(&cfg)
			configured, obstacle := spool.NewVolume(cfg).Punching()
			if configured != c.configured || (obstacle == nil) != (c.obstacle == "") || obstacle != nil && !strings.Contains(obstacle.Error(), c.obstacle) {
				t.Errorf("configured %v, obstacle %v", configured, obstacle)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}
