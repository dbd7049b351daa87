package hdbtrigger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// active is what HANA says of a database or a service that runs.
const active = "YES"

// endpoint is a service as several views name it.
type endpoint struct {
	host    string
	port    int64
	service string
}

// volume is the persistence of one service.
type volume struct {
	id int
	endpoint
	master bool // the service coordinates its database
}

// volumes lists the persistences of a database, by id. A data backup has one
// file of each. Services without persistence are not in M_VOLUMES.
func (t *Trigger) volumes(ctx context.Context, database string) ([]volume, error) {
	var volumes []volume
	err := t.query(ctx, selectVolumes, func(scan func(...any) error) error {
		var v volume
		var id sql.Null[int64]
		var status, coordinator sql.Null[string]
		if err := scan(&id, &v.host, &v.port, &v.service, &status, &coordinator); err != nil {
			return err
		}
		volumeID, err := number("VOLUME_ID", id, 0, math.MaxInt32)
		if err != nil {
			return err
		}
		v.id = int(volumeID)
		if status.V != active {
			return fmt.Errorf("service %s at %s:%d with volume %d is not active (ACTIVE_STATUS %q), so HANA cannot back up %s",
				v.service, v.host, v.port, v.id, status.V, database)
		}
		v.master = coordinator.V == "MASTER"
		// A data volume may have several partitions, but one backup file.
		listed := slices.ContainsFunc(volumes, func(other volume) bool { return other.id == v.id })
		if !listed && v.id != backup.TopologyVolume {
			volumes = append(volumes, v)
		}
		return nil
	}, database)
	if err != nil {
		return nil, err
	}
	if len(volumes) == 0 {
		return nil, fmt.Errorf("database %s has no volumes in SYS_DATABASES.M_VOLUMES: the user probably lacks CATALOG READ, without which the views look empty", database)
	}
	return volumes, nil
}

// estimates gives HANA's guess of the size of a backup, by service. There is
// none for a delta before the first complete backup.
func (t *Trigger) estimates(ctx context.Context, database string, kind backup.Kind) (map[endpoint]int64, error) {
	sizes := map[endpoint]int64{}
	err := t.query(ctx, selectEstimates, func(scan func(...any) error) error {
		var e endpoint
		var size sql.Null[int64]
		if err := scan(&e.host, &e.port, &e.service, &size); err != nil {
			return err
		}
		sizes[e] = max(sizes[e], size.V)
		return nil
	}, database, string(kind)+" data backup")
	if err != nil {
		return nil, err
	}
	return sizes, nil
}

// streams makes one stream of each volume, and that of the topology, which the
// master service of the database writes.
func streams(database string, volumes []volume, sizes map[endpoint]int64) []backup.Stream {
	master := masterOf(database, volumes)
	list := []backup.Stream{{
		StreamID: backup.StreamID{VolumeID: backup.TopologyVolume, PartID: 1},
		Service:  master.service, Host: master.host,
	}}
	for _, v := range volumes {
		list = append(list, backup.Stream{
			StreamID: backup.StreamID{VolumeID: v.id, PartID: 1},
			Service:  v.service, Host: v.host, EstimatedSize: sizes[v.endpoint],
		})
	}
	slices.SortFunc(list, func(a, b backup.Stream) int { return cmp.Compare(a.VolumeID, b.VolumeID) })
	return list
}

// masterOf finds the service that writes the topology: the nameserver in
// SYSTEMDB, the indexserver in a tenant (both seen in backup.log), on the host
// that coordinates.
func masterOf(database string, volumes []volume) volume {
	service := "indexserver"
	if database == backup.SystemDB {
		service = "nameserver"
	}
	rank := func(v volume) int {
		switch {
		case v.service == service && v.master:
			return 0
		case v.service == service:
			return 1
		case v.master:
			return 2
		default:
			return 3
		}
	}
	return slices.MinFunc(volumes, func(a, b volume) int { return cmp.Compare(rank(a), rank(b)) })
}
