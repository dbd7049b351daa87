-- The user of pipestreamer, for SAP HANA 2.0 SPS05 (revision 50) and later. Run it
-- in SYSTEMDB, as a user who may create users and has these privileges WITH ADMIN
-- OPTION (SYSTEM). From documents of SAP and vendors, not tried on a real HANA.

-- Replace the password. As it stands HANA's password policy refuses it by default.
-- A password that has to be changed, or that expires, ends all backups.
CREATE USER PIPESTREAMER PASSWORD "replace-me" NO FORCE_FIRST_PASSWORD_CHANGE;
ALTER USER PIPESTREAMER DISABLE PASSWORD LIFETIME;

-- Backups of SYSTEMDB and of tenants.
GRANT BACKUP OPERATOR TO PIPESTREAMER;
GRANT DATABASE BACKUP OPERATOR TO PIPESTREAMER;
GRANT CATALOG READ TO PIPESTREAMER;

-- Restores of tenants: leave these out for a user who only backs up.
GRANT DATABASE RECOVERY OPERATOR TO PIPESTREAMER;
GRANT DATABASE START TO PIPESTREAMER;
GRANT DATABASE STOP TO PIPESTREAMER;

-- Only with the setting onLost: delete-catalog-entry also grant BACKUP ADMIN and
-- DATABASE BACKUP ADMIN. (No comment here has a semicolon in it: hdbsql may take what
-- stands before one for a statement.)
