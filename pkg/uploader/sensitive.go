package uploader

import "github.com/rclone/rclone/fs"

// Sensitive says whether the value of an option of a store of this type should not
// be shown: rclone calls it a password or sensitive, which it also does with some
// user names and access keys, or does not know it.
func Sensitive(kind, option string) bool {
	info, err := fs.Find(kind)
	if err != nil {
		return true
	}
	known := info.Options.Get(option)
	return known == nil || known.IsPassword || known.Sensitive
}
