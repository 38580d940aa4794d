package api

import (
	"net/http"
	"strings"

	"weft/internal/cnm"
)

// routes enters every path answered. Patterns are without a version.
func (s *Server) routes() {
	s.handle("GET /_ping", s.ping)
	s.handle("GET /version", s.version)
	s.handle("GET /info", s.info)
	s.handle("GET /events", s.events)

	s.handle("GET /networks", s.networkList)
	s.handle("GET /networks/{$}", s.networkList)
	s.handle("GET /networks/{id}", s.networkInspect)
	s.handle("POST /networks/create", s.networkCreate)
	s.handle("POST /networks/{id}/connect", s.networkConnect)
	s.handle("POST /networks/{id}/disconnect", s.networkDisconnect)
	s.handle("POST /networks/prune", s.networkPrune)
	s.handle("DELETE /networks/{id}", s.networkRemove)

	s.handle("GET /containers/json", s.containerList)
	s.handle("GET /containers/{id}/json", s.containerInspect)
	s.handle("GET /containers/{id}/logs", s.containerLogs)
	s.handle("GET /containers/{id}/top", s.containerTop)
	s.handle("POST /containers/create", s.containerCreate)
	s.handle("POST /containers/{id}/start", s.containerStart)
	s.handle("POST /containers/{id}/stop", s.containerStop)
	s.handle("POST /containers/{id}/restart", s.containerRestart)
	s.handle("POST /containers/{id}/kill", s.containerKill)
	s.handle("POST /containers/{id}/wait", s.containerWait)
	s.handle("POST /containers/{id}/attach", s.containerAttach)
	s.handle("POST /containers/{id}/resize", s.containerResize)
	s.handle("POST /containers/{id}/rename", s.containerRename)
	s.handle("POST /containers/prune", s.containerPrune)
	s.handle("DELETE /containers/{id}", s.containerRemove)

	s.handle("POST /containers/{id}/exec", s.execCreate)
	s.handle("POST /exec/{id}/start", s.execStart)
	s.handle("POST /exec/{id}/resize", s.execResize)
	s.handle("GET /exec/{id}/json", s.execInspect)

	s.handle("GET /swarm", s.swarmInspect)
	s.handle("POST /swarm/init", s.swarmInit)
	s.handle("POST /swarm/join", s.swarmJoin)
	s.handle("POST /swarm/leave", s.swarmLeave)
	s.handle("POST /swarm/update", s.swarmUpdate)
	s.handle("GET /swarm/unlockkey", s.swarmUnlockKey)
	s.handle("POST /swarm/unlock", s.swarmUnlock)

	s.handle("GET /nodes", s.nodeList)
	s.handle("GET /nodes/{id}", s.nodeInspect)
	s.handle("POST /nodes/{id}/update", s.nodeUpdate)
	s.handle("DELETE /nodes/{id}", s.nodeRemove)

	s.handle("GET /weft/v1/nodes", s.weftNodes)
	s.handle("POST /weft/v1/swarm/rotate-keys", s.weftRotateKeys)
	s.handle("GET /weft/v1/swarm/backup", s.weftBackup)
	s.handle("POST /weft/v1/swarm/restore", s.weftRestore)
	s.handle("GET /weft/v1/info", s.weftInfo)
	s.handle("GET /weft/v1/fdb", s.weftFDB)
	s.handle("GET /weft/v1/arp", s.weftARP)
	s.handle("GET /weft/v1/stats", s.weftStats)
	s.handle("GET /weft/v1/peers", s.weftPeers)
	s.handle("GET /weft/v1/keys", s.weftKeys)
	s.handle("GET /weft/v1/conntrack", s.weftConntrack)
	s.handle("GET /weft/v1/conntrack/stats", s.weftUplinkStats)
	s.handle("POST /weft/v1/conntrack/flush", s.weftFlushFlows)
	s.handle("GET /weft/v1/dns", s.weftDNS)
	s.handle("POST /weft/v1/dns", s.weftDNSAdd)
	s.handle("DELETE /weft/v1/dns", s.weftDNSRemove)
	s.handle("GET /weft/v1/dns/query", s.weftDNSQuery)
	s.handle("GET /weft/v1/dns/stats", s.weftDNSStats)
	s.handle("POST /weft/v1/keys/export", s.weftExportKeys)
	s.handle("GET /weft/v1/doctor", s.weftDoctor)
	s.handle("GET /weft/v1/capture", s.weftCapture)
	s.handle("POST /weft/v1/trace", s.weftTrace)
	s.handle("POST /weft/v1/attach", s.weftAttach)
	s.handle("POST /weft/v1/detach/{id}", s.weftDetach)
}

