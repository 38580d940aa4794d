// Command weft is Docker-swarm networking without root and without the kernel's
// data path: daemon, agent inside each sandbox, and command line in one binary.
package main

import (
	"os"

	"weft/internal/cli"
	"weft/internal/sandbox"
)

func main() {
	// The daemon runs this binary again as PID 1 of each sandbox; that must be
	// up in a few milliseconds, so it comes before everything else.
	if len(os.Args) > 1 && os.Args[1] == sandbox.AgentArg {
		os.Exit(sandbox.Main(os.Args[2:]))
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
