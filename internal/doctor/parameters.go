package doctor

import (
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

// usualLogTimeout is HANA's default of log_backup_timeout_s.
const usualLogTimeout = 900

// configure is the statement that changes a parameter for a database.
func configure(database, section, key, value string) string {
	return "Connected to " + database + " or SYSTEMDB: ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'SYSTEM') SET ('" +
		section + "', '" + key + "') = '" + value + "' WITH RECONFIGURE;"
}

// judgeParameters is about global.ini.
func judgeParameters(r *report, i *hdbtrigger.Inspection, s *Settings) {
	if err := i.Unreadable[hdbtrigger.AskParameters]; err != nil {
		unread(r, CheckLogMode, err)
		return
	}
	if len(i.Parameters) == 0 && blind(i) {
		r.add(CheckLogMode, Warning, blindHint, "HANA shows no parameters, which says nothing: without CATALOG READ the view looks empty")
		return
	}
	value := func(name string) string { return i.Parameters[name].Value }
	judgeLogMode(r, value, s)
	judgeLogTimeout(r, value("persistence/log_backup_timeout_s"))
	judgeChunkSize(r, value("backup/data_backup_max_chunk_size"), s.Door)
	for _, log := range []struct{ check, basepath, backint string }{
		{CheckLogPath, "basepath_logbackup", "log_backup_using_backint"},
		{CheckCatalog, "basepath_catalogbackup", "catalog_backup_using_backint"},
	} {
		judgeLogPath(r, log.check, log.basepath, value("persistence/"+log.basepath), log.backint, value("backup/"+log.backint), s.LogDirectory)
	}
}

// judgeLogMode is about whether there are log backups at all. That fails only
// who has asked for them.
func judgeLogMode(r *report, value func(string) string, s *Settings) {
	severity := Warning
	if s.LogDirectory != "" {
		severity = Error
	}
	if mode := value("persistence/log_mode"); mode != "" && mode != "normal" {
		r.add(CheckLogMode, severity, "Set log_mode to normal, restart the database and make a complete backup.",
			"log_mode is %s: there are no log backups, and changes since the last data backup cannot be recovered", mode)
	} else {
		r.ok(CheckLogMode, "log_mode is normal")
	}
	if auto := value("persistence/enable_auto_log_backup"); auto != "" && !isYes(auto) {
		r.add(CheckAutoLog, severity, configure(r.database, "persistence", "enable_auto_log_backup", "yes"),
			"enable_auto_log_backup is %s: HANA makes no log backups, and its log area fills", auto)
	} else {
		r.ok(CheckAutoLog, "HANA makes log backups by itself")
	}
}

func isYes(text string) bool {
	return strings.EqualFold(text, "yes") || strings.EqualFold(text, "true") || text == "1"
}

func judgeLogTimeout(r *report, text string) {
	hint := configure(r.database, "persistence", "log_backup_timeout_s", strconv.Itoa(usualLogTimeout))
	if text == "" {
		r.ok(CheckLogTimeout, "not set: HANA's default is %d s", usualLogTimeout)
		return
	}
	seconds, err := strconv.Atoi(text)
	switch {
	case err != nil || seconds < 0:
		r.add(CheckLogTimeout, Warning, hint, "log_backup_timeout_s is %q, which is not a number of seconds", text)
	case seconds == 0:
		r.add(CheckLogTimeout, Warning, hint, "log_backup_timeout_s is 0: the log is backed up only when a segment is full, so a recovery may lose any amount of time")
	case seconds > usualLogTimeout:
		r.add(CheckLogTimeout, Warning, hint, "log_backup_timeout_s is %d: a recovery may lose %s", seconds, time.Duration(seconds)*time.Second)
	default:
		r.ok(CheckLogTimeout, "a recovery loses at most about %s, if every log backup is shipped", time.Duration(seconds)*time.Second)
	}
}

// judgeChunkSize is about files in several parts, of which only the first has a
// name that is known before.
func judgeChunkSize(r *report, text, door string) {
	hint := configure(r.database, "backup", "data_backup_max_chunk_size", "0")
	switch {
	case text == "" || text == "0":
		r.ok(CheckChunkSize, "HANA writes each volume into one file")
	case door == doorFIFO:
		r.add(CheckChunkSize, Error, hint+" Or set door to auto.", "data_backup_max_chunk_size is %s: HANA splits volumes into files for which there are no pipes", text)
	case door == doorSpool:
		r.ok(CheckChunkSize, "data_backup_max_chunk_size is %s: HANA splits volumes into several files", text)
	default:
		r.add(CheckChunkSize, Warning, hint, "data_backup_max_chunk_size is %s: all but the first part of a volume come as files on the volume", text)
	}
}

// judgeLogPath compares where HANA puts log or catalog backups with where they
// are looked for. HANA appends SYSTEMDB or DB_<tenant>.
func judgeLogPath(r *report, check, basepath, value, backint, using, directory string) {
	switch {
	case isYes(using) && directory != "":
		r.add(check, Error, configure(r.database, "backup", backint, "false"), "%s is %s: these backups go to a Backint agent, not to %s", backint, using, directory)
	case isYes(using):
		r.ok(check, "%s is %s: a Backint agent takes these backups", backint, using)
	case directory == "":
		r.add(check, Warning, "Set logs.directory to have them shipped; otherwise somebody else has to, and to clear the volume.", "HANA leaves these backups in %s, and nobody is told to ship them", orDefault(value))
	case value != "" && path.IsAbs(value) && path.Clean(value) == path.Clean(directory):
		r.ok(check, "HANA leaves these backups in %s, from where they are shipped", value)
	case value != "" && path.IsAbs(value):
		r.add(check, Error, configure(r.database, "persistence", basepath, directory)+" Or change logs.directory.", "HANA leaves these backups in %s, and they are looked for in %s", value, directory)
	default:
		r.add(check, Warning, "Make sure that both are the same directory, at the same path in both containers.",
			"HANA leaves these backups in %s, which only HANA's container can resolve, and they are looked for in %s", orDefault(value), directory)
	}
}

func orDefault(value string) string {
	if value == "" {
		return "its default directory"
	}
	return value
}
