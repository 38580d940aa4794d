// Package cli is weft's command line. It mirrors Docker's: the same command
// names, flags, columns, outputs and exit codes, so that fingers which know
// docker know weft.
//
// One file holds one command. What the commands share: main.go (the root and
// the exit code), errors.go, host.go (which daemon), autostart.go (starting
// one), client.go (reaching it), format.go (tables, templates, JSON), runspec.go
// and netflag.go (flags to API objects), stream.go, terminal.go and signals_*.go
// (a sandbox's input and output).
//
// Exit codes: 0 done, 1 failed, 2 wrong usage; `run` and `exec` as in Docker:
// 125 weft itself failed, 126 the command cannot be run, 127 it was not found,
// otherwise the command's own.
//
// Everything a user reads as a result goes to stdout, everything else to stderr;
// progress is shown only where stderr is a terminal.
//
// Nothing here is safe for concurrent use; one process runs one command.
package cli
