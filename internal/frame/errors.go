package frame

import "errors"

// ErrBlocked is wrapped by the error of a write that would have had to wait: the
// device is full, the frame is not at fault.
var ErrBlocked = errors.New("device is full")

// ErrTooBig is wrapped by the error of a write whose frame is larger than the way
// out takes now.
var ErrTooBig = errors.New("frame is too big for the way out")

// ErrNoKey is wrapped by the error of a write whose frame must not leave in clear,
// and there is no key to seal it with.
var ErrNoKey = errors.New("there is no key to seal with")
