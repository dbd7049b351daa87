// Package config reads the settings of pipestreamer. This comment is their
// manual; docs/configuration.md lists every key and is generated from the same
// struct tags that the reader uses.
//
// # One file, strictly read
//
// Settings are one YAML document:
//
//	hana:
//	  sid: HXE
//	  port: 39013
//	  user: PIPESTREAMER
//	  passwordFile: /run/secrets/hana/password
//	backupDirectory: /backup
//	store:
//	  type: s3
//	  root: bucket/hana
//	  options:
//	    provider: Minio
//	    endpoint: https://s3.example.com
//	    access_key_id: pipestreamer
//	  secrets:
//	    secret_access_key: /run/secrets/store/secret_access_key
//
// A key that is unknown or stands twice, a value that does not parse, settings
// that contradict each other: each is refused, and all of them are reported at
// once, each with the key, the line and what was expected. Aliases
// and a second document are refused too.
//
// # Every key is also an environment variable
//
// The name is PIPESTREAMER_ and the key in capitals, words and levels joined
// by underscores: hana.passwordFile is PIPESTREAMER_HANA_PASSWORD_FILE. An
// entry of store.options or store.secrets appends its own name:
// PIPESTREAMER_STORE_OPTIONS_ENDPOINT. The environment wins over the file. An
// unknown variable of that prefix is refused, except those that Kubernetes sets
// for a Service (PIPESTREAMER_SERVICE_HOST, PIPESTREAMER_PORT_9095_TCP, …).
//
// # Secrets come from files only
//
// No key holds a secret; keys ending in File, and store.secrets, name the file
// that does. One line end after the secret is dropped. The secret is kept in a
// [Secret], which no log, error or JSON document shows.
//
// A mistake in the settings ends the start of the daemon; it comes with a change
// that somebody makes. A file that cannot be used does not, because HANA waits for
// the daemon: it goes on without what needs the file, tells of it, and looks again.
//
// # Units
//
// Durations are Go's ("90s", "5m", "1h30m"). Sizes are bytes with an optional
// unit: KiB, MiB, GiB, TiB (powers of 1024) or KB, MB, GB, TB (powers of 1000).
// store.bandwidth is sizes a second, see [ParseBandwidth].
package config

//go:generate sh -c "go run ./gendoc > ../../docs/configuration.md"
