package logship

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// readers is how many indexes are read at a time.
	readers = 16
	// readTries is how often an index is read when the store fails.
	readTries = 3
	// skew is by how much the clock that gave a time may be ahead of the one
	// that gave an index its sequence.
	skew = time.Hour
)

// ReadIndexes returns the log and catalog backups of a database that indexes
// name which were written at since or later, and up to an hour before, because
// clocks differ; a zero since means all. The newest entry of each name counts.
// They are sorted by volume, log position and backup id, those of the catalog
// last. For an index that is damaged, missing or of another database, damaged has
// an error that names its key: what only it said is not known, and is missing in
// the log. The last error is the store's.
func ReadIndexes(
	ctx context.Context, store backup.Store, sid, database string, since time.Time,
) (files []backup.LogFile, damaged []error, err error) {
	sequences, err := listIndexes(ctx, store, sid, database)
	if err != nil {
		return nil, nil, err
	}
	if !since.IsZero() {
		from := since.Add(-skew).UnixMilli()
		sequences = slices.DeleteFunc(sequences, func(n int64) bool { return n < from })
	}
	indexes, damaged, err := readIndexes(ctx, store, sid, database, sequences)
	if err != nil {
		return nil, nil, err
	}
	files = slices.Collect(maps.Values(newestEntries(indexes)))
	sortFiles(files)
	return files, damaged, nil
}

// listIndexes returns the sequences of the indexes, sorted. What has another
// name than an index is not one.
func listIndexes(ctx context.Context, store backup.Store, sid, database string) ([]int64, error) {
	prefix := backup.LogIndexPrefix(sid, database)
	objects, err := store.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list log indexes %s: %w", prefix, err)
	}
	var sequences []int64
	for _, o := range objects {
		number, _ := strings.CutSuffix(strings.TrimPrefix(o.Key, prefix), ".json")
		n, err := strconv.ParseInt(number, 10, 64)
		if err == nil && n > 0 && backup.LogIndexKey(sid, database, n) == o.Key {
			sequences = append(sequences, n)
		}
	}
	slices.Sort(sequences)
	return sequences, nil
}

// readIndexes reads the indexes of these sequences, sorted as they are. Those
// that cannot be used are in damaged, by the same order; the error is for what
// the store does not tell.
func readIndexes(ctx context.Context, store backup.Store, sid, database string, sequences []int64) (indexes []*backup.LogIndex, damaged []error, err error) {
	read := make([]*backup.LogIndex, len(sequences))
	faults := make([]error, len(sequences))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i, sequence := range sequences {
		group.Go(func() (err error) {
			read[i], faults[i], err = readIndex(ctx, store, sid, database, sequence)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for i := range sequences {
		if faults[i] != nil {
			damaged = append(damaged, faults[i])
			continue
		}
		indexes = append(indexes, read[i])
	}
	return indexes, damaged, nil
}

// readIndex reads one index. The fault says why it cannot be used.
func readIndex(ctx context.Context, store backup.Store, sid, database string, sequence int64) (x *backup.LogIndex, fault, err error) {
	key := backup.LogIndexKey(sid, database, sequence)
	text, err := backoff.Retry(ctx, func() ([]byte, error) {
		text, err := readObject(ctx, store, key, backup.LogIndexLimit)
		if errors.Is(err, backup.ErrNotFound) {
			return nil, backoff.Permanent(err)
		}
		return text, err
	}, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxTries(readTries))
	if errors.Is(err, backup.ErrNotFound) {
		return nil, fmt.Errorf("log index %s was listed and is not there: %w", key, err), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read log index %s: %w", key, err)
	}
	x, err = backup.DecodeLogIndex(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("log index %s is damaged: %w", key, err), nil
	case x.SID != sid || x.Database != database || x.Sequence != sequence:
		return nil, fmt.Errorf("log index %s is that of %s@%s with sequence %d", key, x.Database, x.SID, x.Sequence), nil
	}
	return x, nil, nil
}

// readObject reads a whole object of less than limit bytes.
func readObject(ctx context.Context, store backup.Store, key string, limit int64) ([]byte, error) {
	body, err := store.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(body, limit))
	if err == nil && int64(len(text)) == limit {
		err = fmt.Errorf("%s has %d bytes or more", key, limit)
	}
	return text, errors.Join(err, body.Close())
}

// newestEntries gives each name its entry in the last of the indexes, which are
// sorted by sequence.
func newestEntries(indexes []*backup.LogIndex) map[string]backup.LogFile {
	files := make(map[string]backup.LogFile)
	for _, x := range indexes {
		for i := range x.Files {
			files[x.Files[i].Name] = x.Files[i]
		}
	}
	return files
}

// sortFiles sorts by volume, log position and backup id, those of the catalog
// last.
func sortFiles(files []backup.LogFile) {
	slices.SortFunc(files, func(a, b backup.LogFile) int { return compareNames(a.Parsed(), b.Parsed()) })
}

func compareNames(a, b backup.LogName) int {
	if kinds := cmp.Compare(rank(a), rank(b)); kinds != 0 {
		return kinds
	}
	return cmp.Or(
		cmp.Compare(a.VolumeID, b.VolumeID), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last),
		cmp.Compare(a.BackupID, b.BackupID), cmp.Compare(a.N, b.N))
}

// rank puts the backups of the catalog behind those of the log.
func rank(n backup.LogName) int {
	if n.Kind() == backup.KindCatalog {
		return 1
	}
	return 0
}
