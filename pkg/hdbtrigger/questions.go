package hdbtrigger

// The questions. Every value is a parameter; they read only, so database/sql
// may send them again. Times come from the UTC columns: the SYS ones are in
// the server's zone, which the driver does not know.
const (
	selectPing = `SELECT 1 FROM DUMMY`

	selectDatabases = `SELECT DATABASE_NAME FROM SYS.M_DATABASES ORDER BY DATABASE_NAME`

	selectClock = `SELECT CURRENT_UTCTIMESTAMP FROM DUMMY`

	selectUser = `SELECT CURRENT_USER FROM DUMMY`

	selectPrivileges = `SELECT DISTINCT PRIVILEGE FROM SYS.EFFECTIVE_PRIVILEGES` +
		` WHERE USER_NAME = CURRENT_USER AND OBJECT_TYPE = 'SYSTEMPRIVILEGE' AND IS_VALID = 'TRUE' ORDER BY PRIVILEGE`

	selectSystem = `SELECT DATABASE_NAME, SYSTEM_ID, VERSION FROM SYS.M_DATABASE`

	selectStatus = `SELECT ACTIVE_STATUS FROM SYS.M_DATABASES WHERE DATABASE_NAME = ?`

	selectSection = `SELECT KEY, VALUE, LAYER_NAME, TENANT_NAME FROM SYS.M_INIFILE_CONTENTS` +
		` WHERE FILE_NAME = 'global.ini' AND SECTION = ?`

	selectReplication = `SELECT COUNT(*) FROM SYS.M_SERVICE_REPLICATION`

	selectVolumes = `SELECT V.VOLUME_ID, V.HOST, V.PORT, V.SERVICE_NAME, S.ACTIVE_STATUS, S.COORDINATOR_TYPE` +
		` FROM SYS_DATABASES.M_VOLUMES V LEFT JOIN SYS_DATABASES.M_SERVICES S` +
		` ON S.DATABASE_NAME = V.DATABASE_NAME AND S.HOST = V.HOST AND S.PORT = V.PORT` +
		` WHERE V.DATABASE_NAME = ? ORDER BY V.VOLUME_ID`

	selectEstimates = `SELECT HOST, PORT, SERVICE_NAME, ESTIMATED_SIZE FROM SYS_DATABASES.M_BACKUP_SIZE_ESTIMATIONS` +
		` WHERE DATABASE_NAME = ? AND ENTRY_TYPE_NAME = ?`

	selectBreaks = `SELECT UTC_TIME, REASON, MESSAGE FROM SYS_DATABASES.M_BACKUP_HISTORY_BROKEN` +
		` WHERE DATABASE_NAME = ? ORDER BY UTC_TIME`
)

// The questions to the backup catalog, whose answers are read as an entryRow, a
// fileRow, or both.
const (
	entryColumns = `C.ENTRY_ID, C.BACKUP_ID, C.ENTRY_TYPE_NAME, C.STATE_NAME, C.MESSAGE, C."COMMENT", C.UTC_START_TIME, C.UTC_END_TIME`

	fileColumns = `F.SOURCE_ID, F.SOURCE_TYPE_NAME, F.SERVICE_TYPE_NAME, F.HOST, F.BACKUP_SIZE, F.DESTINATION_TYPE_NAME, F.DESTINATION_PATH,` +
		` F.REDO_LOG_POSITION, F.FIRST_REDO_LOG_POSITION, F.LAST_REDO_LOG_POSITION, F.UTC_LAST_COMMIT_TIME`

	selectEntries = `SELECT ` + entryColumns + ` FROM SYS_DATABASES.M_BACKUP_CATALOG C WHERE C.DATABASE_NAME = ?`

	selectEntry = selectEntries + ` AND C."COMMENT" = ? ORDER BY C.BACKUP_ID`

	selectRunning = selectEntries + ` AND C.STATE_NAME IN ('running', 'cancel pending')` +
		` AND C.ENTRY_TYPE_NAME IN ('complete data backup', 'differential data backup', 'incremental data backup', 'data snapshot')` +
		` ORDER BY C.BACKUP_ID`

	selectComplete = selectEntries + ` AND C.STATE_NAME = 'successful' AND C.ENTRY_TYPE_NAME = 'complete data backup'` + newestFirst

	selectData = selectEntries + ` AND C.STATE_NAME = 'successful'` +
		` AND C.ENTRY_TYPE_NAME IN ('complete data backup', 'differential data backup', 'incremental data backup')` + newestFirst

	selectLog = selectEntries + ` AND C.ENTRY_TYPE_NAME = 'log backup'` + newestFirst

	newestFirst = ` ORDER BY C.BACKUP_ID DESC LIMIT 1`

	selectFiles = `SELECT ` + fileColumns +
		` FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES F WHERE F.DATABASE_NAME = ? AND F.ENTRY_ID = ? ORDER BY F.SOURCE_ID, F.DESTINATION_PATH`

	// selectLogs has one row for each file, and one for an entry without files,
	// in which F.ENTRY_ID is NULL.
	selectLogs = `SELECT ` + entryColumns + `, F.ENTRY_ID, ` + fileColumns +
		` FROM SYS_DATABASES.M_BACKUP_CATALOG C LEFT JOIN SYS_DATABASES.M_BACKUP_CATALOG_FILES F` +
		` ON F.DATABASE_NAME = C.DATABASE_NAME AND F.ENTRY_ID = C.ENTRY_ID` +
		` WHERE C.DATABASE_NAME = ? AND C.ENTRY_TYPE_NAME = ? AND C.BACKUP_ID >= ? AND C.BACKUP_ID <= ?` +
		` ORDER BY C.BACKUP_ID, C.ENTRY_ID, F.SOURCE_ID, F.DESTINATION_PATH`
)
