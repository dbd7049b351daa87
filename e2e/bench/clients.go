package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
)

const (
	partSize  = 16 << 20
	accessKey = "bench-access"
	secretKey = "bench-secret-access-key"
	// pipeLimit reads the pipe and does nothing else.
	pipeLimit = "pipe to nowhere"
)

// client is something that carries streams between pipes and a store.
type client struct {
	name string
	// armed clients say "ready" before the pipes may be opened; the others are
	// run by a shell that waits for the pipe, as by hand.
	armed bool
	// ownPipes are made by the client itself.
	ownPipes bool
	// commands are the processes for all streams of a trial.
	commands func(t *trial) []command
}

// command is a program with its arguments. in or out, if any, is the pipe that a
// shell opens as its standard input or output.
type command struct {
	program string
	args    []string
	in, out string
}

// baseline is what the others are compared to.
func baseline(direction string) string {
	if direction == up {
		return "rclone rcat"
	}
	return "rclone cat"
}

// clients returns those that a scenario is measured with, the baseline first.
func (b *bench) clients(s scenario) []client {
	if s.memory {
		return b.paths(s)
	}
	verb, tuned := "rcat", []string{"--ignore-checksum", "--s3-chunk-size=16M", "--s3-upload-concurrency=8"}
	if s.direction == down {
		verb, tuned = "cat", []string{"--buffer-size=64M"}
	}
	list := []client{
		b.rclone("rclone "+verb, verb),
		b.rclone("rclone "+verb+" tuned", verb, tuned...),
	}
	if b.aws != "" {
		list = append(list, b.awsCopy(s.direction))
	}
	list = append(list, b.paths(s)...)
	if s.store == null {
		list = append(list, b.least(s.direction))
		if s.direction == up && !s.wan && !s.tls {
			list = append(list, b.nowhere())
		}
	}
	var chosen []client
	for _, c := range list {
		if b.only.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// paths are the data path with its default settings, with settings for a long
// way inside 300 MiB, and with those of the command line.
func (b *bench) paths(s scenario) []client {
	list := []client{b.subject(variant{}, s.direction)}
	if s.direction == up && !s.memory {
		list = append(list, b.subject(variant{name: " crc64nvme", args: []string{"-no-sha256"}}, s.direction))
		if !s.tls {
			list = append(list, b.subject(variant{
				name: " crc64nvme unsigned", args: []string{"-no-sha256"}, store: `{"Options": {"use_unsigned_payload": "true"}}`,
			}, s.direction))
		}
	}
	if s.wan {
		list = append(list, b.subject(variant{
			name: " tuned", store: fmt.Sprintf(`{"MemoryBudget": %d, "Streams": %d}`, 300<<20, s.streams),
		}, s.direction))
	}
	for _, v := range b.variants {
		list = append(list, b.subject(v, s.direction))
	}
	return list
}

// rclone is one process for each pipe.
func (b *bench) rclone(name, verb string, flags ...string) client {
	return client{name: name, commands: func(t *trial) []command {
		var list []command
		for n, pipe := range t.pipes {
			c := command{program: b.program("rclone"), args: append([]string{verb, "bench:" + t.key(n+1)}, flags...)}
			list = append(list, c.through(t, pipe))
		}
		return list
	}}
}

// awsCopy is one process for each pipe.
func (b *bench) awsCopy(direction string) client {
	return client{name: "aws s3 cp", commands: func(t *trial) []command {
		var list []command
		for n, pipe := range t.pipes {
			args := []string{"s3", "cp", "--quiet", "--endpoint-url", t.endpoint}
			if target := "s3://" + t.key(n+1); direction == up {
				args = append(args, "--expected-size", strconv.FormatInt(t.size, 10), "-", target)
			} else {
				args = append(args, target, "-")
			}
			list = append(list, command{program: b.aws, args: args}.through(t, pipe))
		}
		return list
	}}
}

// through lets a shell open the pipe.
func (c command) through(t *trial, pipe string) command {
	if t.scenario.direction == up {
		c.in = pipe
	} else {
		c.out = pipe
	}
	return c
}

// variant is the data path with other settings or of another build.
type variant struct {
	// name follows "pipestreamer".
	name string
	// store is laid over the settings of its store, in JSON.
	store string
	// program is another build, empty for the one of this tree.
	program string
	// args are flags of its own.
	args []string
}

// subject is one process for all pipes.
func (b *bench) subject(v variant, direction string) client {
	return client{name: "pipestreamer" + v.name, armed: true, ownPipes: true, commands: func(t *trial) []command {
		profile := ""
		if b.profiles != "" {
			profile = filepath.Join(b.profiles, t.prefix+v.name+".pprof")
		}
		return []command{{program: cmp.Or(v.program, filepath.Join(b.programs, "subject")), args: append([]string{
			direction, "-store", t.settings(), "-store", cmp.Or(v.store, "{}"), "-directory", t.directory, "-prefix", t.prefix, "-manifest", t.manifest,
			"-streams", strconv.Itoa(t.scenario.streams), "-size", strconv.FormatInt(t.size, 10), "-profile", profile,
		}, v.args...)}}
	}}
}

// settings are those of the store in a trial.
func (t *trial) settings() string {
	text, err := json.Marshal(map[string]any{"Root": bucket, "Options": map[string]string{
		"provider": "Other", "force_path_style": "true", "endpoint": t.endpoint, "access_key_id": accessKey, "secret_access_key": secretKey,
	}})
	if err != nil {
		return err.Error() // strings can be written as JSON
	}
	return string(text)
}

// least is the least that can be done: plain requests for the same parts.
func (b *bench) least(direction string) client {
	name, verb := "plain PUT", "put"
	if direction == down {
		name, verb = "plain GET", "get"
	}
	return client{name: name, armed: true, commands: func(t *trial) []command {
		parallel := 4
		if t.scenario.wan {
			parallel = 16
		}
		return []command{b.pump(verb, t, "-pipe", "1048576", "-endpoint", t.endpoint, "-key", t.keys,
			"-part", strconv.Itoa(partSize), "-parallel", strconv.Itoa(parallel))}
	}}
}

// nowhere is the limit of the pipe itself.
func (b *bench) nowhere() client {
	return client{name: pipeLimit, armed: true, commands: func(t *trial) []command {
		return []command{b.pump("drain", t, "-pipe", "1048576")}
	}}
}

// pump is the helper with the streams of a trial.
func (b *bench) pump(verb string, t *trial, flags ...string) command {
	args := append([]string{verb, "-size", strconv.FormatInt(t.size, 10)}, flags...)
	return command{program: filepath.Join(b.programs, "pump"), args: append(args, t.pipes...)}
}

// cmd makes a process of a command. A shell that opens a pipe becomes the
// program, so that what is measured is the program.
func (c command) cmd() []string {
	argv := append([]string{c.program}, c.args...)
	switch {
	case c.in != "":
		return append([]string{"sh", "-c", `pipe=$1; shift; exec "$@" < "$pipe"`, "sh", c.in}, argv...)
	case c.out != "":
		return append([]string{"sh", "-c", `pipe=$1; shift; exec "$@" > "$pipe"`, "sh", c.out}, argv...)
	}
	return argv
}

// findAWS returns the path of the AWS command line, empty when there is none.
func findAWS() string {
	path, err := exec.LookPath("aws")
	if err != nil {
		return ""
	}
	return path
}
