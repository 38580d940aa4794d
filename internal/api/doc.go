// Package api is the daemon's HTTP API and its client.
//
// The API has the shape of the Docker Engine API, so that the real docker
// command works on weft's socket: the types are those of
// github.com/moby/moby/api, every path is answered with and without a /vX.Y in
// front, and the versions from [MinVersion] to [Version] are negotiated as
// Docker does. A sandbox is what Docker calls a container. What Docker has no
// words for is under /weft/v1/, with the types of this package.
//
// There are no images. POST /containers/create takes "scratch" or nothing as
// Image: the sandbox then sees the caller's own file tree. The label
// [LabelRootfs] names a directory to use instead, [LabelNetworks] the order in
// which several networks are joined. Fields that would change what the process
// sees and that weft does not have (mounts, published ports, users) are refused
// with 501; resource limits are ignored with a warning, as Docker does where
// the kernel has no support for them.
//
// /swarm and /nodes are there where the backend is a [SwarmBackend]. Addresses
// and ports are the daemon's flags: a request may repeat them, not choose them.
// Docker's settings of a swarm's tasks, dispatcher and Raft have no effect.
//
// Not supported: images, volumes, services, plugins, checkpoints, copying files,
// attaching by websocket, TLS. A TCP listener has no authentication at all:
// whoever reaches it is the daemon's user.
//
// Server and Client are safe for concurrent use.
package api
