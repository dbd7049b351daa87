package landscape

import "strconv"

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
	return map[Parameter]string{
		standard("persistence", "log_mode"):                  "normal",
		standard("persistence", "enable_auto_log_backup"):    "yes",
		standard("persistence", "log_backup_timeout_s"):      "900",
		standard("persistence", "basepath_databackup"):       "$(DIR_INSTANCE)/backup/data",
		standard("persistence", "basepath_logbackup"):        "$(DIR_INSTANCE)/backup/log",
		standard("backup", "data_backup_max_chunk_size"):     "0",
		standard("backup", "data_backup_buffer_size"):        "512",
		standard("backup", "catalog_backup_using_backint"):   "false",
		standard("backup", "log_backup_using_backint"):       "false",
		systemLayer("persistence", "basepath_databackup"):    config.BackupDir,
		systemLayer("persistence", "basepath_logbackup"):     config.LogDir,
		systemLayer("persistence", "basepath_catalogbackup"): config.LogDir,
	}
}

// Configure changes a parameter; an empty value takes it away.
func (s *System) Configure(parameter Parameter, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configure(parameter, value)
}

func (s *System) configure(parameter Parameter, value string) {
	if value == "" {
		delete(s.parameters, parameter)
		return
	}
	s.parameters[parameter] = value
}

// chunkSize is what splits the files of a database, 0 for nothing. That it
// counts bytes is assumed.
func (s *System) chunkSize(database string) int64 {
	const section, key = "backup", "data_backup_max_chunk_size"
	for _, parameter := range []Parameter{
		{"global.ini", "DATABASE", database, section, key},
		systemLayer(section, key),
	} {
		if size, err := strconv.ParseInt(s.parameters[parameter], 10, 64); err == nil {
			return size
		}
	}
	return 0
}

// replicate shows a role in a system replication as global.ini does.
func (s *System) replicate(role string) {
	mode := map[string]string{"primary": "primary", "secondary": "sync"}[role]
	s.configure(systemLayer("system_replication", "actual_mode"), mode)
	s.configure(systemLayer("system_replication", "mode"), mode)
}
