package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"weft/internal/cnm"
)

// sameOrigin refuses what a web page of somebody else makes a browser send to
// a TCP listener: the API has no cookies to protect, but it starts processes. A
// page whose name was made to lead here afterwards (DNS rebinding) is of the same
// origin; it is known by that name, so a browser has to say an address or localhost.
func sameOrigin(r *http.Request) error {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return cnm.Errorf(cnm.Forbidden, "requests from web pages of other origins are refused: %w", err)
	}
	if browser := r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != ""; browser && !literalHost(r.Host) {
		return cnm.Errorf(cnm.Forbidden, "requests from web pages must name this host by address or as localhost, got %s", clip(r.Host))
	}
	return nil
}

// literalHost reports whether no resolver is asked where a host is.
func literalHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}
