package e2e

import (
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/faultys3"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// crashMoment is a kind of moment at which the daemon is killed.
type crashMoment struct {
	name string
	// begin is called before the backup; what it returns tells whether the
	// moment has come.
	begin func(p *crashPoint) func() bool
}

func crashMoments() []crashMoment {
	return append([]crashMoment{
		{"after some time", func(p *crashPoint) func() bool {
			at := time.Now().Add(time.Duration(p.random.Int64N(int64(p.calm) * 3 / 2)))
			return func() bool { return time.Now().After(at) }
		}},
		{"after some bytes", func(p *crashPoint) func() bool {
			n := p.random.Int64N(crashVolumes[0])
			return func() bool {
				var sum int64
				record := p.record()
				for i := range record.Streams {
					sum += record.Streams[i].Bytes
				}
				return sum > n
			}
		}},
		{"at a stage", func(p *crashPoint) func() bool {
			stages := []job.Stage{job.StagePlan, job.StageArm, job.StageStream, job.StageSettle, job.StageCommit, job.StageClean, job.StageDone}
			n := p.random.IntN(len(stages))
			return func() bool { return slices.Index(stages, p.record().Stage) >= n }
		}},
		{"while pipes are made", func(p *crashPoint) func() bool {
			n := p.random.IntN(3 * (len(crashVolumes) + 1))
			return func() bool { return len(p.pipes()) > n }
		}},
		{"when HANA has a row of it", func(p *crashPoint) func() bool {
			return func() bool {
				id := p.record().ID
				return slices.ContainsFunc(p.hana.catalog("HXE"), func(row catalogRow) bool { return id != "" && row.Comment == id })
			}
		}},
		{"after a change of the journal", func(p *crashPoint) func() bool {
			n := 1 + p.random.IntN(6)
			last := p.newestChange()
			return func() bool {
				if now := p.newestChange(); now.After(last) {
					last = now
					n--
				}
				return n <= 0
			}
		}},
		{"when HANA believes in it and has not answered", func(p *crashPoint) func() bool {
			p.hana.set("fail", "stall-answer")
			return func() bool { return p.hana.Stalled() > 0 }
		}},
	}, crashRequests()...)
}

// crashRequests are moments that the store sees.
func crashRequests() []crashMoment {
	streams := len(crashVolumes) + 1
	seen := func(name string, kinds []faultys3.Kind, key string, upTo int) crashMoment {
		return crashMoment{name, func(p *crashPoint) func() bool {
			rule := p.store.Notice(faultys3.Match{Kinds: kinds, Key: key, After: p.random.IntN(upTo)})
			return func() bool { return rule.Hits() > 0 }
		}}
	}
	// A request that the store never gets.
	unseen := func(name string, kinds []faultys3.Kind, key string, upTo int) crashMoment {
		return crashMoment{name, func(p *crashPoint) func() bool {
			rule := p.store.Add(faultys3.Match{Kinds: kinds, Key: key, After: p.random.IntN(upTo)}, faultys3.BlackHole)
			return func() bool { return rule.Hits() > 0 }
		}}
	}
	complete := []faultys3.Kind{faultys3.Complete}
	writing := []faultys3.Kind{faultys3.Put, faultys3.Complete}
	return []crashMoment{
		seen("when an upload has begun", []faultys3.Kind{faultys3.Create}, "/data/", streams),
		seen("when a part is stored", []faultys3.Kind{faultys3.Part}, "/data/", streams+1),
		unseen("when an object is to be completed", complete, "/data/", streams),
		seen("when an object is completed", complete, "/data/", streams),
		unseen("when the manifest is to be written", writing, "/manifests/", 1),
		seen("when the manifest is written", writing, "/manifests/", 1),
	}
}

// newestChange is when a job was last written down.
func (s *crashSweep) newestChange() time.Time {
	s.t.Helper()
	var newest time.Time
	for _, file := range s.journal() {
		if file.ModTime().After(newest) {
			newest = file.ModTime()
		}
	}
	return newest
}
