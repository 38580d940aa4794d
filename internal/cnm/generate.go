package cnm

import (
	"math/rand/v2"
	"strconv"
)

// GenerateName returns a name for a sandbox nobody named, one that taken does
// not report as used. After some tries a number is appended, so it ends.
func GenerateName(taken func(name string) bool) string {
	for try := 0; ; try++ {
		name := adjectives[rand.IntN(len(adjectives))] + "_" + surnames[rand.IntN(len(surnames))]
		if try >= 8 {
			name += strconv.Itoa(rand.IntN(1 << min(try, 30)))
		}
		if !taken(name) {
			return name
		}
	}
}

var adjectives = [...]string{
	"amber", "brisk", "calm", "clever", "crisp", "deft", "eager", "early", "fair", "fluent",
	"gentle", "glad", "hardy", "honest", "idle", "jolly", "keen", "kind", "lively", "loyal",
	"lucid", "mellow", "merry", "mild", "neat", "nimble", "patient", "plain", "proud", "quick",
	"quiet", "ready", "sage", "sharp", "silent", "smooth", "sober", "steady", "subtle", "sunny",
	"swift", "tidy", "tranquil", "vivid", "warm", "wary", "wise", "witty", "woven", "zesty",
}

// People who wove cloth, or networks.
var surnames = [...]string{
	"albers", "anning", "arkwright", "baran", "bellovin", "berners", "boggs", "braden", "cailliau", "cartwright",
	"cerf", "clark", "cohen", "crocker", "davies", "deering", "dijkstra", "elion", "estrin", "falcon",
	"farber", "feinler", "floyd", "hamming", "hargreaves", "heart", "huitema", "jacobson", "jacquard", "kahn",
	"karn", "kirstein", "kleinrock", "lamarr", "lovelace", "metcalfe", "mockapetris", "morris", "nagle", "noether",
	"perlman", "postel", "pouzin", "reynolds", "roberts", "saltzer", "shannon", "stoll", "taylor", "zimmermann",
}
