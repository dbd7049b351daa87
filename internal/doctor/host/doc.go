// Package host collects facts of this machine that backups depend on. It judges
// nothing, and it changes nothing but files of temporary names of its own, which
// it removes again: a daemon may work beside it.
package host
