package demo

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/api"
	"weft/internal/nettest"
	"weft/internal/nettool"
	"weft/internal/node"
)

// TestInProcess takes the whole tour without a kernel.
func TestInProcess(t *testing.T) {
	nettest.CheckLeaks(t)
	p, err := newInProcess()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code := take(context.Background(), &tour{stage: p, dir: t.TempDir(), out: &out, limit: limit, hashed: 4 << 20, timed: 16 << 20})
	t.Log(out.String())
	if code != 0 || !strings.HasSuffix(out.String(), "\ndemo: 24 of 24 hold, in-process hosts\n") {
		t.Fatalf("exit %d", code)
	}
}

// sabotage is a stage on which one thing is broken.
type sabotage struct {
	*inProcess
	deaf    bool // no pings are answered
	open    bool // networks are not isolated: pings are always answered
	corrupt bool // transfers arrive damaged
	silent  bool // nothing is counted
	blind   bool // captures stay empty
	way     astrayWay
	node    broken
}

func (s *sabotage) ping(ctx context.Context, host string, to netip.Addr, count int) (nettool.PingResult, error) {
	r, err := s.inProcess.ping(ctx, host, to, count)
	if s.deaf {
		r.Received = 0
	}
	if s.open {
		r.Received, r.RTTs = r.Sent, append(r.RTTs, 1)
	}
	return r, err
}

func (s *sabotage) send(ctx context.Context, host string, to netip.Addr, n uint64, verify bool) (nettool.Transfer, error) {
	r, err := s.inProcess.send(ctx, host, to, n, verify)
	if s.corrupt {
		return r, nettool.ErrCorrupt
	}
	return r, err
}

func (s *sabotage) drops(ctx context.Context, host string) (map[string]uint64, error) {
	if s.silent {
		return nil, nil
	}
	return s.inProcess.drops(ctx, host)
}

func (s *sabotage) capture(ctx context.Context, host, filter, file string, during func() error) error {
	if s.blind {
		filter = "tcp port 1"
	}
	return s.inProcess.capture(ctx, host, filter, file, during)
}

// TestNoticed breaks one thing at a time: the steps that show it must fail, and
// only they.
func TestNoticed(t *testing.T) {
	for _, c := range []struct {
		name string
		s    sabotage
		fail []string
	}{
		{"deaf", sabotage{deaf: true}, []string{"Ping inside a network", "The gateway answers", "Isolation", "A network plugged in", "A network unplugged", "A capture"}},
		{"open", sabotage{open: true}, []string{"Isolation", "A network unplugged"}},
		{"corrupt", sabotage{corrupt: true}, []string{"A verified transfer", "Throughput"}},
		{"silent", sabotage{silent: true}, []string{"A forged source"}},
		{"blind", sabotage{blind: true}, []string{"A capture", "A replay"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var all []step
			for _, s := range steps() {
				if s.title != "Throughput" || c.s.corrupt {
					all = append(all, s)
				}
			}
			noticed(t, &c.s, all, c.fail)
		})
	}
}

// noticed takes steps on a broken stage and compares which of them fail.
func noticed(t *testing.T, s *sabotage, all []step, want []string) {
	t.Helper()
	p, err := newInProcess()
	if err != nil {
		t.Fatal(err)
	}
	s.inProcess = p
	var out bytes.Buffer
	tr := &tour{stage: s, dir: t.TempDir(), out: &out, limit: limit / 8, hashed: 1 << 20, timed: 1 << 20}
	held := tr.run(context.Background(), all)
	if err := errors.Join(tr.outside.close(), tr.chapter.close(context.Background()), p.close(context.Background())); err != nil {
		t.Error(err)
	}
	compare(t, out.String(), held, len(all), want)
}

// compare compares which steps failed in a tour's output with those that should.
func compare(t *testing.T, out string, held, all int, want []string) {
	t.Helper()
	var failed []string
	for part := range strings.SplitSeq(out, "\n\n") {
		if strings.Contains(part, "FAILED") {
			_, title, _ := strings.Cut(strings.SplitN(part, "\n    ", 2)[0], ". ")
			failed = append(failed, title)
		}
	}
	if strings.Join(failed, ",") != strings.Join(want, ",") || held != all-len(failed) {
		t.Fatalf("failed %q, want %q; %d held\n%s", failed, want, held, out)
	}
}

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		name    string
		check   api.Check
		refused bool
	}{
		{"all well", api.Check{Name: "user namespaces", Status: node.OK}, false},
		{"warning", api.Check{Name: "user namespaces", Status: node.Warn}, false},
		{"something else", api.Check{Name: "memory", Status: node.Fail}, false},
		{"namespaces", api.Check{Name: "user namespaces", Status: node.Fail, Found: "forbidden", Advice: "sysctl x"}, true},
		{"device", api.Check{Name: "/dev/net/tun", Status: node.Fail, Found: "mode 0600", Advice: "chmod"}, true},
	} {
		err := refusalOf([]api.Check{c.check})
		var r *refusal
		if errors.As(err, &r) != c.refused || err != nil && !strings.Contains(err.Error(), c.check.Advice) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
