package api

import "net/http"

func (s *Server) weftConntrack(w http.ResponseWriter, r *http.Request) error {
	flows, err := s.backend.Flows(r.URL.Query().Get("network"))
	if err != nil {
		return err
	}
	list := make([]Flow, 0, len(flows))
	for _, f := range flows {
		list = append(list, Flow{
			Network: f.Network, Sandbox: f.Sandbox, Proto: f.Proto, State: f.State, Endpoint: f.Endpoint, Remote: f.Remote, Published: f.Published,
			TxBytes: f.BytesOut, RxBytes: f.BytesIn, Age: f.Age, Idle: f.Idle,
		})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (s *Server) weftFlushFlows(w http.ResponseWriter, r *http.Request) error {
	var req FlushFlowsRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	n, err := s.backend.FlushFlows(req.Network, req.Sandbox)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, FlushedFlows{n})
	return nil
}

func (s *Server) weftUplinkStats(w http.ResponseWriter, _ *http.Request) error {
	list := []UplinkStats{}
	for _, u := range s.backend.UplinkStats() {
		list = append(list, UplinkStats{
			Network: u.Network, TCP: u.TCP, UDP: u.UDP, ICMP: u.ICMP, TxBytes: u.BytesOut, RxBytes: u.BytesIn, Counts: counted(u.Counts),
		})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}
