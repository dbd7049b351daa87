package spool_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// A backup of one stream that HANA has split into two files.
func ExampleSource() {
	dir, err := os.MkdirTemp("", "spool-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an example
	topology := backup.Stream{StreamID: backup.StreamID{VolumeID: backup.TopologyVolume, PartID: 1}}
	plan := backup.Plan{Directory: dir, Prefix: "FULL", Kind: backup.KindComplete, Streams: []backup.Stream{topology}}

	ctx := context.Background()
	source := spool.NewSource(spool.Config{Directory: dir}, nil, nil)
	if err := source.Prepare(ctx, plan); err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"FULL_databackup_0_1", "FULL_databackup_0_2"} { // HANA
		if err := os.WriteFile(dir+"/."+name, []byte("bytes of "+name), 0o640); err != nil { //nolint:gosec // as HANA does
			fmt.Println(err)
		}
		if err := os.Rename(dir+"/."+name, dir+"/"+name); err != nil {
			fmt.Println(err)
		}
	}
	if err := source.Settle(ctx); err != nil { // HANA said that it is done
		fmt.Println(err)
	}
	streams := []backup.Stream{topology}
	for found := range source.Found() {
		streams = append(streams, found)
	}
	for _, stream := range streams {
		r, err := source.Open(ctx, stream)
		if err != nil {
			fmt.Println(err)
			return
		}
		data, err := io.ReadAll(r)
		fmt.Println(stream.StreamID, string(data), err, r.Close())
	}
	removed, err := spool.Remove(dir, dir, source.Files()[0])
	fmt.Println(removed, err, source.Close())
	// Output:
	// 0_1 bytes of FULL_databackup_0_1 <nil> <nil>
	// 0_2 bytes of FULL_databackup_0_2 <nil> <nil>
	// true <nil> <nil>
}
