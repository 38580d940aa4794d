package cnm

import "fmt"

// A Kind sorts errors by what a caller can do about them. The API maps each to
// one HTTP status. errors.Is(err, cnm.NotFound) finds it.
type Kind string

// The kinds.
const (
	Invalid     Kind = "invalid"      // 400: the request itself is wrong
	NotFound    Kind = "not found"    // 404: the object does not exist
	Conflict    Kind = "conflict"     // 409: its state, or another object, is in the way
	Forbidden   Kind = "forbidden"    // 403: not allowed here, ever
	NotModified Kind = "not modified" // 304: it already is so
	Unavailable Kind = "unavailable"  // 503: cannot be done now
	Unsupported Kind = "unsupported"  // 501: weft or this host cannot do it
)

// Error makes a Kind usable as errors.Is target.
func (k Kind) Error() string { return string(k) }

// An Error is a message for the user, with its kind.
type Error struct {
	Kind Kind
	Msg  string
	Err  error // cause, may be nil
}

// Error returns the message alone.
func (e *Error) Error() string { return e.Msg }

// Is reports whether target is the error's kind.
func (e *Error) Is(target error) bool { k, ok := target.(Kind); return ok && k == e.Kind }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of a kind. With %w the cause stays reachable.
func Errorf(k Kind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	e := &Error{Kind: k, Msg: err.Error()}
	if u, ok := err.(interface{ Unwrap() error }); ok {
		e.Err = u.Unwrap()
	}
	return e
}
