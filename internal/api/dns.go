package api

import (
	"net/http"
	"time"

	"weft/internal/cnm"
	"weft/internal/discovery"
)

func (s *Server) weftDNS(w http.ResponseWriter, r *http.Request) error {
	records, err := s.backend.DNSRecords(r.URL.Query().Get("network"))
	if err != nil {
		return err
	}
	list := make([]DNSRecord, 0, len(records))
	for _, d := range records {
		list = append(list, DNSRecord{
			Network: d.Network, Name: d.Name, Type: d.Type, TTL: d.TTL, Value: d.Value, Origin: d.Origin.String(), Owner: d.Owner, OwnerID: d.OwnerID,
			Node: d.Node, State: d.State.String(), Answered: d.In,
		})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// maxTTL is RFC 2181's, 8, in seconds.
const maxTTL = 1<<31 - 1

func (s *Server) weftDNSAdd(w http.ResponseWriter, r *http.Request) error {
	var req DNSStatic
	if err := decode(w, r, &req); err != nil {
		return err
	}
	st := discovery.Static{Network: req.Network, Name: req.Name, Type: req.Type, Values: req.Values}
	switch {
	case req.TTL == nil:
	case *req.TTL > maxTTL:
		return cnm.Errorf(cnm.Invalid, "TTL of %d seconds, at most %d are possible", *req.TTL, maxTTL)
	case *req.TTL == 0:
		st.TTL = -1
	default:
		st.TTL = time.Duration(*req.TTL) * time.Second
	}
	warnings, err := s.backend.DNSAdd(r.Context(), st)
	if err != nil {
		return err
	}
	if warnings == nil {
		warnings = []string{}
	}
	writeJSON(w, http.StatusCreated, DNSAdded{Warnings: warnings})
	return nil
}

func (s *Server) weftDNSRemove(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if err := s.backend.DNSRemove(r.Context(), q.Get("network"), q.Get("name"), q.Get("type")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) weftDNSQuery(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	a, err := s.backend.DNSQuery(r.Context(), q.Get("from"), q.Get("name"), q.Get("type"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, DNSAnswer{Status: a.Rcode, Local: a.Local, Records: append([]string{}, a.Records...)})
	return nil
}

func (s *Server) weftDNSStats(w http.ResponseWriter, _ *http.Request) error {
	counts, conflicts := s.backend.DNSStats()
	writeJSON(w, http.StatusOK, DNSStats{Counts: counted(counts), Conflicts: append([]string{}, conflicts...)})
	return nil
}
