// Package verify is the auditor: it reads a backup back from the store and
// reports every difference to its manifest as a finding.
package verify
