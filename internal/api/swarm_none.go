package api

import (
	"context"
	"io"

	"weft/internal/cnm"
)

// noSwarm is the [SwarmBackend] of a backend that is none: a node outside of
// every swarm, and that stays there. The texts of Unavailable are Docker's (moby
// daemon/cluster/cluster.go).
type noSwarm struct{}

func errNoManager() error {
	return cnm.Errorf(cnm.Unavailable, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
}

func errNoCluster(what string) error {
	return cnm.Errorf(cnm.Unsupported, "%s is not available: this daemon cannot be in a swarm", what)
}

func (noSwarm) SwarmInfo() cnm.SwarmInfo { return cnm.SwarmInfo{State: "inactive"} }

func (noSwarm) SwarmInit(context.Context, cnm.SwarmInit) (string, error) {
	return "", errNoCluster("swarm init")
}

func (noSwarm) SwarmJoin(context.Context, cnm.SwarmJoin) error { return errNoCluster("swarm join") }

func (noSwarm) SwarmLeave(context.Context, bool) error {
	return cnm.Errorf(cnm.Unavailable, "This node is not part of a swarm")
}

func (noSwarm) Swarm(context.Context) (cnm.Swarm, error) { return cnm.Swarm{}, errNoManager() }

func (noSwarm) SwarmUpdate(context.Context, uint64, cnm.SwarmSpec, cnm.SwarmRotate) error {
	return errNoManager()
}

func (noSwarm) SwarmUnlockKey(context.Context) (string, error) { return "", errNoManager() }

func (noSwarm) SwarmUnlock(context.Context, string) error { return errNoManager() }

func (noSwarm) SwarmBackup(context.Context, io.Writer) error { return errNoManager() }

func (noSwarm) SwarmRestore(context.Context, io.Reader) (string, error) {
	return "", errNoCluster("swarm restore")
}

func (noSwarm) SwarmNodes(context.Context) ([]cnm.SwarmNode, error) { return nil, errNoManager() }

func (noSwarm) SwarmNode(context.Context, string) (cnm.SwarmNode, error) {
	return cnm.SwarmNode{}, errNoManager()
}

func (noSwarm) SwarmNodeUpdate(context.Context, string, uint64, cnm.NodeSpec) error {
	return errNoManager()
}

func (noSwarm) SwarmNodeRemove(context.Context, string, bool) error { return errNoManager() }
