-- Lets HANA write log backups, and backups of its catalog, to the volume that it
-- shares with pipestreamer (logs.directory in its settings). Run it in SYSTEMDB, as a
-- user with INIFILE ADMIN (SYSTEM). For all databases, and no restart is needed. From SAP's
-- documents, not tried on a real HANA.
ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'SYSTEM')
  SET ('persistence', 'basepath_logbackup') = '/backup/log',
      ('persistence', 'basepath_catalogbackup') = '/backup/log'
  WITH RECONFIGURE;
