package api

import (
	"net/http"
	"sort"
	"time"

	"github.com/moby/moby/api/types/network"

	"weft/internal/cnm"
	"weft/internal/node"
)

func (s *Server) networkList(w http.ResponseWriter, r *http.Request) error {
	f, err := requestFilters(r, "dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return err
	}
	list := []network.Summary{}
	for _, n := range s.backend.Networks() {
		ok, err := networkWanted(f, n)
		if err != nil {
			return err
		}
		if ok {
			list = append(list, network.Summary{Network: networkObject(n)})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Created.Before(list[j].Created) })
	writeJSON(w, http.StatusOK, list)
	return nil
}

// networkWanted applies the filters of GET /networks (moby
// daemon/network/filter.go).
func networkWanted(f filters, n node.NetworkView) (bool, error) {
	builtin := predefined(n.Name)
	want, given, err := f.flag("dangling")
	if err != nil {
		return false, err
	}
	if given && want != (len(n.Endpoints) == 0 && !builtin) {
		return false, nil
	}
	kind := "custom"
	if builtin {
		kind = "builtin"
	}
	for _, v := range f["type"] {
		if v.text != "custom" && v.text != "builtin" {
			return false, cnm.Errorf(cnm.Invalid, "invalid filter: 'type'='%s' must be custom or builtin", clip(v.text))
		}
	}
	return f.exact("type", kind) && f.exact("driver", apiDriver(n.Driver)) && f.exact("scope", n.Scope) &&
		f.match("name", n.Name) && f.match("id", n.ID) && f.labels("label", n.Labels), nil
}

// predefined reports whether a network is there from the start and stays.
func predefined(name string) bool { return name == "bridge" || name == "host" || name == "none" }

func (s *Server) networkInspect(w http.ResponseWriter, r *http.Request) error {
	n, err := s.backend.Network(r.PathValue("id"))
	if err != nil {
		return err
	}
	if scope := r.URL.Query().Get("scope"); scope != "" && scope != n.Scope {
		return cnm.Errorf(cnm.NotFound, "network %s not found", r.PathValue("id"))
	}
	writeJSON(w, http.StatusOK, networkView(versionOf(r.Context()), n))
	return nil
}

func (s *Server) networkCreate(w http.ResponseWriter, r *http.Request) error {
	var req network.CreateRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	id, warning, err := s.backend.NetworkCreate(r.Context(), networkModel(req))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, network.CreateResponse{ID: id, Warning: warning})
	return nil
}

func (s *Server) networkConnect(w http.ResponseWriter, r *http.Request) error {
	var req network.ConnectRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	c, err := endpointModel(req.EndpointConfig)
	if err != nil {
		return err
	}
	return s.backend.NetworkConnect(r.Context(), r.PathValue("id"), req.Container, c)
}

func (s *Server) networkDisconnect(w http.ResponseWriter, r *http.Request) error {
	var req network.DisconnectRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	return s.backend.NetworkDisconnect(r.Context(), r.PathValue("id"), req.Container, req.Force)
}

func (s *Server) networkRemove(w http.ResponseWriter, r *http.Request) error {
	if err := s.backend.NetworkRemove(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) networkPrune(w http.ResponseWriter, r *http.Request) error {
	f, err := requestFilters(r, "label", "label!", "until")
	if err != nil {
		return err
	}
	until, err := f.until(time.Now())
	if err != nil {
		return err
	}
	names, err := s.backend.NetworkPrune(r.Context(), func(n cnm.Network) bool {
		return !f.labels("label", n.Labels) || !f.noLabels("label!", n.Labels) ||
			!until.IsZero() && !n.Created.Before(until)
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, network.PruneReport{NetworksDeleted: names})
	return nil
}
