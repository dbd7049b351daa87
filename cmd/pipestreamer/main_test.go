package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pipestreamer": main})
}

// TestScript runs the command lines in testdata/script as a person would.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// status N PROGRAM ARGS… runs a program and expects exit status N.
			"status": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				got := "0"
				if err != nil {
					got = err.Error()
				}
				if want := args[0]; got != want && got != "exit status "+want {
					ts.Fatalf("%s, expected exit status %s", got, want)
				}
			},
		},
		Setup: func(env *testscript.Env) error {
			return os.Mkdir(env.Getenv("WORK")+"/backup", 0o770)
		},
	})
}