// unknownPath explains why a path has no route: it asks for one object of a
// kind that weft has none of, or for what only a manager of a swarm has (503
// elsewhere), or Docker has it and weft has not (501), or nobody has it (404,
// with Docker's words).
func (s *Server) unknownPath(r *http.Request) error {
	parts := strings.SplitN(strings.Trim(r.URL.Path, "/"), "/", 3)
	area, verb := parts[0], ""
	if len(parts) == 3 && area == "containers" {
		verb = parts[2]
	}
	if kind := kindInspected(r); kind != "" {
		return cnm.Errorf(cnm.NotFound, "No such %s: %s", kind, clip(parts[1]))
	}
	if ofManagers(area) {
		if _, err := s.swarm.Swarm(r.Context()); err != nil {
			return err
		}
	}
	if why := lacking(area, verb); why != "" {
		return cnm.Errorf(cnm.Unsupported, "%s %s is not available: %s", r.Method, r.URL.Path, why)
	}
	return cnm.Errorf(cnm.NotFound, "page not found")
}

// kindInspected returns the kind of object that a request asks for by name,
// empty for other requests. `docker inspect` asks for all kinds in turn, and
// goes on to the next only after a 404.
func kindInspected(r *http.Request) string {
	p := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if r.Method != http.MethodGet || len(p) < 2 {
		return ""
	}
	switch p[0] {
	case "images", "plugins": // an image's name may have slashes in it
		if len(p) > 2 && p[len(p)-1] == "json" {
			return strings.TrimSuffix(p[0], "s")
		}
	case "volumes", "services", "tasks", "secrets", "configs":
		if len(p) == 2 {
			return strings.TrimSuffix(p[0], "s")
		}
	}
	return ""
}

// ofManagers reports whether Docker answers for a part of its API on managers
// of a swarm only.
func ofManagers(area string) bool {
	switch area {
	case "services", "tasks", "secrets", "configs":
		return true
	}
	return false
}

// lacking returns what weft does not have of a part of Docker's API, empty for
// parts that Docker does not have either.
func lacking(area, verb string) string {
	switch area {
	case "images", "build", "distribution", "commit":
		return `weft has no images; a sandbox made from "scratch" runs in your own file tree`
	case "volumes":
		return "weft has no volumes"
	case "services", "tasks":
		return "weft has no services yet"
	case "secrets", "configs":
		return "weft has no secrets and configs"
	case "plugins":
		return "weft has no Docker plugins"
	case "auth", "session", "grpc":
		return "weft has no registries and no builder"
	case "system":
		return "weft keeps no images, volumes or build cache to account for"
	}
	switch verb {
	case "stats":
		return "weft does not account for CPU and memory; the network counters are at /weft/v1/stats"
	case "pause", "unpause":
		return "weft does not freeze processes"
	case "archive", "export", "changes":
		return "weft has no file system layers; a sandbox's files are your own"
	case "checkpoints":
		return "weft has no checkpoints"
	case "update":
		return "weft sets no resource limits"
	case "attach/ws":
		return "attach by POST with an upgrade to tcp"
	}
	return ""
}
