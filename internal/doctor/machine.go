package doctor

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/doctor/host"
)

const mebibyte = 1 << 20

// samePath belongs to every trouble with the backup directory.
const samePath = "Mount the volume at the same path in HANA's container and here: HANA's catalog keeps the path."

// judgeDirectory is about the directory that is shared with HANA.
func judgeDirectory(f *Facts) []Finding {
	r := new(report)
	d := &f.Directory
	if d.Error != nil {
		r.add(CheckDirectory, Error, samePath, "backupDirectory: %v", d.Error)
		return r.findings
	}
	r.ok(CheckDirectory, "%s exists here; that it is the same directory in HANA's container cannot be seen from here", d.Path)
	judgeMode(r, d, f.Settings.SpoolOwner)
	if d.PipeError != nil {
		r.add(CheckPipes, Error, "This user must be allowed to create and rename in the directory: use the group of HANA's user and mode 2770, and no read-only mount.",
			"the trial with a pipe of another name has failed: %v", d.PipeError)
	} else {
		r.ok(CheckPipes, "a pipe can be made, written, read, renamed and removed")
	}
	judgeFileSystem(r, d)
	judgeSpace(r, d, f.Settings.Door)
	judgeOwner(r, d, &f.Settings)
	switch {
	case d.WatchError != nil:
		r.add(CheckInotify, Error, "Raise fs.inotify.max_user_instances and fs.inotify.max_user_watches on the node.", "the directory cannot be watched: %v", d.WatchError)
	case !d.Events && d.PipeError == nil:
		r.add(CheckInotify, Warning, "Use a local file system: files are found by looking again and again, and what happens to pipes may be missed.", "changes in the directory cause no events")
	default:
		r.ok(CheckInotify, "changes in the directory are seen at once")
	}
	return r.findings
}

func judgeMode(r *report, d *host.Directory, hana int) {
	const mode = "Use mode 2770 and the group of HANA's user."
	switch writers := d.Mode.Perm() & 0o022; {
	case d.Mode&fs.ModeSticky != 0 && writers != 0:
		r.add(CheckMode, Error, mode, "it is sticky (%s): the kernel refuses HANA to open our pipes (fs.protected_fifos, proc(5)), and HANA's files cannot be removed", d.Mode)
	case writers == 0 && int64(hana) != int64(d.UID):
		r.add(CheckMode, Warning, mode, "only its owner, user id %d, may write (%s): HANA has to run as that user", d.UID, d.Mode)
	default:
		r.ok(CheckMode, "mode %s, user id %d, group id %d; we are user id %d with groups %v", d.Mode, d.UID, d.GID, d.OwnUID, d.OwnGroups)
	}
}

func judgeFileSystem(r *report, d *host.Directory) {
	remote := []string{"nfs", "cifs", "smb", "smb2", "ceph", "fuse", "9p"}
	switch {
	case d.FileSystem == "overlay":
		r.add(CheckFileSystem, Warning, "Mount a volume there.", "it is on overlayfs: if it belongs to the container's image, nothing in it reaches HANA's container")
	case slices.Contains(remote, d.FileSystem):
		r.add(CheckFileSystem, Warning, "Use a local volume: pipes reach HANA only on the same node, and changes by others may cause no events.", "it is on %s", d.FileSystem)
	default:
		r.ok(CheckFileSystem, "it is on %s", d.FileSystem)
	}
}

// judgeSpace warns early: what HANA writes to a full volume fails, and on a
// volume that others share, so does what they write.
func judgeSpace(r *report, d *host.Directory, door string) {
	if d.FreeInodes == 0 && d.Inodes > 0 {
		r.add(CheckSpace, Error, "Remove files from the volume.", "the volume has no inode left for a pipe")
		return
	}
	text := fmt.Sprintf("%s of %s are free", bytesText(d.Free), bytesText(d.Total))
	if door == doorFIFO || d.Free >= d.Total/10 {
		r.ok(CheckSpace, "%s", text)
		return
	}
	r.add(CheckSpace, Warning, "Make room: deltas, and complete backups of a HANA that writes past pipes, need their size on the volume (less with spool.follow and spool.punch).", "only %s", text)
}

// judgeOwner knows the rule of the spool: without spool.owner it takes files of
// our user and of the directory's owner.
func judgeOwner(r *report, d *host.Directory, s *Settings) {
	switch {
	case s.Door == doorFIFO:
		r.ok(CheckOwner, "no files are taken with door fifo")
	case s.SpoolOwner >= 0:
		r.ok(CheckOwner, "files of user id %d are taken", s.SpoolOwner)
	case d.UID == 0:
		r.add(CheckOwner, Warning, "Set spool.owner to the user id of HANA's <sid>adm (12000 in HANA Express), unless that is ours.",
			"the directory belongs to root, as volumes with an fsGroup do: files of HANA are refused unless HANA runs as our user id %d", d.OwnUID)
	default:
		r.ok(CheckOwner, "files of user ids %d and %d are taken", d.OwnUID, d.UID)
	}
}

