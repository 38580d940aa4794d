// Package node is the daemon's core. It holds the desired state (networks,
// sandboxes, endpoints), turns it into a plan (a pure function), publishes the
// plan's difference to the switch's tables, owns every goroutine's life and
// restores all of it after a crash.
//
// The model and its errors are Docker's (internal/cnm, libnetwork): networks are
// made and removed, sandboxes are made, started, stopped and removed, and each
// joins networks through endpoints.
//
// State lives in three places. The journal (bbolt, in Config.DataDir) holds what
// was asked for and given: networks, sandboxes, endpoints. The agents, PID 1 of
// each sandbox, hold processes, output and the TAP descriptors, so that all of it
// outlives the daemon. The switch holds only what can be derived from both.
//
// Not supported: drivers other than bridge, none and host.
//
// A Node is safe for concurrent use.
package node
