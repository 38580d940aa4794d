package api

import (
	"context"
	"net/http"
	"net/netip"
	"runtime"

	"github.com/moby/moby/api/types/swarm"

	"weft/internal/cnm"
	"weft/internal/node"
)

func (s *Server) nodeList(w http.ResponseWriter, r *http.Request) error {
	f, err := requestFilters(r, "id", "label", "membership", "name", "node.label", "role")
	if err != nil {
		return err
	}
	nodes, err := s.swarm.SwarmNodes(r.Context())
	if err != nil {
		return err
	}
	object, err := s.nodeObject(r.Context())
	if err != nil {
		return err
	}
	list := []swarm.Node{}
	for _, n := range nodes {
		ok, err := nodeWanted(f, n)
		if err != nil {
			return err
		}
		if ok {
			list = append(list, object(n))
		}
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// nodeWanted applies the filters of GET /nodes (moby daemon/cluster/filters.go):
// names and IDs by their beginning, label those of the engine, of which weft's
// have none.
func nodeWanted(f filters, n cnm.SwarmNode) (bool, error) {
	for _, v := range f["role"] {
		if v.text != string(cnm.Manager) && v.text != string(cnm.Worker) {
			return false, cnm.Errorf(cnm.Invalid, "invalid role filter: '%s', expected manager or worker", clip(v.text))
		}
	}
	for _, v := range f["membership"] {
		if v.text != "accepted" && v.text != "pending" {
			return false, cnm.Errorf(cnm.Invalid, "invalid membership filter: '%s', expected accepted or pending", clip(v.text))
		}
	}
	return f.prefix("id", n.ID) && f.prefix("name", n.Hostname) && f.exact("role", string(n.Spec.Role)) &&
		f.exact("membership", "accepted") && f.labels("node.label", n.Spec.Labels) && f.labels("label", nil), nil
}

func (s *Server) nodeInspect(w http.ResponseWriter, r *http.Request) error {
	n, err := s.swarm.SwarmNode(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	object, err := s.nodeObject(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, object(n))
	return nil
}

func (s *Server) nodeUpdate(w http.ResponseWriter, r *http.Request) error {
	var req swarm.NodeSpec
	if err := decode(w, r, &req); err != nil {
		return err
	}
	version, err := queryVersion(r, "node")
	if err != nil {
		return err
	}
	n, err := s.swarm.SwarmNode(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	spec, err := nodeSpecModel(req, n.Spec)
	if err != nil {
		return err
	}
	return s.swarm.SwarmNodeUpdate(r.Context(), n.ID, version, spec)
}

// nodeSpecModel reads what shall be of a node. A role or an availability that is
// not given stays as it is.
func nodeSpecModel(s swarm.NodeSpec, old cnm.NodeSpec) (cnm.NodeSpec, error) {
	spec := cnm.NodeSpec{Name: s.Name, Role: old.Role, Availability: old.Availability, Labels: s.Labels}
	switch s.Role {
	case "":
	case swarm.NodeRoleManager, swarm.NodeRoleWorker:
		spec.Role = cnm.Role(s.Role)
	default:
		return spec, cnm.Errorf(cnm.Invalid, "invalid Role: %q, expected manager or worker", clip(string(s.Role)))
	}
	available, err := availability(s.Availability)
	if available != "" {
		spec.Availability = available
	}
	return spec, err
}

func (s *Server) nodeRemove(_ http.ResponseWriter, r *http.Request) error {
	return s.swarm.SwarmNodeRemove(r.Context(), r.PathValue("id"), queryBool(r, "force"))
}

func (s *Server) weftNodes(w http.ResponseWriter, r *http.Request) error {
	nodes, err := s.swarm.SwarmNodes(r.Context())
	if err != nil {
		return err
	}
	list := []Node{}
	for _, n := range nodes {
		list = append(list, Node{
			ID: n.ID, Hostname: n.Hostname, Self: n.Self, Voter: n.Voter, Message: n.Message, Expires: n.Expires,
			DataPath: append([]netip.AddrPort{}, n.DataPath...),
		})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// nodeObject returns what puts a node on the wire. Of other nodes neither engine
// nor platform are known.
func (s *Server) nodeObject(ctx context.Context) (func(cnm.SwarmNode) swarm.Node, error) {
	c, err := s.swarm.Swarm(ctx)
	if err != nil {
		return nil, err
	}
	own := s.backend.Info()
	return func(n cnm.SwarmNode) swarm.Node {
		o := nodeWire(n)
		o.Description.TLSInfo = nodeTLS(c, n)
		if n.Self {
			describeSelf(&o.Description, own)
		}
		return o
	}, nil
}

func nodeWire(n cnm.SwarmNode) swarm.Node {
	o := swarm.Node{
		ID:   n.ID,
		Meta: swarm.Meta{Version: swarm.Version{Index: n.Version}, CreatedAt: n.Created, UpdatedAt: n.Updated},
		Spec: swarm.NodeSpec{
			Annotations:  swarm.Annotations{Name: n.Spec.Name, Labels: notNil(n.Spec.Labels)},
			Role:         swarm.NodeRole(n.Spec.Role),
			Availability: swarm.NodeAvailability(n.Spec.Availability),
		},
		Description: swarm.NodeDescription{Hostname: n.Hostname},
		Status:      swarm.NodeStatus{State: swarm.NodeState(n.State), Message: n.Message},
	}
	if n.Addr.IsValid() {
		o.Status.Addr = n.Addr.String()
	}
	if n.Control.IsValid() && n.Spec.Role == cnm.Manager { // who was one may have yet to say that it listens no more
		o.ManagerStatus = &swarm.ManagerStatus{Leader: n.Leader, Reachability: swarm.ReachabilityUnreachable, Addr: n.Control.String()}
		if n.Reaches {
			o.ManagerStatus.Reachability = swarm.ReachabilityReachable
		}
	}
	return o
}

// describeSelf adds what the node that answers knows of itself.
func describeSelf(d *swarm.NodeDescription, own node.Info) {
	d.Platform = swarm.Platform{Architecture: machine(runtime.GOARCH), OS: runtime.GOOS}
	d.Resources = swarm.Resources{NanoCPUs: int64(own.CPUs) * 1e9, MemoryBytes: own.MemTotal}
	d.Engine = swarm.EngineDescription{EngineVersion: own.Version}
}
