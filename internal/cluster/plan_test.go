package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"weft/internal/cnm"
	"weft/internal/nettest/fabric"
)

// Theory of operation: whole members under a fault plan
//
// Three managers and two workers, each a whole Member with its store on disk, live
// in a bubble of testing/synctest and reach each other over a fabric. A plan, made
// from a seed before anything runs, has datagrams lost, doubled and delayed, hosts
// cut off, daemons stopped and started, workers leave and come again, and endpoints
// made and removed meanwhile. After it everything heals, and the members must come to
// agree: on who is a member, on every table, and the managers on their state, in
// which no address is leased twice or to nobody.
//
// The plan is the seed's; which goroutine runs first is not.

const (
	planManagers = 3
	planMembers  = 5
	planSteps    = 40
)

// A wire is one host's way into the fabric.
type wire struct {
	f    *fabric.Fabric
	host netip.Addr
}

func (w wire) listen(addr string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	return w.f.Listen(at)
}

func (w wire) dial(ctx context.Context, addr string) (net.Conn, error) {
	return w.f.Dial(ctx, w.host, addr)
}

func (wire) free(netip.AddrPort) error { return nil }

func (w wire) transport(at netip.AddrPort) memberlist.Transport { return w.f.Port(at) }

// A planStep is one line of a plan: after a pause something happens to a host.
type planStep struct {
	pause     time.Duration
	what      string
	host      int
	side      []int
	loss, dup float64
	delay     time.Duration
}

func (s planStep) String() string {
	return fmt.Sprintf("+%v %s host %d, side %v, loss %.2f, duplication %.2f, delay %v", s.pause, s.what, s.host, s.side, s.loss, s.dup, s.delay)
}

// newPlan makes a plan of a seed.
func newPlan(seed uint64) (plan []planStep) {
	rng := rand.New(rand.NewPCG(seed, 5))
	for range planSteps {
		s := planStep{pause: time.Duration(rng.IntN(6000)) * time.Millisecond, host: rng.IntN(planMembers)}
		switch s.what = []string{"faults", "cut", "heal", "restart", "leave", "attach", "attach", "attach", "attach", "detach", "detach"}[rng.IntN(11)]; s.what {
		case "faults":
			s.loss, s.dup, s.delay = rng.Float64()*0.5, rng.Float64()*0.3, time.Duration(rng.IntN(200))*time.Millisecond
		case "cut":
			for i := range planMembers {
				if rng.IntN(2) == 0 {
					s.side = append(s.side, i)
				}
			}
		case "leave":
			s.host = planManagers + rng.IntN(planMembers-planManagers)
		}
		plan = append(plan, s)
	}
	return plan
}

// A stage is where a plan is played.
type stage struct {
	t        *testing.T
	f        *fabric.Fabric
	dir      string
	hosts    [planMembers]*host
	networks []string
	eps      [planMembers]map[string][]Endpoint // what lives on each host, by network
	healthy  bool
	lost     int // endpoints that could not be made
}

func (s *stage) config(i int) Config {
	a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
	return Config{
		Dir: filepath.Join(s.dir, strconv.Itoa(i)), Name: fmt.Sprint("host", i), Bind: a, Advertise: a, ControlPort: 2377, GossipPort: 7946,
		DataPath: []netip.AddrPort{netip.AddrPortFrom(a, 4789)}, Log: slog.New(slog.DiscardHandler), Changed: func() {}, underlay: wire{s.f, a},
	}
}

// join makes host i a member by the first host's word.
func (s *stage) join(i int) error {
	cluster, err := s.hosts[0].Swarm()
	if err != nil {
		return err
	}
	token := cluster.WorkerToken
	if i < planManagers {
		token = cluster.ManagerToken
	}
	c := s.config(i)
	m, err := Join(s.t.Context(), c, cnm.SwarmJoin{Token: token, Remotes: []netip.AddrPort{s.hosts[0].self().Control, s.hosts[1].self().Control}})
	if err != nil {
		return err
	}
	s.hosts[i], s.eps[i] = &host{m, c}, map[string][]Endpoint{}
	return nil
}

