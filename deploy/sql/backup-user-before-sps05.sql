-- The user of pipestreamer, for SAP HANA 2.0 before SPS05 (revision 50), which knows
-- no privileges for the backup or recovery of tenants alone. Run it in SYSTEMDB, as a
-- user who may create users and has these privileges WITH ADMIN OPTION (SYSTEM). From
-- documents of SAP and vendors, not tried on a real HANA.

-- Replace the password. As it stands HANA's password policy refuses it by default.
-- A password that has to be changed, or that expires, ends all backups.
CREATE USER PIPESTREAMER PASSWORD "replace-me" NO FORCE_FIRST_PASSWORD_CHANGE;
ALTER USER PIPESTREAMER DISABLE PASSWORD LIFETIME;

-- Backups of SYSTEMDB and of tenants, and restores of tenants. DATABASE ADMIN may
-- also create and drop tenants: there is nothing less.
GRANT BACKUP ADMIN TO PIPESTREAMER;
GRANT DATABASE ADMIN TO PIPESTREAMER;
GRANT CATALOG READ TO PIPESTREAMER;
