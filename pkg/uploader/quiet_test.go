package uploader

func runChild() bool { return false }
