// Package hanasim is a test double for an SAP HANA system: it speaks HANA's SQL
// protocol on loopback, answers queries of the system views, and writes and
// reads backup files as HANA does, as far as that is known.
//
// What is modelled on evidence and what is assumed stands in README.md. It is
// no proof of anything that a real HANA does.
package hanasim
