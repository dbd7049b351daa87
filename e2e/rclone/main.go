// Command rclone is rclone with only the verbs and stores that the tests of
// docs/restore-by-hand.md and the benchmarks need. Building all of rclone takes minutes; this
// shares what the daemon has compiled already. It has a module of its own so
// that rclone's command line stays out of the daemon's go.mod.
package main

import (
	_ "github.com/rclone/rclone/backend/crypt"
	_ "github.com/rclone/rclone/backend/local"
	_ "github.com/rclone/rclone/backend/s3"
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/cat"
	_ "github.com/rclone/rclone/cmd/lsf"
	_ "github.com/rclone/rclone/cmd/rcat"
)

func main() { cmd.Main() }
