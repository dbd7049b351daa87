// Package doctor judges whether everything is there that backups need. It asks
// nobody: its functions make findings of facts that others have collected, each
// with what to do. Package host below it collects those of this machine.
//
// What HANA needs (privileges, parameters) is from documents of SAP and of
// vendors; no real HANA was asked.
package doctor
