package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// Theory of operation: a state as a stream
//
// A state is written as lines of JSON, one record each, so that neither side needs
// all of it at once: the head (format and version), the cluster, nodes, networks
// and endpoints in the order of their identifiers, and the end, which has the
// number of lines before it and the CRC-32C of their bytes. Equal states are equal
// bytes. A stream without its end is torn; one with another head is foreign.
// raft's snapshots and the backups of users are such streams.

const (
	stateFormat  = "weft cluster state"
	stateVersion = 1
	maxRecord    = 8 * MaxCommand // bytes of a line: a record holds what a few commands brought
)

// A record is one line; one member is set.
type record struct {
	Head     *head     `json:",omitempty"`
	Cluster  *Cluster  `json:",omitempty"`
	Node     *Node     `json:",omitempty"`
	Network  *Network  `json:",omitempty"`
	Endpoint *Endpoint `json:",omitempty"`
	End      *end      `json:",omitempty"`
}

type head struct {
	Format  string
	Version int
	State   uint64 // State.Version
}

type end struct {
	Lines int
	CRC   uint32
}

// castagnoli is the polynomial of all checksums here.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn is wrapped by errors about data that is not what was written.
var errTorn = errors.New("torn or damaged")

// write writes the state as a stream.
func (s *State) write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var tail end
	put := func(r record) error {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		line = append(line, '\n')
		tail.Lines++
		tail.CRC = crc32.Update(tail.CRC, castagnoli, line)
		_, err = out.Write(line)
		return err
	}
	err := put(record{Head: &head{stateFormat, stateVersion, s.Version}})
	if err == nil {
		err = put(record{Cluster: &s.Cluster})
	}
	for _, n := range s.Nodes.All() {
		if err == nil {
			err = put(record{Node: &n})
		}
	}
	for _, n := range s.Networks.All() {
		if err == nil {
			err = put(record{Network: &n})
		}
	}
	for _, e := range s.Endpoints.All() {
		if err == nil {
			err = put(record{Endpoint: &e})
		}
	}
	if err == nil {
		last := tail
		err = put(record{End: &last})
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// readState reads what write wrote, to the end.
func readState(r io.Reader) (*State, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	s := &State{}
	var sum end
	for {
		line, err := readLine(in)
		if err == io.EOF {
			return nil, fmt.Errorf("%w: it ends after %d records, without the last one", errTorn, sum.Lines)
		} else if err != nil {
			return nil, err
		}
		var rec record
		if err := strict(line, &rec); err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", errTorn, sum.Lines+1, err)
		}
		if rec.End != nil {
			if *rec.End != sum {
				return nil, fmt.Errorf("%w: %d records with checksum %08x found, %d with %08x expected", errTorn, sum.Lines, sum.CRC, rec.End.Lines, rec.End.CRC)
			}
			break
		}
		if err := s.take(rec, sum.Lines); err != nil {
			return nil, err
		}
		sum.Lines++
		sum.CRC = crc32.Update(sum.CRC, castagnoli, line)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("%w: there is something behind the last record", errTorn)
	}
	return s, nil
}

// take puts a record in its place.
func (s *State) take(rec record, line int) error {
	if (line == 0) != (rec.Head != nil) || (line == 1) != (rec.Cluster != nil) {
		return fmt.Errorf("%w: record %d is not what belongs there: it may be no state of a cluster", errTorn, line+1)
	}
	switch {
	case rec.Head != nil:
		if rec.Head.Format != stateFormat {
			return fmt.Errorf("format %.40q found, %q expected: it is no state of a cluster", rec.Head.Format, stateFormat)
		}
		if rec.Head.Version != stateVersion {
			return fmt.Errorf("version %d of the format found, %d expected: it was written by another weft", rec.Head.Version, stateVersion)
		}
		s.Version = rec.Head.State
	case rec.Cluster != nil:
		s.Cluster = *rec.Cluster
	case rec.Node != nil:
		s.Nodes = s.Nodes.grown(rec.Node.ID, *rec.Node)
	case rec.Network != nil:
		s.Networks = s.Networks.grown(rec.Network.ID, *rec.Network)
	case rec.Endpoint != nil:
		s.Endpoints = s.Endpoints.grown(rec.Endpoint.ID, *rec.Endpoint)
	default:
		return fmt.Errorf("%w: record %d says nothing", errTorn, line+1)
	}
	return nil
}

// readLine reads one line with its end. io.EOF is a line that has none, too.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxRecord {
			return nil, fmt.Errorf("%w: a record of more than %d bytes", errTorn, maxRecord)
		}
		line = append(line, part...)
		if err == nil {
			return slices.Clip(line), nil
		}
		if err != bufio.ErrBufferFull {
			return nil, err
		}
	}
}
