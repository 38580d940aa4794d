package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// weft runs one command line in this process.
func weft(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// Exit codes: 0 done, 1 failed, 2 usage; run and exec 125 for usage and for
// failures of weft itself.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	nobody := "unix://" + filepath.Join(dir, "none.sock")
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("nope: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, line string
		code       int
		stderr     string // part of it; empty: nothing
	}{
		{"help", "", 0, ""},
		{"help of run", "run --help", 0, ""},
		{"group help", "network", 0, ""},
		{"completion", "completion bash", 0, ""},
		{"unknown command", "rnu", 2, "did you mean dns or rm or run?"},
		{"unknown subcommand", "network craete x", 2, "did you mean create"},
		{"unknown flag", "ps --nope", 2, "unknown flag"},
		{"too few", "stop", 2, "at least 1 argument"},
		{"too many", "ps rose", 2, "takes no arguments"},
		{"not exact", "rename rose", 2, "exactly 2 arguments"},
		{"bad filter", "ps --filter name", 2, "expected KEY=VALUE"},
		{"bad type", "inspect --type image x", 2, "expected container or network"},
		{"run usage", "run", 125, "at least 1 argument"},
		{"run flag", "run --nope x", 125, "unknown flag"},
		{"exec usage", "exec rose --", 125, "at least 2 arguments"},
		{"run without daemon", "-H " + nobody + " run true", 125, "no daemon answers"},
		{"exec without daemon", "-H " + nobody + " exec rose true", 1, "no daemon answers"},
		{"ps without daemon", "-H " + nobody + " ps", 1, "no daemon answers"},
		{"bad host", "-H relative.sock ps", 2, "expected a socket"},
		{"open to all", "daemon --host tcp://0.0.0.0:2375", 2, "there is no authentication"},
		{"subnet", "network create --subnet 10.0.0.0/33 x", 2, "not a subnet"},
		{"host bits", "network create --subnet 10.0.0.1/24 x", 2, "expected 10.0.0.0/24"},
		{"config missing", "daemon --config " + filepath.Join(dir, "no.yaml"), 1, "no such file"},
		{"config unknown key", "daemon --config " + bad, 2, "config " + bad + ": line 1: unknown key \"nope\"; known: advertise-addr, aes, control-port, data-dir, "},
		{"pool", "daemon --default-address-pool base=10.0.0.0/8", 2, "expected base="},
		{"workers", "daemon --workers -1", 2, "expected 1 to 1024"},
		{"data path name", "daemon --data-path-addr nosuch0", 2, "data-path-addr \"nosuch0\": it is no address, and there is no interface of that name (there are "},
		{"data path twice", "daemon --data-path-addr 192.0.2.1,2001:db8::1 --data-path-addr 192.0.2.2", 2, "192.0.2.1 and 192.0.2.2 are of one family"},
		{"data path port", "daemon --data-path-port 80", 2, "data-path-port 80: expected 1024 to 49151, or 0 for 4789"},
		{"data path port word", "daemon --data-path-port vxlan", 2, "expected a number"},
		{"advertise", "daemon --advertise-addr 0.0.0.0", 2, "advertise-addr \"0.0.0.0\": expected an address that this machine has"},
		{"peers of what", "peers craete", 2, "not a command of \"weft peers\""},
		{"peers filter", "peers ls --filter wide", 2, "not KEY=VALUE"},
		{"underlay of a network", "peers ls --underlay --network wide", 2, "exclude each other"},
		{"peers without daemon", "-H " + nobody + " peers", 1, "no daemon answers"},
		{"attach nothing", "attach", 2, "--pid PID"},
		{"attach both", "attach --pid 1 --netns /x --network n", 2, "exclude each other"},
		{"attach no network", "attach --pid 1", 2, "--network is missing"},
		{"attach bad pid", "attach --pid -5 --network n", 2, "number of a running process"},
		{"attach relative", "attach --netns a/b --network n", 2, "absolute path"},
		{"attach host", "attach --pid 1 --network host", 2, "cannot be attached"},
		{"replay no file", "replay " + filepath.Join(dir, "no.yaml"), 1, "no such file"},
		{"replay bad file", "replay " + bad, 1, "bad.yaml:1"},
		{"capture expression", "capture rose tcp and", 2, ""},
		{"capture twice", "capture rose -f tcp udp", 2, "exclude each other"},
		{"help of nothing", "help nope", 2, "not a command"},
		{"help of a command", "help network create", 0, ""},
		{"unknown shell", "completion nosh", 2, "not a command of \"weft completion\""},
		{"shell and more", "completion bash x", 2, "takes no arguments"},
		{"number", "capture -c x", 2, "\"x\" for \"-c, --count\" flag: expected a number\n"},
		{"duration", "capture --duration abc", 2, "\"abc\" for \"--duration\" flag: expected a number with its unit, such as 10s or 500ms\n"},
		{"replay port twice", "replay --in a=x --in a=y lab.yaml", 2, "a= was given already"},
		{"replay stdin twice", "replay --in a=- --in b=- lab.yaml", 2, "--in a=- and --in b=-: stdin can be read once"},
		{"timeout", "stop -t -5 rose", 2, "-1 for no limit"},
		{"since", "events --since yesterday", 2, "or how long ago"},
		{"until", "logs --until bla rose", 2, "--until \"bla\""},
		{"tail", "logs --tail x rose", 2, "number of lines"},
		{"scheme", "-H ssh://x ps", 2, "expected unix://"},
		{"frame", "trace --lab x.yaml src=", 2, "not KEY=VALUE"},
		{"field", "version --format {{.Nope}}", 2, "<.Nope>: can't evaluate field Nope\n"},
		{"tool usage", "tool nope", 2, "there is no tool \"nope\""},
		{"tool help", "tool ping --help", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := weft(t, strings.Fields(tt.line)...)
			if code != tt.code {
				t.Errorf("exit code %d, expected %d; stderr: %s", code, tt.code, stderr)
			}
			if !strings.Contains(stderr, tt.stderr) || (tt.code == 0) != (stderr == "") {
				t.Errorf("stderr %q, expected %q", stderr, tt.stderr)
			}
		})
	}
}

