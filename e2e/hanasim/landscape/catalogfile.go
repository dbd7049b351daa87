package landscape

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// catalogBackup is the beginning of the name of a backup of the catalog.
const catalogBackup = "log_backup_0_0_0_0."

// savedCatalog is the content of a backup of the catalog: JSON, padded with
// random bytes. The format is the simulator's own.
type savedCatalog struct {
	Database string        `json:"database"`
	SID      string        `json:"sid"`
	Entries  []*savedEntry `json:"entries"`
}

type savedEntry struct {
	ID      int64       `json:"id"`
	Type    string      `json:"type"`
	State   string      `json:"state"`
	Start   time.Time   `json:"start"`
	End     time.Time   `json:"end,omitzero"`
	History int64       `json:"history"`
	Base    int64       `json:"base,omitempty"`
	Files   []savedFile `json:"files,omitempty"`
}

type savedFile struct {
	Volume  int    `json:"volume"`
	Source  string `json:"source"`
	Service string `json:"service"`
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	First   int64  `json:"first,omitempty"`
	Last    int64  `json:"last,omitempty"`
}

func saved(e *Entry) *savedEntry {
	s := &savedEntry{ID: e.ID, Type: e.Type, State: e.State, Start: e.Start, End: e.End, History: e.History, Base: e.Base}
	for _, f := range e.Files {
		s.Files = append(s.Files, savedFile{f.Volume, f.Source, f.Service, f.Path, f.Size, f.Header.Log.First, f.Header.Log.Last})
	}
	return s
}

// catalogFile gives the backup of a database's catalog as it is when entry has
// its present state, to be written as a file of that entry; s.mu is held. When
// the directory does not exist here the file is only claimed.
func (s *System) catalogFile(d *database, entry *Entry) (file *File, exists bool, err error) {
	dir, exists := s.logDirectory(d.name, basepathCatalog)
	path := filepath.Join(dir, catalogBackup+strconv.FormatInt(entry.ID, 10))
	content := savedCatalog{Database: d.name, SID: s.config.SID}
	for _, e := range d.entries {
		if e.ID == entry.ID {
			e = entry
		}
		content.Entries = append(content.Entries, saved(e))
	}
	data, err := json.Marshal(content)
	if err != nil {
		return nil, false, fmt.Errorf("backup of the catalog: %w", err)
	}
	// The least size, with the header, is what was seen of an empty system: 12288.
	const page = 4096
	size := max(2*page, (int64(len(data))+page-1)/page*page)
	header := files.Header{
		DBID: d.id, BackupID: entry.ID, Host: s.config.Host, Service: d.master(), Destination: path,
		Content: files.Content{Seed: uint64(entry.ID), Size: size}, To: size, Data: data, Log: files.Log{History: d.history},
	}
	return &File{Source: sourceCatalog, Service: d.master(), Path: path, Size: header.FileSize(), Header: header}, exists, nil
}

// readCatalog reads the newest backup of a catalog in a directory.
func readCatalog(ctx context.Context, reader files.Reader, dir string) (savedCatalog, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return savedCatalog{}, strategyError("no backup catalog was found in %s: %v", dir, err)
	}
	newest := int64(0)
	for _, name := range names {
		text, found := strings.CutPrefix(name.Name(), catalogBackup)
		if id, err := strconv.ParseInt(text, 10, 64); found && err == nil {
			newest = max(newest, id)
		}
	}
	if newest == 0 {
		return savedCatalog{}, strategyError("no backup catalog was found in %s", dir)
	}
	header, err := reader.Verify(ctx, filepath.Join(dir, catalogBackup+strconv.FormatInt(newest, 10)))
	if err != nil {
		return savedCatalog{}, recoveryError(0, 0, err)
	}
	var catalog savedCatalog
	if err := json.Unmarshal(header.Data, &catalog); err != nil {
		return savedCatalog{}, strategyError("the backup catalog %d cannot be read: %v", newest, err)
	}
	slices.SortFunc(catalog.Entries, func(a, b *savedEntry) int { return int(a.ID - b.ID) })
	return catalog, nil
}
