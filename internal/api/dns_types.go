package api

// A DNSRecord is an element of GET /weft/v1/dns: a record that the node's name service
// has.
type DNSRecord struct {
	Network string // empty: every network's clients are answered with it
	Name    string
	Type    string
	TTL     uint32 // seconds
	Value   string
	Origin  string // endpoint, service, static
	Owner   string
	OwnerID string
	Node    string // of an endpoint
	State   string // serving, unhealthy, draining
	// Answered says that it is among the answers now; else its owner is unhealthy or
	// drains, or another record is found first.
	Answered bool
}

// DNSStatic is the body of POST /weft/v1/dns: records to be written down.
type DNSStatic struct {
	Network string // empty: for the clients of all networks of this node
	Name    string
	Type    string // A, AAAA, CNAME, TXT, SRV, PTR
	Values  []string
	TTL     *uint32 `json:",omitempty"` // seconds; none: the default
}

// DNSAdded is its answer.
type DNSAdded struct{ Warnings []string }

// A DNSAnswer is GET /weft/v1/dns/query.
type DNSAnswer struct {
	Status  string   // NOERROR, NXDOMAIN, SERVFAIL, …
	Local   bool     // from the node's records
	Records []string // as in a zone file
}

// DNSStats is GET /weft/v1/dns/stats.
type DNSStats struct {
	Counts    map[string]uint64
	Conflicts []string // names that several answer to
}
