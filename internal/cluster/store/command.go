package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"weft/internal/cnm"
)

// A Command is one change of the state, complete: times and identifiers are in it,
// so that it does the same on every manager. It is one of the structs of this
// package.
type Command interface {
	kind() string
	apply(*change) error
}

// A Result is what a command did. It can be sent as JSON.
type Result struct {
	// Version is that of the state behind the command: who waits for it, sees what
	// the command did.
	Version  uint64
	Node     *Node     `json:",omitempty"` // that was put or updated
	Network  *Network  `json:",omitempty"` // that was created or removed
	Endpoint *Endpoint `json:",omitempty"` // that was allocated
	Released int       `json:",omitempty"` // number of endpoints that were
}

// An envelope is a command as it lies in the log.
type envelope struct {
	Kind string          `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// commands tells how each kind is read.
var commands = map[string]func([]byte) (Command, error){
	InitCluster{}.kind():      read[InitCluster],
	SetSpec{}.kind():          read[SetSpec],
	RotateToken{}.kind():      read[RotateToken],
	SetRoots{}.kind():         read[SetRoots],
	AddGossipKey{}.kind():     read[AddGossipKey],
	UseGossipKey{}.kind():     read[UseGossipKey],
	DropGossipKey{}.kind():    read[DropGossipKey],
	AdvanceEpoch{}.kind():     read[AdvanceEpoch],
	PutNode{}.kind():          read[PutNode],
	PutCertificate{}.kind():   read[PutCertificate],
	UpdateNode{}.kind():       read[UpdateNode],
	RemoveNode{}.kind():       read[RemoveNode],
	CreateNetwork{}.kind():    read[CreateNetwork],
	RemoveNetwork{}.kind():    read[RemoveNetwork],
	AllocateEndpoint{}.kind(): read[AllocateEndpoint],
	ReleaseEndpoint{}.kind():  read[ReleaseEndpoint],
	ReleaseNode{}.kind():      read[ReleaseNode],
}

func read[C Command](body []byte) (Command, error) {
	var c C
	if err := strict(body, &c); err != nil {
		return nil, err
	}
	return c, nil
}

// strict decodes one JSON document. A member that is not known is an error: a
// manager that does only half of what a command says no longer agrees with the
// others.
func strict(doc []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more than one document")
	}
	return nil
}

// Encode returns a command as it is sent and kept; at most [MaxCommand] bytes.
func Encode(c Command) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "command %s: %w", c.kind(), err)
	}
	doc, err := json.Marshal(envelope{c.kind(), body})
	if err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "command %s: %w", c.kind(), err)
	}
	if len(doc) > MaxCommand {
		return nil, cnm.Errorf(cnm.Invalid, "command %s has %d bytes, at most %d", c.kind(), len(doc), MaxCommand)
	}
	return doc, nil
}

// Decode reads what [Encode] made, from wherever it came.
func Decode(doc []byte) (Command, error) {
	if len(doc) > MaxCommand {
		return nil, cnm.Errorf(cnm.Invalid, "command of %d bytes, at most %d", len(doc), MaxCommand)
	}
	var e envelope
	if err := strict(doc, &e); err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "command cannot be read: %w", err)
	}
	from, ok := commands[e.Kind]
	if !ok {
		return nil, cnm.Errorf(cnm.Unsupported, "command %.40q is not known: is this manager older than the others?", e.Kind)
	}
	c, err := from(e.Body)
	if err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "command %s cannot be read: %w", e.Kind, err)
	}
	return c, nil
}
