package hanasim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/landscape"
)

// shown is one database as the system views show it. The system's zone is UTC:
// SYS_ and UTC_ times are the same.
type shown struct {
	system *System
	landscape.Snapshot
}

func (d shown) host() string { return d.system.config.Host }

// service is a process with a persistence of its own.
type service struct {
	landscape.Volume
	port    int // internal
	sqlPort int // 0 for all but the master
}

// persistent gives the services, the master first. The nameserver has port
// 3<instance>01, tenants have theirs from 3<instance>40 on (seen for HXE).
func (d shown) persistent() []service {
	base := 30000 + 100*d.system.config.Instance
	next := base + 40
	var services []service
	for _, name := range d.system.land.Names() {
		own := name == d.Name
		if name == landscape.SystemDB {
			if own {
				services = d.numbered(base + 1)
			}
			continue
		}
		if own {
			services = d.numbered(next)
		}
		next += 30
	}
	slices.SortStableFunc(services, func(a, b service) int { return cmp.Compare(b.sqlPort, a.sqlPort) })
	return services
}

func (d shown) numbered(port int) []service {
	var services []service
	master := d.Volumes[0].Service
	for _, v := range d.Volumes {
		if v.ID == 0 {
			continue
		}
		s := service{Volume: v, port: port}
		if v.Service == master {
			s.sqlPort = d.system.doors[d.Name].port.number()
			master = "" // only the first is the coordinator
		}
		services = append(services, s)
		port += 3
	}
	return services
}

func (d shown) catalog() [][]any {
	var rows [][]any
	for _, e := range d.Entries {
		rows = append(rows, []any{e.ID, e.Type, e.ID, e.Start, e.Start, e.End, e.End, e.State, e.Comment, e.Message, d.system.config.SID, "", d.Name})
	}
	return rows
}

func (d shown) files() [][]any {
	var rows [][]any
	for _, e := range d.Entries {
		for _, f := range e.Files {
			row := []any{e.ID, e.ID, f.Volume, f.Source, d.host(), f.Service, f.Size, "file", f.Path, nil}
			rows = append(rows, append(row, positions(e, f)...))
		}
	}
	return rows
}

// positions are the redo log position of a data backup, or the first and last
// ones of a log backup with its last commit. That the others are NULL is assumed.
func positions(e *landscape.Entry, f *landscape.File) []any {
	log := f.Header.Log
	switch {
	case log.State == "":
		return []any{nil, nil, nil, nil}
	case e.Type != landscape.TypeLog:
		return []any{log.Last, nil, nil, nil}
	}
	return []any{nil, log.First, log.Last, time.Unix(0, log.Commit).UTC()}
}

func (d shown) broken() [][]any {
	var rows [][]any
	for _, b := range d.Broken {
		rows = append(rows, []any{b.Time, b.Time, d.host(), d.Volumes[0].Service, b.BackupID, b.Reason, b.Message})
	}
	return rows
}

// progress has one row per service; the topology counts for the master.
func (d shown) progress() [][]any {
	var rows [][]any
	for i, s := range d.persistent() {
		var size, transferred int64
		var entry *landscape.Entry
		var end time.Time
		for _, p := range d.Progress {
			if p.Volume.ID == s.ID || (i == 0 && p.Volume.ID == 0) {
				size, transferred, entry, end = size+p.Size, transferred+p.Transferred(), p.Entry, p.End()
			}
		}
		if entry == nil {
			continue
		}
		state := entry.State
		if end.IsZero() {
			end = entry.End
		} else if entry.End.IsZero() {
			state = "successful"
		}
		rows = append(rows, []any{entry.ID, d.host(), s.port, s.Service, entry.Type, entry.Start, entry.Start, end, end, state, size, transferred})
	}
	return rows
}

// estimations have deltas only once a complete backup exists.
func (d shown) estimations() [][]any {
	var rows [][]any
	for _, s := range d.persistent() {
		rows = append(rows, []any{d.host(), s.port, s.Service, "complete data backup", s.Size})
		for _, kind := range slices.Sorted(maps.Keys(d.Deltas)) {
			rows = append(rows, []any{d.host(), s.port, s.Service, kind + " data backup", d.Deltas[kind][s.ID]})
		}
	}
	return rows
}

// parameters are the system's and the database's own; SYSTEMDB sees all.
func (d shown) parameters() [][]any {
	var rows [][]any
	order := func(a, b landscape.Parameter) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
	for _, p := range slices.SortedFunc(maps.Keys(d.Parameters), order) {
		if p.Tenant == "" || p.Tenant == d.Name || d.Name == landscape.SystemDB {
			rows = append(rows, []any{p.File, p.Layer, p.Tenant, "", p.Section, p.Key, d.Parameters[p]})
		}
	}
	return rows
}

func (d shown) volumes() [][]any {
	var rows [][]any
	for _, s := range d.persistent() {
		rows = append(rows, []any{d.host(), s.port, s.Service, s.ID, 1, fmt.Sprintf("mnt00001/hdb%05d", s.ID)})
	}
	return rows
}

func (d shown) services() [][]any {
	active := "YES"
	if !d.Online {
		active = "NO"
	}
	var rows [][]any
	for i, s := range d.persistent() {
		role, detail := "NONE", ""
		if s.sqlPort != 0 {
			role, detail = "MASTER", "master"
		}
		rows = append(rows, []any{d.host(), s.port, s.Service, 1000 + i, detail, active, s.sqlPort, role})
	}
	if d.Name == landscape.SystemDB { // services without persistence
		base := 30000 + 100*d.system.config.Instance
		for i, name := range []string{"daemon", "preprocessor", "compileserver"} {
			rows = append(rows, []any{d.host(), base + 3*i, name, 900 + i, "", active, 0, "NONE"})
		}
	}
	return rows
}

func (d shown) database() [][]any {
	started := time.UnixMilli(1762790000000)
	return [][]any{{d.system.config.SID, d.Name, d.host(), started, Version, "DEVELOPMENT"}}
}

func (d shown) logSegments() [][]any {
	var rows [][]any
	for _, s := range d.persistent() {
		rows = append(rows, []any{d.host(), s.port, s.ID, 1, d.BackedUp[s.ID], d.Points[s.ID].Position, "Writing", "FALSE"})
	}
	return rows
}

func (d shown) serviceReplication() [][]any {
	var rows [][]any
	for _, s := range d.persistent() {
		if d.Settings.Replication == "primary" {
			rows = append(rows, []any{d.host(), s.port, s.ID, "SITE_A", d.host() + "-b", s.port, "SYNC", "ACTIVE", "", 0, 0})
		}
	}
	return rows
}

func (d shown) systemReplication() [][]any {
	if d.Settings.Replication != "primary" {
		return nil
	}
	return [][]any{{1, "SITE_A", 2, "SITE_B", "SYNC", "ACTIVE", "logreplay", 1}}
}

func (d shown) hostInformation() [][]any {
	return [][]any{{d.host(), "sid", d.system.config.SID}, {d.host(), "sap_retrieved_hostname", d.host()}}
}

func (d shown) hosts() [][]any {
	return [][]any{{d.host(), "YES", "OK", "MASTER", "MASTER"}}
}

func (d shown) overview() [][]any {
	return [][]any{
		{"System", "Instance ID", "OK", d.system.config.SID},
		{"System", "Instance Number", "OK", fmt.Sprintf("%02d", d.system.config.Instance)},
		{"System", "Version", "OK", Version},
		{"Services", "All Started", "OK", "Yes"},
	}
}
