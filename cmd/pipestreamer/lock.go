package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockState makes sure that no other daemon uses the state directory, until the
// file is closed or the process ends (flock(2)).
func lockState(directory string) (*os.File, error) {
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return nil, err
	}
	path := filepath.Join(directory, "lock")
	// For reading: one that is open for writing keeps its volume from being
	// mounted read-only. NFS locks for writers only, and says EBADF (flock(2)).
	file, err := lockFile(path, os.O_RDONLY)
	if errors.Is(err, syscall.EBADF) {
		file, err = lockFile(path, os.O_RDWR)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("another pipestreamer already uses this state directory")
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}

func lockFile(path string, flag int) (*os.File, error) {
	file, err := os.OpenFile(path, flag|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
