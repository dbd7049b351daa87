package landscape

import (
	"fmt"
	"path/filepath"
	"strconv"
)

// Parameter names a line of an ini file. Layer is DEFAULT, SYSTEM, HOST or
// DATABASE; Tenant is set for DATABASE only.
type Parameter struct{ File, Layer, Tenant, Section, Key string }

func systemLayer(section, key string) Parameter {
	return Parameter{File: "global.ini", Layer: "SYSTEM", Section: section, Key: key}
}

func defaultParameters(config Config) map[Parameter]string {
	standard := func(section, key string) Parameter {
		return Parameter{File: "global.ini", Layer: "DEFAULT", Section: section, Key: key}
	}
	parameters := map[Parameter]string{
		standard("persistence", logMode):                   logModeNormal,
		standard("persistence", "enable_auto_log_backup"):  "yes",
		standard("persistence", "log_backup_timeout_s"):    "900",
		standard("persistence", "basepath_databackup"):     "$(DIR_INSTANCE)/backup/data",
		standard("persistence", basepathLog):               "$(DIR_INSTANCE)/backup/log",
		standard("persistence", basepathCatalog):           "$(DIR_INSTANCE)/backup/log",
		standard("backup", "data_backup_max_chunk_size"):   "0",
		standard("backup", "data_backup_buffer_size"):      "512",
		standard("backup", "catalog_backup_using_backint"): "false",
		standard("backup", "log_backup_using_backint"):     "false",
	}
	for key, dir := range map[string]string{"basepath_databackup": config.BackupDir, basepathLog: config.LogDir, basepathCatalog: config.LogDir} {
		if dir != "" {
			parameters[systemLayer("persistence", key)] = dir
		}
	}
	return parameters
}

// The parameters of [persistence] that shape what the simulator does.
const (
	logMode          = "log_mode"
	logModeNormal    = "normal"
	logModeOverwrite = "overwrite"
	basepathLog      = "basepath_logbackup"
	basepathCatalog  = "basepath_catalogbackup"
)

// Configure changes a parameter; an empty value takes it away. That log_mode
// takes effect at once is assumed (it needs a restart); a database that it turns
// to overwrite has its history broken.
func (s *System) Configure(parameter Parameter, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := map[*database]bool{}
	for _, d := range s.databases {
		before[d] = s.overwrites(d)
	}
	s.configure(parameter, value)
	for _, d := range s.databases {
		if s.overwrites(d) && !before[d] {
			s.breakHistory(d, "log mode overwrite", "log_mode was changed to overwrite")
		}
	}
}

func (s *System) overwrites(d *database) bool {
	return s.parameter(d.name, "persistence", logMode) == logModeOverwrite
}

func (s *System) configure(parameter Parameter, value string) {
	if value == "" {
		delete(s.parameters, parameter)
		return
	}
	s.parameters[parameter] = value
}

// parameter gives the value of global.ini that holds for a database.
func (s *System) parameter(database, section, key string) string {
	for _, parameter := range []Parameter{
		{"global.ini", "DATABASE", database, section, key},
		systemLayer(section, key),
		{File: "global.ini", Layer: "DEFAULT", Section: section, Key: key},
	} {
		if value, found := s.parameters[parameter]; found {
			return value
		}
	}
	return ""
}

// chunkSize is what splits the files of a database, 0 for nothing. That it
// counts bytes is assumed.
func (s *System) chunkSize(database string) int64 {
	size, err := strconv.ParseInt(s.parameter(database, "backup", "data_backup_max_chunk_size"), 10, 64)
	if err != nil {
		return 0
	}
	return size
}

// logDirectory is where the log backups of a database go, or with
// [basepathCatalog] those of its catalog. An empty LogDir makes it a directory
// of HANA's own, which does not exist here.
func (s *System) logDirectory(database, basepath string) (dir string, exists bool) {
	dir = s.parameter(database, "persistence", basepath)
	exists = filepath.IsAbs(dir)
	if !exists {
		dir = fmt.Sprintf("/usr/sap/%s/HDB%02d/backup/log", s.config.SID, s.config.Instance)
	}
	return filepath.Join(dir, subdirectory(database)), exists
}

// replicate shows a role in a system replication as global.ini does.
func (s *System) replicate(role string) {
	mode := map[string]string{"primary": "primary", "secondary": "sync"}[role]
	s.configure(systemLayer("system_replication", "actual_mode"), mode)
	s.configure(systemLayer("system_replication", "mode"), mode)
}
