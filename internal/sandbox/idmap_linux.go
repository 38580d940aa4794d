package sandbox

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

// Theory of operation
//
// The agent is cloned without an id map and keeps its capabilities over the exec
// as ambient ones; it waits for its configuration, which is sent only after the
// map is written. So one path serves all three kinds of map:
//
//	root                       the daemon's own ids, each to itself
//	newuidmap and /etc/subuid  0 to the caller, 1.. to the granted ranges
//	otherwise                  0 to the caller alone; setgroups(2) is denied
//
// user_namespaces(7) is the reference for who may write which map.

// An idRange is a line of a map.
type idRange struct{ inside, outside, count uint64 }

// writeMaps writes both maps of the process. The warning says why fewer ids are
// mapped than /etc/subuid grants.
func writeMaps(pid int, single bool) (warning string, err error) {
	if os.Geteuid() == 0 {
		return "", writeIdentity(pid)
	}
	uid, gid := uint64(os.Getuid()), uint64(os.Getgid())
	var uids, gids []idRange
	if !single {
		uids, gids = grantedRanges()
	}
	if len(uids) > 0 && len(gids) > 0 {
		done := make(chan error, 1)
		go func() { done <- runMapper("newgidmap", pid, append([]idRange{{0, gid, 1}}, gids...)) }()
		uerr := runMapper("newuidmap", pid, append([]idRange{{0, uid, 1}}, uids...))
		gerr := <-done
		if uerr == nil && gerr == nil {
			return "", nil
		}
		if uerr != nil {
			warning = uerr.Error()
			if err := writeMap(pid, "uid_map", []idRange{{0, uid, 1}}); err != nil {
				return "", err
			}
		}
		if gerr != nil {
			warning = gerr.Error()
			return warning + "; a single gid is mapped", writeSingleGID(pid, gid)
		}
		return warning + "; a single uid is mapped", nil
	}
	if err := writeMap(pid, "uid_map", []idRange{{0, uid, 1}}); err != nil {
		return "", err
	}
	return "", writeSingleGID(pid, gid)
}

func writeSingleGID(pid int, gid uint64) error {
	path := fmt.Sprintf("/proc/%d/setgroups", pid)
	if err := os.WriteFile(path, []byte("deny"), 0); err != nil && !os.IsNotExist(err) {
		return err
	}
	return writeMap(pid, "gid_map", []idRange{{0, gid, 1}})
}

// writeIdentity maps every id the caller's own namespace knows to itself.
func writeIdentity(pid int) error {
	for _, name := range [...]string{"uid_map", "gid_map"} {
		own, err := os.ReadFile("/proc/self/" + name)
		if err != nil {
			return err
		}
		ranges := parseMap(own)
		for i := range ranges {
			ranges[i].outside = ranges[i].inside
		}
		if err := writeMap(pid, name, ranges); err != nil {
			return err
		}
	}
	return nil
}

func writeMap(pid int, name string, ranges []idRange) error {
	var b bytes.Buffer
	for _, r := range ranges {
		fmt.Fprintf(&b, "%d %d %d\n", r.inside, r.outside, r.count)
	}
	// The kernel takes a map in one write only, and only once.
	return os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, name), b.Bytes(), 0)
}

func parseMap(text []byte) []idRange {
	var out []idRange
	scan := bufio.NewScanner(bytes.NewReader(text))
	for scan.Scan() {
		var r idRange
		if n, _ := fmt.Sscan(scan.Text(), &r.inside, &r.outside, &r.count); n == 3 {
			out = append(out, r)
		}
	}
	return out
}

// grantedRanges returns the ranges that /etc/subuid and /etc/subgid grant the
// caller, if both do and the helpers that may map them are there.
func grantedRanges() (uids, gids []idRange) {
	for _, helper := range [...]string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(helper); err != nil {
			return nil, nil
		}
	}
	uid := strconv.Itoa(os.Getuid())
	name := uid
	if u, err := user.LookupId(uid); err == nil {
		name = u.Username
	}
	subuid, _ := os.ReadFile("/etc/subuid")
	subgid, _ := os.ReadFile("/etc/subgid")
	return parseGrants(subuid, name, uid), parseGrants(subgid, name, uid)
}

// parseGrants reads the lines OWNER:START:COUNT of subuid(5) that name one user,
// by name or by number, and lines the ranges up from inside id 1 on.
func parseGrants(text []byte, name, uid string) []idRange {
	const maxRanges = 16 // a map of more than a page is refused by old kernels
	var out []idRange
	inside := uint64(1)
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name && f[0] != uid || len(out) == maxRanges {
			continue
		}
		start, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil || count == 0 || start+count > 1<<32-1 || inside+count > 1<<32-1 {
			continue
		}
		out = append(out, idRange{inside, start, count})
		inside += count
	}
	return out
}

func runMapper(helper string, pid int, ranges []idRange) error {
	args := []string{strconv.Itoa(pid)}
	for _, r := range ranges {
		args = append(args, strconv.FormatUint(r.inside, 10), strconv.FormatUint(r.outside, 10), strconv.FormatUint(r.count, 10))
	}
	if out, err := exec.Command(helper, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", helper, err, bytes.TrimSpace(out))
	}
	return nil
}
