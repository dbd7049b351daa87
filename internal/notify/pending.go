package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// load reads the notifications that have not arrived, oldest first. One that cannot
// be read is told and left out: it is no reason not to start. A file that is read and
// holds none will never hold one, so it is removed.
func load(directory string, log *zap.Logger) ([]notification, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("notifications: %w", err)
	}
	files, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("notifications: %w", err)
	}
	var queue []notification
	for _, file := range files {
		path := filepath.Join(directory, file.Name())
		if strings.HasPrefix(file.Name(), ".new-") {
			if err := os.Remove(path); err != nil {
				log.Warn("half of a notification stays in the state directory", zap.Error(err))
			}
			continue
		}
		if file.Name() == troubledFile {
			continue // it is no notification
		}
		note, err := read(path)
		if errors.Is(err, errNoNotification) {
			err = errors.Join(err, os.Remove(path))
			log.Error("what is no notification was removed from the state directory", zap.Error(err))
			continue
		}
		if err != nil {
			log.Error("a notification of an earlier process cannot be read", zap.Error(err))
			continue
		}
		queue = append(queue, note)
	}
	slices.SortFunc(queue, func(a, b notification) int { return a.Made.Compare(b.Made) })
	return queue, nil
}

var errNoNotification = errors.New("it is no notification")

func read(path string) (note notification, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return note, err
	}
	if err := json.Unmarshal(text, &note); err != nil {
		return note, fmt.Errorf("%s: %w: %w", path, errNoNotification, err)
	}
	if note.ID+".json" != filepath.Base(path) {
		return note, fmt.Errorf("%s: %w of this name: its id is %.100q", path, errNoNotification, note.ID)
	}
	return note, nil
}

// save leaves a whole file or none. It is not synced: what a crash of the machine
// takes is a notification.
func save(directory string, note notification) error {
	text, err := json.Marshal(note)
	if err != nil {
		return err
	}
	return write(directory, note.ID+".json", text)
}

// write replaces a file, or leaves it as it was.
func write(directory, name string, text []byte) error {
	file, err := os.CreateTemp(directory, ".new-*")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(directory, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

func remove(directory string, note notification) error {
	if err := os.Remove(filepath.Join(directory, note.ID+".json")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