// usualPipe is the size of the pipe of a running stream. All pipes of a user may
// have fs.pipe-user-pages-soft pages together (pipe(7)).
const (
	usualPipe    = 1 << 20
	usualStreams = 32
	pageSize     = 4096
)

func judgeKernel(f *Facts) []Finding {
	r := new(report)
	k := &f.Kernel
	const pages = usualStreams * usualPipe / pageSize
	switch {
	case k.PipeMaxSize > 0 && k.PipeMaxSize < usualPipe:
		r.add(CheckPipeLimits, Warning, "Raise fs.pipe-max-size to 1048576 on the node.", "fs.pipe-max-size is %d: pipes are smaller than they should be, which costs processor time", k.PipeMaxSize)
	case k.PipeUserPagesSoft > 0 && k.PipeUserPagesSoft < pages && f.Directory.OwnUID != 0:
		r.add(CheckPipeLimits, Warning, "Raise fs.pipe-user-pages-soft on the node, or give pipestreamer a user id of its own.",
			"fs.pipe-user-pages-soft is %d: pipes of many streams become small, which costs processor time", k.PipeUserPagesSoft)
	default:
		r.ok(CheckPipeLimits, "fs.pipe-max-size is %s, fs.pipe-user-pages-soft %s", knownText(k.PipeMaxSize), knownText(k.PipeUserPagesSoft))
	}
	r.ok(CheckProtected, "fs.protected_fifos is %s: it matters for sticky directories only", knownText(k.ProtectedFIFOs))
	return r.findings
}

func knownText(n int64) string {
	if n < 0 {
		return "not known here"
	}
	return strconv.FormatInt(n, 10)
}

func judgeState(f *Facts) []Finding {
	r := new(report)
	s := &f.State
	switch {
	case s.Missing:
		r.add(CheckState, Warning, "Mount a volume there: the daemon makes the directory, and what is not on a volume is gone with the container.", "%s does not exist yet", s.Path)
	case s.Error != nil:
		r.add(CheckState, Error, "Give this user the right to write there, and room.", "stateDirectory: %v", s.Error)
	case s.Inside:
		r.add(CheckState, Error, "Choose a place that HANA cannot write to.", "%s lies in backupDirectory, where HANA can change the journal", s.Path)
	default:
		r.ok(CheckState, "%s can be written and lies outside of backupDirectory", s.Path)
	}
	return r.findings
}

// headroom is what the daemon needs besides its buffers.
const headroom = 256 * mebibyte

func judgeMemory(f *Facts) []Finding {
	r := new(report)
	limit, budget := f.Memory.Limit, f.Settings.MemoryBudget
	const hint = "Raise the container's memory limit, or lower memoryBudget."
	switch {
	case f.Memory.Error != nil:
		r.add(CheckMemory, Warning, "Compare the container's memory limit with memoryBudget yourself.", "the memory limit cannot be read: %v", f.Memory.Error)
	case limit == 0:
		r.ok(CheckMemory, "no memory limit is seen here; memoryBudget is %s", bytesText(budget))
	case limit <= budget:
		r.add(CheckMemory, Error, hint, "memoryBudget (%s) does not fit into the memory limit (%s): the kernel will kill the daemon", bytesText(budget), bytesText(limit))
	case limit < budget+headroom:
		r.add(CheckMemory, Warning, hint, "the memory limit (%s) leaves less than %s beside memoryBudget (%s)", bytesText(limit), bytesText(headroom), bytesText(budget))
	default:
		r.ok(CheckMemory, "memoryBudget (%s) fits into the memory limit (%s)", bytesText(budget), bytesText(limit))
	}
	return r.findings
}

// storeTolerance is what S3 leaves room for many times over: it refuses requests
// that are 15 minutes off (RequestTimeTooSkewed, Amazon S3 error responses).
const storeTolerance = time.Minute

func judgeStore(f *Facts) []Finding {
	r := new(report)
	s := &f.Store
	if s.Error != nil {
		r.add(CheckStore, Error, "Check store.type, store.root, store.options, store.secrets and the rights to write, read, list and delete there with the message.", "%v", s.Error)
		return r.findings
	}
	r.ok(CheckStore, "a small object was written, read and removed")
	switch {
	case s.ClockError != nil:
		r.add(CheckStoreClock, Warning, "Nothing, if the clocks are synchronised.", "the store's clock is not known: %v", s.ClockError)
	case s.Ahead.Abs() > storeTolerance+s.Within:
		r.add(CheckStoreClock, Warning, "Synchronise the clocks (NTP): S3 refuses requests that are 15 minutes off.", "the store's clock is %s ahead of this machine's", s.Ahead.Round(time.Second))
	default:
		r.ok(CheckStoreClock, "the times that the store gives agree with this machine's clock, within %s", (storeTolerance + s.Within).Round(time.Second))
	}
	return r.findings
}

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	if n < mebibyte {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/mebibyte, "MiB"
	for _, next := range []string{"GiB", "TiB", "PiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
