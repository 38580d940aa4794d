package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A message on the control socket is
//
//	0      2       3     4               8
//	+------+-------+-----+---------------+----------------------+
//	| "wf" | vers. |  0  | length (BE)   | JSON, length bytes   |
//	+------+-------+-----+---------------+----------------------+
//
// with any descriptors attached to its first byte. What is not of this form ends
// the connection it came on, and nothing else.
const (
	wireVersion = 1
	headerLen   = 8
	maxMessage  = 4 << 20 // bytes of JSON; arguments and environment have 2 MiB in Linux
	maxFiles    = 64      // descriptors per message
)

// The operations.
const (
	opBoot     = "boot"
	opState    = "state"
	opStart    = "start"
	opExec     = "exec"
	opExecWait = "exec-wait"
	opWait     = "wait"
	opSignal   = "signal"
	opResize   = "resize"
	opAttach   = "attach"
	opAdd      = "interface-add"
	opRemove   = "interface-remove"
	opList     = "interface-list"
	opReopen   = "interface-reopen"
	opGateway  = "default-route"
	opMTU      = "interface-mtu"
	opNames    = "names-open"
	opDial     = "dial"
)

type request struct {
	Op         string
	Config     *Config        `json:",omitempty"`
	Process    *Process       `json:",omitempty"`
	Interface  *Interface     `json:",omitempty"`
	Attach     *AttachOptions `json:",omitempty"`
	Name       string         `json:",omitempty"` // interface
	Exec       uint64         `json:",omitempty"` // exec number; 0 is the main process
	Signal     int            `json:",omitempty"`
	Rows       uint16         `json:",omitempty"`
	Cols       uint16         `json:",omitempty"`
	MTU        int            `json:",omitempty"`
	Superframe int            `json:",omitempty"`
	Network    string         `json:",omitempty"` // of a dial: udp or tcp
	Address    string         `json:",omitempty"` // the same: IP and port
	Gateway4   netip.Addr
	Gateway6   netip.Addr
}

type reply struct {
	Kind     string      `json:",omitempty"` // which sentinel error, see kinds
	Error    string      `json:",omitempty"`
	Warnings []string    `json:",omitempty"`
	State    *State      `json:",omitempty"`
	Exit     *ExitStatus `json:",omitempty"`
	Name     string      `json:",omitempty"`
	Exec     uint64      `json:",omitempty"`
	More     bool        `json:",omitempty"` // another reply follows
}

// kinds are the sentinel errors that keep their identity across the socket.
var kinds = [...]struct {
	name string
	err  error
}{
	{"not-found", ErrNotFound},
	{"permission", ErrPermission},
	{"work-dir", ErrWorkDir},
	{"not-running", ErrNotRunning},
	{"running", ErrRunning},
	{"forbidden", ErrForbidden},
	{"no-interface", ErrNoInterface},
	{"gone", ErrGone},
}

// A remoteError is an error that happened at the other end.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func failure(err error) reply {
	r := reply{Error: err.Error(), Kind: "other"}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			r.Kind = k.name
		}
	}
	return r
}

// err returns the error a reply carries.
func (r *reply) err() error {
	if r.Kind == "" {
		return nil
	}
	e := &remoteError{text: r.Error}
	for _, k := range kinds {
		if k.name == r.Kind {
			e.kind = k.err
		}
	}
	return e
}

// send writes one message and attaches files to it, which stay the caller's.
func send(c *net.UnixConn, message any, files []*os.File) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return fmt.Errorf("message of %d bytes, at most %d are possible", len(body), maxMessage)
	}
	if len(files) > maxFiles {
		return fmt.Errorf("%d descriptors in a message, at most %d are possible", len(files), maxFiles)
	}
	b := make([]byte, headerLen, headerLen+len(body))
	b[0], b[1], b[2] = 'w', 'f', wireVersion
	binary.BigEndian.PutUint32(b[4:], uint32(len(body)))
	b = append(b, body...)
	if len(files) == 0 {
		_, err = c.Write(b)
		return err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		// Fd would make the file blocking; the raw connection does not.
		if err := control(f, func(fd int) { fds[i] = fd }); err != nil {
			return err
		}
	}
	n, _, err := c.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	if err == nil && n < len(b) {
		_, err = c.Write(b[n:])
	}
	return err
}

// receive reads one message into v and returns the descriptors that came with
// it, which become the caller's. A clean end of the stream is io.EOF.
func receive(c *net.UnixConn, v any) (fds []int, err error) {
	var header [headerLen]byte
	defer func() {
		if err != nil {
			closeFDs(fds)
			fds = nil
		}
	}()
	for n := 0; n < headerLen; {
		oob := make([]byte, unix.CmsgSpace(4*maxFiles))
		m, oobn, _, _, err := c.ReadMsgUnix(header[n:], oob)
		if oobn > 0 {
			fds = append(fds, parseRights(oob[:oobn])...)
		}
		if err != nil {
			return fds, err
		}
		if m == 0 {
			if n == 0 {
				return fds, io.EOF
			}
			return fds, io.ErrUnexpectedEOF
		}
		n += m
	}
	if header[0] != 'w' || header[1] != 'f' {
		return fds, fmt.Errorf("control message begins with % x, % x was expected", header[:2], "wf")
	}
	if header[2] != wireVersion {
		return fds, fmt.Errorf("control message has version %d, %d was expected: agent and daemon are of different weft versions", header[2], wireVersion)
	}
	size := binary.BigEndian.Uint32(header[4:])
	if size > maxMessage {
		return fds, fmt.Errorf("control message of %d bytes, at most %d are possible", size, maxMessage)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c, body); err != nil {
		return fds, unexpected(err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fds, fmt.Errorf("control message: %w", err)
	}
	return fds, nil
}

// unexpected turns a clean end of a stream into one that came too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func parseRights(oob []byte) []int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var fds []int
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

// control runs f with the file's descriptor, without changing its mode.
func control(file *os.File, f func(fd int)) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
