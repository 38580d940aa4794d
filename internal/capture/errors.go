package capture

import "errors"

// ErrLinkType is the cause of the error for a file that is sound but not of
// Ethernet frames.
var ErrLinkType = errors.New("not Ethernet")
