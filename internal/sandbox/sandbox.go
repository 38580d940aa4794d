package sandbox

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"weft/internal/frame"
	"weft/tap"
)

// AgentArg is the first argument that makes this binary an agent: the command
// hands the rest over to [Main] before it does anything else.
const AgentArg = "sandbox-agent"

// The names of the files in Config.Dir.
const (
	socketName   = "agent.sock"
	statusName   = "status.json"
	hostsName    = "hosts"
	hostnameName = "hostname"
	resolvName   = "resolv.conf"
	errorName    = "agent.err"
	// LogName is the name of the log in Config.Dir.
	LogName = "log.json"
)

// The errors callers branch on.
var (
	// ErrNotFound: the program does not exist (exit code 127).
	ErrNotFound = errors.New("program not found")
	// ErrPermission: the program cannot be executed (exit code 126).
	ErrPermission = errors.New("program not executable")
	// ErrWorkDir: the process's working directory cannot be entered (exit code
	// 126). The text names it.
	ErrWorkDir = errors.New("working directory")
	// ErrGone: the agent, or the foreign namespace, is no longer there.
	ErrGone = errors.New("namespace is gone")
	// ErrNotRunning: the main process has not been started or has ended.
	ErrNotRunning = errors.New("sandbox is not running")
	// ErrRunning: the main process was started already.
	ErrRunning = errors.New("sandbox was started already")
	// ErrForbidden: this host does not allow it; the text says how to allow it.
	ErrForbidden = errors.New("forbidden by this host")
	// ErrNoInterface: there is no interface of that name.
	ErrNoInterface = errors.New("no such interface")
	// ErrUnsupported is returned by everything on systems other than Linux.
	ErrUnsupported = errors.New("sandbox: namespaces need Linux")
)

// A Config says what [Launch] builds.
type Config struct {
	ID         string // for messages
	Dir        string // runtime directory of this sandbox; made if missing
	Exe        string // binary that becomes the agent; empty for the running one
	Hostname   string
	Domainname string
	Rootfs     string // directory that becomes /; empty for the caller's own tree
	Hosts      []byte // first content of /etc/hosts
	ResolvConf []byte // first content of /etc/resolv.conf
	// Sysctls, by their paths below /proc/sys, are written before the first
	// process. The caller sees to it that they are a sandbox's own (only those of
	// the network are kept off the host's). Forwarding is 0 for both families
	// unless one of them says otherwise.
	Sysctls map[string]string
	// HostNetwork leaves the sandbox in the daemon's network namespace.
	HostNetwork bool
	// SingleID maps one uid and gid only, also where more are granted.
	SingleID bool
	LogPath  string // empty: LogName in Dir
	LogSize  int64  // bytes after which the log is rotated, 0: 10 MiB
	LogFiles int    // files kept, the current one included, 0: 2
}

// A Process is a program to start.
type Process struct {
	Args []string // Args[0] is looked up in Env's PATH, inside
	Env  []string // K=V, complete
	Dir  string   // working directory, empty: /
	TTY  bool
	Rows uint16 // first size of the terminal
	Cols uint16
	// OpenStdin gives the main process a standard input that attached clients
	// write to; otherwise it is /dev/null. StdinOnce closes it when the input of
	// the first client that attached with Stdin ends, or the client goes.
	OpenStdin bool
	StdinOnce bool
}

// Stdio are the streams of a process without a terminal; nil is /dev/null. The
// files stay the caller's.
type Stdio struct{ Stdin, Stdout, Stderr *os.File }

// An ExitStatus says how a process ended.
type ExitStatus struct {
	Code     int       `json:"code"` // 128 + Signal when a signal ended it
	Signal   int       `json:"signal,omitempty"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	LogError string    `json:"logError,omitempty"` // as in State; of the main process only
}

// A Phase is where a sandbox is in its life.
type Phase string

// The phases.
const (
	Created Phase = "created"
	Running Phase = "running"
	Exited  Phase = "exited"
)

// A State is what an agent says about its sandbox.
type State struct {
	Phase    Phase
	Started  time.Time
	Exit     *ExitStatus `json:",omitempty"` // set once Exited
	TTY      bool
	LogError string `json:",omitempty"` // why output is missing from the log
}

// An Interface is one TAP with its configuration inside the namespace.
type Interface struct {
	Name string // empty: the first free ethN
	MAC  frame.MAC
	MTU  int
	// MaxSuperframe is the largest superframe the interface makes, in bytes of IP
	// packet; 0 leaves it to the kernel.
	MaxSuperframe int
	// Addrs are given with the subnet's length. IPv6 is switched off on an
	// interface that has no IPv6 address.
	Addrs    []netip.Prefix
	Routes   []Route
	Gateway4 netip.Addr // default route, invalid for none
	Gateway6 netip.Addr
	// Sysctls are the interface's own settings: paths below /proc/sys and values.
	Sysctls map[string]string
	Queues  int // 0: 1
	Highest tap.Rung
	NAPI    bool
}

// A Route leads to Dst by way of Via, or directly when Via is invalid.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// An Adopted is an interface of a sandbox and the device at its other end.
type Adopted struct {
	Name   string
	Device *tap.Device
}

// AttachOptions say what a client of the main process takes part in.
type AttachOptions struct {
	Stdin bool // it may write standard input
	// Lossy drops the client when it falls 256 KiB behind. Otherwise the main
	// process waits for it, as it does for a pipe.
	Lossy bool
}

// The stream numbers of attached output.
const (
	Stdout = 1
	Stderr = 2
)

// A ForeignConfig names a network namespace made by somebody else: exactly one of
// PID and NetNS is set.
type ForeignConfig struct {
	PID   int    // a process in the namespace
	NetNS string // a path such as /run/netns/NAME
	Exe   string // as in Config
	// Expect, unless zero, is the namespace that is to be found there; another
	// one is [ErrGone].
	Expect NamespaceID
}

// A NamespaceID tells a network namespace from those that have its process id or
// path later. It is good for as long as the namespace lives: after that the
// kernel gives the numbers out again.
type NamespaceID struct {
	Dev, Ino uint64
	Boot     string // of the kernel: its boot_id
}
