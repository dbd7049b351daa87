package fifo_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// A backup of one stream, written as HANA 2.0 was seen to write: under a hidden
// name that is renamed at the end.
func ExampleSource() {
	dir, err := os.MkdirTemp("", "fifo-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an example
	topology := backup.Stream{StreamID: backup.StreamID{VolumeID: backup.TopologyVolume, PartID: 1}}
	plan := backup.Plan{Directory: dir, Prefix: "FULL", Streams: []backup.Stream{topology}}

	ctx := context.Background()
	source := fifo.NewSource(fifo.Config{Directory: dir}, nil, nil)
	if err := source.Prepare(ctx, plan); err != nil {
		fmt.Println(err)
		return
	}
	hana := make(chan error, 1)
	go func() {
		name := dir + "/" + plan.TemporaryName(topology.StreamID)
		if err := os.WriteFile(name, []byte("the topology"), 0o640); err != nil {
			hana <- err
			return
		}
		hana <- os.Rename(name, dir+"/"+plan.FileName(topology.StreamID))
	}()
	r, err := source.Open(ctx, topology)
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := io.ReadAll(r)
	fmt.Printf("%s, read error %v, HANA error %v\n", data, err, <-hana)
	fmt.Println("close", r.Close(), source.Close(), source.Report()[0].Opens)
	// Output:
	// the topology, read error <nil>, HANA error <nil>
	// close <nil> <nil> 1
}
