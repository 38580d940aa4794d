//go:build !race

package node

// raceEnabled says that this binary does not watch for races.
const raceEnabled = false
