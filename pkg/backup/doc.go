// Package backup is the language of pipestreamer: its nouns, its names and the
// contracts between its rooms. It imports the standard library only, and every
// other package may import it.
//
// The nouns, with one meaning everywhere (code, logs, JSON, metrics):
//
//	system    the HANA system, named by its SID
//	database  SYSTEMDB or a tenant
//	stream    the bytes of one file that HANA writes or reads
//	pipe      one named pipe
//	object    what a store holds under a key
//	part      one piece of a multipart upload; HANA's parts are always PartID
//	segment   one object of a stream that needs several
//	job       one request's life in the daemon
//	manifest  our record of one backup, written last
package backup