// begin makes the cluster and two networks.
func (s *stage) begin() {
	c := s.config(0)
	m, err := Init(s.t.Context(), c, cnm.SwarmInit{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.hosts[0], s.eps[0], s.healthy = &host{m, c}, map[string][]Endpoint{}, true
	s.hosts[1] = s.hosts[0] // until it is there
	for i := 1; i < planMembers; i++ {
		if err := s.join(i); err != nil {
			s.t.Fatal(err)
		}
	}
	s.agree(time.Minute, "three vote", func() string {
		if got, _ := s.hosts[0].View().voters(); got != planManagers {
			return fmt.Sprintf("%d vote", got)
		}
		return ""
	})
	for _, name := range []string{"front", "back"} {
		s.networks = append(s.networks, overlayNet(s.t, s.hosts[0].Member, name).ID)
	}
}

// play takes one step.
func (s *stage) play(step planStep) {
	time.Sleep(step.pause)
	h := s.hosts[step.host]
	switch step.what {
	case "faults":
		s.f.Faults(step.loss, step.dup, step.delay)
		s.healthy = false
	case "cut":
		var side []netip.Addr
		for _, i := range step.side {
			side = append(side, s.config(i).Advertise)
		}
		s.f.Split(side...)
		s.healthy = false
	case "heal":
		s.heal()
	case "restart": // of a daemon that may not have told that an endpoint is gone
		s.detach(step.host, s.networks[int(step.pause)%len(s.networks)])
		h.Close()
		time.Sleep(3 * time.Second)
		s.open(step.host)
	case "leave": // who cannot tell a manager stays in its list: not what this is about
		if s.healthy {
			s.leave(step.host)
		}
	case "attach":
		s.attach(step.host, s.networks[int(step.pause)%len(s.networks)])
	case "detach":
		s.detach(step.host, s.networks[int(step.pause)%len(s.networks)])
	}
}

func (s *stage) heal() {
	s.f.Split()
	s.f.Faults(0, 0, time.Millisecond)
	s.healthy = true
}

// open starts a daemon again, which remembers its endpoints.
func (s *stage) open(i int) {
	m, err := Open(s.t.Context(), s.hosts[i].cfg)
	if err != nil {
		s.t.Fatalf("host %d: %v", i, err)
	}
	s.hosts[i].Member = m
	var ids []string
	for _, eps := range s.eps[i] {
		for _, e := range eps {
			ids = append(ids, e.ID)
		}
	}
	m.Keep(ids)
	s.tell(i)
}

func (s *stage) leave(i int) {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	if err := s.hosts[i].Leave(ctx, false); err != nil {
		s.t.Fatalf("host %d leaves: %v", i, err)
	}
	s.eps[i] = nil
	time.Sleep(5 * time.Second)
	if err := s.join(i); err != nil {
		s.t.Fatalf("host %d joins again: %v", i, err)
	}
}

// tell has the others know what lives on a host.
func (s *stage) tell(i int) {
	all := map[string]Share{}
	for network, eps := range s.eps[i] {
		if len(eps) > 0 {
			all[network] = Share{MTU: 1450, Endpoints: slices.Clone(eps)}
		}
	}
	s.hosts[i].SetShares(all)
}

// attach makes an endpoint, as the node does: what fails is given back.
func (s *stage) attach(i int, network string) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	h := s.hosts[i]
	if err := h.Use(ctx, network); err != nil {
		s.t.Fatal(err)
	}
	defer h.Unuse(network)
	e := Endpoint{ID: cnm.NewID(), Sandbox: "demo", VTEP: h.cfg.DataPath[0]}
	v4, _, err := h.Allocate(ctx, Want{Endpoint: e.ID, Network: network})
	if err != nil {
		h.Release(e.ID)
		s.lost++
		return
	}
	e.Addrs, e.MAC = []netip.Addr{v4.Addr()}, cnm.MACFromIPv4(v4.Addr())
	s.eps[i][network] = append(s.eps[i][network], e)
	s.tell(i)
}

func (s *stage) detach(i int, network string) {
	eps := s.eps[i][network]
	if len(eps) == 0 {
		return
	}
	s.eps[i][network] = eps[1:]
	s.tell(i)
	s.hosts[i].Release(eps[0].ID)
}

// agree waits until nothing is unmet.
func (s *stage) agree(most time.Duration, what string, unmet func() string) {
	s.t.Helper()
	for end := time.Now().Add(most); ; time.Sleep(100 * time.Millisecond) {
		why := unmet()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s: not within %v: %s", what, most, why)
		}
	}
}

// TestFaultPlan plays plans. WEFT_SEED plays one again.
func TestFaultPlan(t *testing.T) {
	seeds := []uint64{1, uint64(time.Now().UnixNano())}
	if text := os.Getenv("WEFT_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := &stage{t: t, f: fabric.New(seed), dir: dir}
				plan := newPlan(seed)
				t.Cleanup(func() {
					if t.Failed() {
						for i, step := range plan {
							t.Logf("%2d %v", i, step)
						}
						t.Logf("WEFT_SEED=%d plays it again", seed)
					}
					for _, h := range s.hosts {
						if h != nil {
							h.Close()
						}
					}
					time.Sleep(2 * time.Minute) // what memberlist and gRPC began ends
				})
				s.begin()
				for _, step := range plan {
					s.play(step)
				}
				s.heal()
				s.agree(2*time.Minute, "after everything healed", s.disagreement)
				time.Sleep(5 * time.Minute)
				if why := s.disagreement(); why != "" {
					t.Errorf("five minutes later: %s", why)
				}
				t.Logf("%d endpoints live, %d could not be made", s.living(), s.lost)
			})
		})
	}
}
