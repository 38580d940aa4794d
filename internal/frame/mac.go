package frame

import "fmt"

const hexDigits = "0123456789abcdef"

// String returns the address as six lower-case hex pairs joined by colons.
func (m MAC) String() string {
	b, _ := m.AppendText(make([]byte, 0, 17))
	return string(b)
}

// AppendText appends what String returns.
func (m MAC) AppendText(b []byte) ([]byte, error) {
	for i, v := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hexDigits[v>>4], hexDigits[v&15])
	}
	return b, nil
}

// IsZero reports whether no address is given.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsGroup reports whether the address is a multicast address or broadcast: the
// I/G bit (IEEE 802, 8.2.2).
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// ParseMAC reads six pairs of hex digits joined by colons or hyphens.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 {
		return m, fmt.Errorf("invalid MAC address %q: expected six hex pairs like 02:42:ac:11:00:02", s)
	}
	sep := s[2]
	for i := range m {
		hi, lo := hexValue(s[3*i]), hexValue(s[3*i+1])
		if hi > 15 || lo > 15 || sep != ':' && sep != '-' || i < 5 && s[3*i+2] != sep {
			return MAC{}, fmt.Errorf("invalid MAC address %q: expected six hex pairs like 02:42:ac:11:00:02", s)
		}
		m[i] = hi<<4 | lo
	}
	return m, nil
}

// hexValue returns the value of a hex digit, or 255.
func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// MarshalText encodes the address for JSON and flags; the zero address is the
// empty text.
func (m MAC) MarshalText() ([]byte, error) {
	if m.IsZero() {
		return []byte{}, nil
	}
	return m.AppendText(nil)
}

// UnmarshalText is the reverse of MarshalText.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	v, err := ParseMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}
