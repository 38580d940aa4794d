package api

import (
	"net/http"

	"weft/internal/cnm"
)

// sameOrigin refuses what a web page of somebody else makes a browser send to
// a TCP listener: the API has no cookies to protect, but it starts processes.
func sameOrigin(r *http.Request) error {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return cnm.Errorf(cnm.Forbidden, "requests from web pages of other origins are refused: %w", err)
	}
	return nil
}
