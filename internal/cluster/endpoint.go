package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"weft/internal/cnm"
	"weft/internal/frame"
)

// An Endpoint is one row of a network's table: somebody's place on the network, as
// the node it lives on tells the others.
type Endpoint struct {
	Node    string // the row's owner
	ID      string // 64 hex digits
	Sandbox string // name
	Names   []string
	MAC     frame.MAC
	Addrs   []netip.Addr // all that lead to MAC, link-local ones too
	VTEP    netip.AddrPort
}

// The bounds of a row. Names are those of a sandbox and its aliases on one
// network, of at most 253 bytes each (RFC 1035, 2.3.4).
const (
	maxNames    = 128
	maxName     = 253
	maxAddrs    = 64
	maxEndpoint = 16 << 10 // bytes, encoded
)

// wireEndpoint is an Endpoint as it travels. The id is the row's key.
type wireEndpoint struct {
	Sandbox string         `json:"s,omitempty"`
	Names   []string       `json:"n,omitempty"`
	MAC     string         `json:"m"`
	Addrs   []netip.Addr   `json:"a"`
	VTEP    netip.AddrPort `json:"v"`
}

// encode returns the row's value.
func (e *Endpoint) encode() ([]byte, error) {
	b, err := json.Marshal(wireEndpoint{e.Sandbox, e.Names, e.MAC.String(), e.Addrs, e.VTEP})
	if err == nil && len(b) > maxEndpoint {
		err = fmt.Errorf("the row of endpoint %s has %d bytes, at most %d are possible: give it fewer aliases", cnm.ShortID(e.ID), len(b), maxEndpoint)
	}
	return b, err
}

// decodeEndpoint reads a row that another node wrote. Nothing in it is believed
// that could harm the tables: addresses are of hosts, the MAC is of one station.
func decodeEndpoint(id string, value []byte) (Endpoint, error) {
	var w wireEndpoint
	switch {
	case !cnm.IsID(id):
		return Endpoint{}, errors.New("the key is no endpoint's id")
	case len(value) > maxEndpoint:
		return Endpoint{}, fmt.Errorf("row of %d bytes, at most %d are possible", len(value), maxEndpoint)
	}
	if err := json.Unmarshal(value, &w); err != nil {
		return Endpoint{}, err
	}
	mac, err := frame.ParseMAC(w.MAC)
	if err != nil {
		return Endpoint{}, err
	}
	e := Endpoint{ID: id, Sandbox: w.Sandbox, Names: w.Names, MAC: mac, Addrs: w.Addrs, VTEP: w.VTEP}
	return e, e.check()
}

func (e *Endpoint) check() error {
	switch {
	case e.MAC.IsZero() || e.MAC[0]&1 != 0:
		return fmt.Errorf("MAC address %s is no station's", e.MAC)
	case !e.VTEP.IsValid() || e.VTEP.Port() == 0 || !hostAddr(e.VTEP.Addr()):
		return fmt.Errorf("VTEP %s is no host's", e.VTEP)
	case len(e.Names) > maxNames || len(e.Addrs) > maxAddrs:
		return fmt.Errorf("%d names and %d addresses, at most %d and %d are possible", len(e.Names), len(e.Addrs), maxNames, maxAddrs)
	}
	for _, n := range append([]string{e.Sandbox}, e.Names...) {
		if len(n) > maxName {
			return fmt.Errorf("name of %d bytes, at most %d are possible", len(n), maxName)
		}
	}
	for _, a := range e.Addrs {
		if !hostAddr(a) {
			return fmt.Errorf("address %s is no host's", a)
		}
	}
	return nil
}

// hostAddr reports whether an address can be one host's.
func hostAddr(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() && a.Zone() == ""
}
