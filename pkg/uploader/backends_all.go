//go:build allbackends

package uploader

// Every backend of rclone; those that cannot stream are refused by New.
import _ "github.com/rclone/rclone/backend/all"
