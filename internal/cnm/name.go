package cnm

import (
	"strings"
)

// Names of the networks that always exist.
const (
	NetBridge  = "bridge"
	NetHost    = "host"
	NetNone    = "none"
	netDefault = "default" // what Docker calls "bridge" in a network mode
	netNull    = "null"    // what the API calls "none"
)

// maxName is the longest name of a network or sandbox in bytes. Docker has no
// limit; a name must fit a DNS name with room for the network's.
const maxName = 128

// IsPredefined reports whether a network name is taken by one that always
// exists, be it as another name for it: it can be neither created nor removed.
func IsPredefined(name string) bool {
	switch name {
	case NetBridge, NetHost, NetNone, netDefault, netNull:
		return true
	}
	return false
}

// ValidateNetworkName checks the name of a network to be created: Docker's
// [a-zA-Z0-9][a-zA-Z0-9_.-]*, not predefined, and not readable as a network's
// ID, for references by name and by ID share one word.
func ValidateNetworkName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return Errorf(Invalid, "invalid name: name is empty")
	case IsPredefined(name):
		return Errorf(Forbidden, "operation is not permitted on predefined %s network", name)
	case !plainName(name, 1):
		return Errorf(Invalid, "invalid network name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, at most %d characters", name, maxName)
	case IsID(name):
		return Errorf(Invalid, "invalid network name %q: 64 hex digits would be taken for a network ID", name)
	}
	return nil
}

// ValidateSandboxName checks the name of a sandbox. The empty name stands for a
// generated one.
func ValidateSandboxName(name string) error {
	if name == "" {
		return nil
	}
	if !plainName(name, 2) {
		return Errorf(Invalid, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	if IsID(name) {
		return Errorf(Invalid, "Invalid container name (%s), 64 hex digits would be taken for an ID", name)
	}
	return nil
}

// plainName reports whether s is at least least characters of Docker's name
// alphabet.
func plainName(s string, least int) bool {
	if len(s) < least || len(s) > maxName || !alphanumeric(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !alphanumeric(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// validHost reports whether s can be a host or domain name: labels of 1 to 63
// letters, digits, hyphens and (as Docker allows) underscores, joined by dots,
// 253 characters in all (RFC 1035, 2.3.4; RFC 1123, 2.1).
func validHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; !alphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// ValidInterface reports whether s can name a network interface.
func ValidInterface(s string) bool { return validIfName(s) }

// validIfName reports whether s can name an interface: at most 15 bytes
// (IFNAMSIZ less the terminator), no slash, colon, space or control character.
func validIfName(s string) bool {
	if s == "" || len(s) > 15 || s == "." || s == ".." {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '/' || c == ':' || c == '%' {
			return false
		}
	}
	return true
}
