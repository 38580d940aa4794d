//go:build race

package node

// raceEnabled says that this binary watches for races, which makes each start slow.
const raceEnabled = true
