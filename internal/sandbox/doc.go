// Package sandbox runs processes in namespaces of their own and gives them
// network interfaces whose other end is a descriptor in the daemon.
//
// # Theory of operation
//
// [Launch] clones a process into new user, network, mount, UTS, IPC and PID
// namespaces, without a setuid helper unless /etc/subuid grants more than one
// id. The clone executes this same binary with argv[1] [AgentArg]; [Main] then
// runs as PID 1 inside: the agent. It builds the file tree, reaps orphans,
// forwards signals, owns the output and its log, makes the TAPs and keeps a
// duplicate of their descriptors, as of the sockets at which names are asked for
// (names_linux.go). It leads its own session and depends on no
// descriptor of the daemon, so the daemon may die and come back.
//
// Daemon and agent share one directory per sandbox, Config.Dir, mode 0700:
//
//	agent.sock    control socket, mode 0600
//	status.json   how the main process ended, written by rename
//	hosts, hostname, resolv.conf   bound over the files in /etc
//	log.json      output, unless Config.LogPath names another file
//	agent.err     what the agent's runtime wrote to its standard error
//
// The control socket speaks one request and its reply at a time on each of up
// to 256 connections; see message_linux.go. The daemon opens a connection per
// call, so a call that waits (Wait, Attach) holds up no other, and an agent that
// dies ends every call at once.
//
// States: created (agent is up, no process yet) → running → exited. Only Start
// leads from the first to the second. When the main process ends, the agent
//
//  1. refuses new processes and kills and reaps whatever is left,
//  2. reads output to its end and closes the log,
//  3. writes status.json and answers whoever waits,
//  4. lets attached clients read what they have not yet read,
//  5. exits; with it go the namespaces.
//
// So an ended sandbox has its log and status on disk and needs no agent, and a
// daemon that was dead meanwhile learns everything from [ReadStatus]. An agent
// that is killed leaves no status: every call then returns [ErrGone].
//
// A TAP descriptor pins the network namespace in which it was opened (the TUN
// driver's socket holds a reference). The daemon therefore has to close the
// devices of a sandbox that ended, and the vanishing of a foreign namespace is
// seen by [ForeignNS.Check], not by a failing read.
//
// # Rights inside
//
// The caller is root inside and holds the capabilities over the new namespaces,
// as in unshare -Ur: it may change addresses and capture, and the switch's guard
// decides what leaves. Only CAP_SYS_PTRACE is the agent's alone, which keeps
// everybody else from its memory and descriptors. Without a root directory of its
// own a sandbox is no boundary towards the caller's files.
//
// For root the map is the identity: root inside is root outside. So the host's
// parts of /proc and /sys are read-only or covered and no device node is to be
// had, as in Docker's containers, and root inside has Docker's capabilities and
// CAP_NET_ADMIN, which leaves nobody the right to undo these mounts. There is no
// seccomp filter, and without a root directory of its own such a sandbox changes
// the host's files and opens its devices, as its caller can.
//
// Not supported: cgroup limits, seccomp filters, images. Linux 5.4 or later.
//
// All methods may be called from several goroutines.
package sandbox