// Without a daemon, version shows this binary's part and exits 0.
func TestVersionAlone(t *testing.T) {
	t.Setenv("WEFT_HOST", "")
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	if os.Getuid() == 0 {
		if _, err := os.Stat("/run/weft/weft.sock"); err == nil {
			t.Skip("a daemon of this host answers at /run/weft")
		}
	}
	code, stdout, stderr := weft(t, "version")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "Client: weft\n Version:           "+Version+"\n") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	code, stdout, _ = weft(t, "version", "--format", "{{.Client.Version}} {{.ServerOK}}")
	if code != 0 || stdout != Version+" false\n" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	// Also where a daemon was named: with the reason, in the text or beside it.
	for _, host := range []string{"unix://" + filepath.Join(t.TempDir(), "none.sock"), "tcp://127.0.0.1:1"} {
		code, stdout, stderr = weft(t, "-H", host, "version")
		if code != 0 || stderr != "" || !strings.Contains(stdout, Version) || !strings.Contains(stdout, "\nServer: none, no daemon answers at "+host) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", host, code, stdout, stderr)
		}
		code, stdout, stderr = weft(t, "-H", host, "version", "--format", "{{.Client.Version}}")
		if code != 0 || stdout != Version+"\n" || !strings.Contains(stderr, "no server part: no daemon answers at "+host) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", host, code, stdout, stderr)
		}
	}
}

// Without a daemon, named or not, doctor looks itself and says so.
func TestDoctorAlone(t *testing.T) {
	if !daemonSupported {
		t.Skip("there is nothing to check where no sandbox can run")
	}
	host := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	_, stdout, stderr := weft(t, "-H", host, "doctor", "--format", "{{.Name}}") // the exit code is the host's affair
	if !strings.Contains(stdout, "kernel\n") || stderr != "weft: no daemon runs at "+host+": checked from here\n" {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
}

// Every command has a description and, with arguments, says which.
func TestCommandsDescribed(t *testing.T) {
	a := &app{getenv: os.Getenv}
	for _, c := range a.root().Commands() {
		if c.Short == "" {
			t.Errorf("%s has no description", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			if sub.Short == "" {
				t.Errorf("%s has no description", sub.CommandPath())
			}
		}
	}
}
