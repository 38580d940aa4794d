package cnm

import (
	"fmt"
	"strings"
)

// ParseSysctl reads KEY=VALUE of --sysctl.
func ParseSysctl(s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", Errorf(Invalid, "sysctl '%s' is not allowed: expected KEY=VALUE", s)
	}
	return key, value, checkSysctl(key, value)
}

// SysctlPath returns where a checked key lies below /proc/sys. As in sysctl(8),
// the first separator is the one that counts: net.ipv4.conf.eth0/1.forwarding
// and net/ipv4/conf/eth0.1/forwarding are the same.
func SysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
}

// checkSysctl refuses settings that are not a namespace's own (namespaces(7))
// and keys that could leave /proc/sys. Components are separated by dots or
// slashes.
func checkSysctl(key, value string) error {
	for part := range strings.FieldsFuncSeq(key, func(r rune) bool { return r == '/' }) {
		if strings.Trim(part, ".") == "" {
			return Errorf(Invalid, "sysctl '%s' is not allowed: bad name", key)
		}
	}
	dotted := strings.ReplaceAll(key, "/", ".")
	if strings.Contains(dotted, "..") || strings.HasPrefix(dotted, ".") || strings.HasSuffix(dotted, ".") {
		return Errorf(Invalid, "sysctl '%s' is not allowed: bad name", key)
	}
	for i := 0; i < len(dotted); i++ {
		if c := dotted[i]; !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return Errorf(Invalid, "sysctl '%s' is not allowed: bad name", key)
		}
	}
	if strings.ContainsAny(value, "\n\x00") {
		return Errorf(Invalid, "sysctl '%s' is not allowed: the value has several lines", key)
	}
	if dotted == "kernel.domainname" || dotted == "kernel.hostname" {
		return Errorf(Invalid, "sysctl '%s' is not allowed: use --domainname and --hostname", key)
	}
	if !namespaced(dotted) {
		return Errorf(Invalid, "sysctl '%s' is not allowed: it is not in a separate kernel namespace (net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*)", key)
	}
	return nil
}

func namespaced(key string) bool {
	switch key {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
		return true
	}
	return strings.HasPrefix(key, "net.") || strings.HasPrefix(key, "fs.mqueue.")
}

// SysctlPaths returns checked settings by their paths below /proc/sys.
func SysctlPaths(m map[string]string) map[string]string {
	paths := make(map[string]string, len(m))
	for _, k := range sortedKeys(m) {
		paths[SysctlPath(k)] = m[k]
	}
	return paths
}

// checkSysctls checks all settings of a sandbox.
func checkSysctls(m map[string]string, networkMode string, bad *problems) {
	seen := map[string]string{}
	for _, k := range sortedKeys(m) {
		if err := checkSysctl(k, m[k]); err != nil {
			bad.add(err)
		} else if other, twice := seen[SysctlPath(k)]; twice {
			bad.add(fmt.Errorf("sysctl %s is given twice, also as %s", k, other))
		} else if networkMode == NetHost && strings.HasPrefix(k, "net") {
			bad.add(fmt.Errorf("sysctl %q not allowed in host network namespace", k))
		}
		seen[SysctlPath(k)] = k
	}
}
