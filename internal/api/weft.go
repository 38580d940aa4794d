package api

import (
	"context"
	"io"
	"net/http"

	"weft/internal/cnm"
	"weft/internal/node"
)

func (s *Server) weftInfo(w http.ResponseWriter, _ *http.Request) error {
	i := s.backend.Info()
	writeJSON(w, http.StatusOK, Info{
		ID: i.ID, Name: i.Name, Version: i.Version, PID: i.PID, Started: i.Started, DataDir: i.DataDir, RunDir: i.RunDir,
		Rootless: i.Rootless, Rung: i.Rung, Uplink: i.Uplink, HostLoopback: i.HostLoopback, Workers: i.Workers, Networks: i.Networks, Sandboxes: i.Sandboxes,
		Running: i.Running, Ports: i.Ports, EventsDropped: i.EventsDropped,
	})
	return nil
}

func (s *Server) weftFDB(w http.ResponseWriter, r *http.Request) error {
	entries, err := s.backend.FDB(r.URL.Query().Get("network"))
	if err != nil {
		return err
	}
	list := []FDBEntry{}
	for _, e := range entries {
		list = append(list, FDBEntry{e.Network, wireMAC(e.MAC), e.Port, e.Sandbox, e.Static, e.Age})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (s *Server) weftARP(w http.ResponseWriter, r *http.Request) error {
	entries, err := s.backend.Neighbours(r.URL.Query().Get("network"))
	if err != nil {
		return err
	}
	list := []Neighbour{}
	for _, e := range entries {
		list = append(list, Neighbour{e.Network, e.Addr, wireMAC(e.MAC), e.Sandbox, e.Static, e.Age})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (s *Server) weftStats(w http.ResponseWriter, _ *http.Request) error {
	list := []PortStats{}
	for _, p := range s.backend.Stats() {
		list = append(list, PortStats{
			Port: p.Port, Sandbox: p.Sandbox, SandboxID: p.SandboxID, Network: p.Network, IfName: p.IfName,
			MAC: wireMAC(p.MAC), Rung: p.Rung, Worker: p.Worker,
			RxFrames: p.RxFrames, RxBytes: p.RxBytes, TxFrames: p.TxFrames, TxBytes: p.TxBytes,
			RxPackets: p.RxPackets, TxPackets: p.TxPackets, Drops: counted(p.Drops), TxDrops: counted(p.TxDrops),
		})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// weftPeers answers for one network, or for all.
func (s *Server) weftPeers(w http.ResponseWriter, r *http.Request) error {
	name := r.URL.Query().Get("network")
	if name != "" {
		n, err := s.backend.Network(name)
		if err != nil {
			return err
		}
		name = n.Name
	}
	peers, underlays := s.backend.Peers()
	answer := Peers{Peers: []PeerStats{}, Underlays: []Underlay{}}
	for _, p := range peers {
		if name == "" || p.Network == name {
			p.Drops = counted(p.Drops)
			answer.Peers = append(answer.Peers, PeerStats(p))
		}
	}
	for _, u := range underlays {
		u.Drops = counted(u.Drops)
		answer.Underlays = append(answer.Underlays, Underlay(u))
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// counted makes an empty map of none, for {} in place of null.
func counted(drops map[string]uint64) map[string]uint64 {
	if drops == nil {
		return map[string]uint64{}
	}
	return drops
}

func (s *Server) weftDoctor(w http.ResponseWriter, _ *http.Request) error {
	list := []Check{}
	for _, c := range s.backend.Doctor() {
		list = append(list, Check(c))
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (s *Server) weftTrace(w http.ResponseWriter, r *http.Request) error {
	var req TraceRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	steps, err := s.backend.Trace(r.Context(), node.TraceOptions{Port: req.Port, Frame: req.Frame})
	if err != nil {
		return err
	}
	list := []TraceStep{}
	for _, t := range steps {
		list = append(list, TraceStep(t))
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// weftCapture streams pcapng until the client hangs up. The headers leave when
// the capture runs, so that a client who has them misses nothing.
func (s *Server) weftCapture(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	snaplen, err := queryInt(r, "snaplen", 0)
	if err != nil {
		return err
	}
	if snaplen < 0 {
		return cnm.Errorf(cnm.Invalid, "snaplen must be 0 or more, got %d", snaplen)
	}
	capture, err := s.backend.Capture(r.Context(), node.CaptureOptions{
		Network: q.Get("network"), Port: q.Get("port"), Filter: q.Get("filter"), Snaplen: snaplen,
		Before: queryBool(r, "before"), After: queryBool(r, "after"),
	})
	if err != nil {
		return err
	}
	defer func() { _ = capture.Close() }()
	defer context.AfterFunc(r.Context(), func() { _ = capture.Close() })()
	w.Header().Set("Content-Type", "application/x-pcapng")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	if rc.Flush() != nil {
		return nil
	}
	_, _ = io.Copy(flusher{w, rc}, capture) // ends with either side
	return nil
}

// A flusher sends what is written at once: a capture is watched live.
type flusher struct {
	w  io.Writer
	rc *http.ResponseController
}

func (f flusher) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}

func (s *Server) weftAttach(w http.ResponseWriter, r *http.Request) error {
	var req AttachRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if (req.PID != 0) == (req.NetNS != "") || req.PID < 0 {
		return cnm.Errorf(cnm.Invalid, "exactly one of PID and NetNS must be given")
	}
	spec := cnm.SandboxSpec{Name: req.Name, Labels: req.Labels, Foreign: &cnm.Foreign{PID: req.PID, NetNS: req.NetNS}}
	for _, n := range req.Networks {
		ep, err := endpointModel(n.EndpointConfig)
		if err != nil {
			return err
		}
		spec.Networks = append(spec.Networks, cnm.NetworkJoin{Network: n.Network, Config: ep})
	}
	id, err := s.backend.AttachForeign(r.Context(), spec)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, AttachResponse{ID: id})
	return nil
}

func (s *Server) weftDetach(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, s.backend.Detach(r.Context(), r.PathValue("id")))
}
