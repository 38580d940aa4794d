package api

import (
	"context"
	"net"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/swarm"

	"weft/internal/cnm"
)

func (s *Server) swarmInspect(w http.ResponseWriter, r *http.Request) error {
	c, err := s.swarm.Swarm(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, swarm.Swarm{
		ClusterInfo: clusterInfo(c),
		JoinTokens:  swarm.JoinTokens{Worker: c.WorkerToken, Manager: c.ManagerToken},
	})
	return nil
}

func (s *Server) swarmInit(w http.ResponseWriter, r *http.Request) error {
	var req swarm.InitRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	own := s.swarm.SwarmInfo()
	if err := sameAddresses(own, interfaceAddrs, req.ListenAddr, req.AdvertiseAddr, req.DataPathAddr); err != nil {
		return err
	}
	if err := sameDataPathPort(own, req.DataPathPort); err != nil {
		return err
	}
	i, err := initModel(req)
	if err != nil {
		return err
	}
	id, err := s.swarm.SwarmInit(r.Context(), i)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, id)
	return nil
}

func (s *Server) swarmJoin(w http.ResponseWriter, r *http.Request) error {
	var req swarm.JoinRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if err := sameAddresses(s.swarm.SwarmInfo(), interfaceAddrs, req.ListenAddr, req.AdvertiseAddr, req.DataPathAddr); err != nil {
		return err
	}
	available, err := availability(req.Availability)
	if err != nil {
		return err
	}
	remotes, err := remoteManagers(r.Context(), net.DefaultResolver, req.RemoteAddrs)
	if err != nil {
		return err
	}
	return s.swarm.SwarmJoin(r.Context(), cnm.SwarmJoin{Remotes: remotes, Token: req.JoinToken, Availability: available})
}

func (s *Server) swarmLeave(_ http.ResponseWriter, r *http.Request) error {
	return s.swarm.SwarmLeave(r.Context(), queryBool(r, "force"))
}

func (s *Server) swarmUpdate(w http.ResponseWriter, r *http.Request) error {
	var req swarm.Spec
	if err := decode(w, r, &req); err != nil {
		return err
	}
	version, err := queryVersion(r, "swarm")
	if err != nil {
		return err
	}
	var rotate cnm.SwarmRotate
	for key, flag := range map[string]*bool{
		"rotateWorkerToken": &rotate.WorkerToken, "rotateManagerToken": &rotate.ManagerToken, "rotateManagerUnlockKey": &rotate.UnlockKey,
	} {
		text := r.URL.Query().Get(key)
		if text == "" {
			continue
		}
		if *flag, err = strconv.ParseBool(text); err != nil {
			return cnm.Errorf(cnm.Invalid, "invalid value for %s: expected true or false, got %q", key, clip(text))
		}
	}
	old, err := s.swarm.Swarm(r.Context())
	if err != nil {
		return err
	}
	spec, err := specModel(req, old.Spec)
	if err != nil {
		return err
	}
	rotate.Root = req.CAConfig.ForceRotate != 0 // it is shown as 0, and Docker's command adds 1
	return s.swarm.SwarmUpdate(r.Context(), version, spec, rotate)
}

// queryVersion reads which version of an object a change was made from.
func queryVersion(r *http.Request, of string) (uint64, error) {
	text := r.URL.Query().Get("version")
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, cnm.Errorf(cnm.Invalid, "invalid %s version '%s': expected the number in its Version.Index", of, clip(text))
	}
	return v, nil
}

func (s *Server) swarmUnlockKey(w http.ResponseWriter, r *http.Request) error {
	key, err := s.swarm.SwarmUnlockKey(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, swarm.UnlockKeyResponse{UnlockKey: key})
	return nil
}

func (s *Server) swarmUnlock(w http.ResponseWriter, r *http.Request) error {
	var req swarm.UnlockRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	return s.swarm.SwarmUnlock(r.Context(), req.UnlockKey)
}

// swarmStatus is the Swarm header of a ping: the state, and the role of a node
// that takes part.
func swarmStatus(i cnm.SwarmInfo) string {
	switch {
	case i.State != string(swarm.LocalNodeStateActive):
		return i.State
	case i.Manager:
		return i.State + "/manager"
	}
	return i.State + "/worker"
}

// swarmInfo is the swarm's part of GET /info. Managers know the cluster too.
func (s *Server) swarmInfo(ctx context.Context) swarm.Info {
	i := s.swarm.SwarmInfo()
	info := swarm.Info{
		NodeID: i.NodeID, LocalNodeState: swarm.LocalNodeState(i.State), ControlAvailable: i.Manager, Error: i.Error,
		Nodes: i.Nodes, Managers: i.Managers,
	}
	if i.Addr.IsValid() && i.NodeID != "" {
		info.NodeAddr = i.Addr.String()
	}
	for _, a := range i.Remotes {
		info.RemoteManagers = append(info.RemoteManagers, swarm.Peer{Addr: a.String()})
	}
	if !i.Manager {
		return info
	}
	c, err := s.swarm.Swarm(ctx)
	switch {
	case err == nil:
		cluster := clusterInfo(c)
		info.Cluster = &cluster
	case info.Error == "":
		info.Error = err.Error()
	}
	return info
}

// weftRotateKeys has a path of its own: Docker rotates its keys unasked.
func (s *Server) weftRotateKeys(w http.ResponseWriter, r *http.Request) error {
	var req RotateKeysRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	c, err := s.swarm.Swarm(r.Context())
	if err != nil {
		return err
	}
	if req.Period < 0 {
		return cnm.Errorf(cnm.Invalid, "a period between rotations of %s is less than nothing", req.Period)
	}
	if req.Period > 0 {
		c.Spec.KeyRotation = req.Period
	}
	return s.swarm.SwarmUpdate(r.Context(), c.Version, c.Spec, cnm.SwarmRotate{Keys: true})
}
