package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A row is one kind of measurement. It yields one or more figures.
type row struct {
	title   string
	figures []figure
	run     func(ctx context.Context, b *bench, c contestant) ([]float64, error)
}

// A figure is one line of the table.
type figure struct {
	Key    string `json:"key"`
	Title  string `json:"title"`
	Unit   string `json:"unit"`
	Digits int    `json:"-"`
	// LowerIsBetter says which way a ratio is to be read.
	LowerIsBetter bool `json:"lowerIsBetter"`
}

// measure takes one measurement and notes it; a failure leaves a gap.
func (b *bench) measure(ctx context.Context, r *results, s *suite, row row, c contestant) {
	values, err := row.run(ctx, b, c)
	if err != nil {
		b.progress("  failed: %v", err)
		return
	}
	for i, f := range row.figures {
		r.note(s, f, c.name(), values[i])
		b.progress("  %s: %.*f %s", f.Title, f.Digits, values[i], f.Unit)
	}
}

// An iperf is what is read of iperf3's JSON.
type iperf struct {
	Error string `json:"error"`
	End   struct {
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
			Bytes         float64 `json:"bytes"`
		} `json:"sum_received"`
		Sum struct {
			Packets float64 `json:"packets"`
			Lost    float64 `json:"lost_packets"`
			Seconds float64 `json:"seconds"`
		} `json:"sum"`
	} `json:"end"`
}

// transfer runs an iperf3 server on host 1 and a client on host 0, and returns
// what the client reports and the CPU seconds the machine spent meanwhile.
func (b *bench) transfer(ctx context.Context, c contestant, args ...string) (iperf, float64, error) {
	limit := time.Duration(b.seconds)*time.Second + 20*time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	server := c.on(ctx, 1, "iperf3", "-s", "-1")
	if err := server.Start(); err != nil {
		return iperf{}, 0, err
	}
	defer end(server)
	time.Sleep(400 * time.Millisecond)
	before, err := busy()
	if err != nil {
		return iperf{}, 0, err
	}
	argv := append([]string{"iperf3", "-J", "-c", c.addr(1), "-t", strconv.Itoa(b.seconds)}, args...)
	out, err := c.on(ctx, 0, argv...).Output()
	after, _ := busy()
	var result iperf
	if e := json.Unmarshal(out, &result); e != nil {
		return result, 0, fmt.Errorf("iperf3: %w (%v)", err, e)
	}
	if result.Error != "" {
		return result, 0, fmt.Errorf("iperf3: %s", result.Error)
	}
	return result, after - before, nil
}

// runTCP measures streams from host 0 to host 1, or as further options of iperf3 say.
func runTCP(streams int, options ...string) func(context.Context, *bench, contestant) ([]float64, error) {
	return func(ctx context.Context, b *bench, c contestant) ([]float64, error) {
		r, cpu, err := b.transfer(ctx, c, append([]string{"-P", strconv.Itoa(streams)}, options...)...)
		if err != nil {
			return nil, err
		}
		if r.End.Received.Bytes == 0 {
			return nil, fmt.Errorf("nothing was received")
		}
		return []float64{r.End.Received.BitsPerSecond / 1e9, cpu / (r.End.Received.Bytes / 1e9)}, nil
	}
}

// runUDP sends datagrams of size bytes as fast as it can and counts what arrives.
func runUDP(size int) func(context.Context, *bench, contestant) ([]float64, error) {
	return func(ctx context.Context, b *bench, c contestant) ([]float64, error) {
		r, _, err := b.transfer(ctx, c, "-u", "-b", "0", "-l", strconv.Itoa(size))
		if err != nil {
			return nil, err
		}
		if r.End.Sum.Seconds == 0 {
			return nil, fmt.Errorf("iperf3 reported no packets")
		}
		return []float64{(r.End.Sum.Packets - r.End.Sum.Lost) / r.End.Sum.Seconds}, nil
	}
}

// runPingPong lets this program's other half bounce a byte.
func runPingPong(ctx context.Context, b *bench, c contestant) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	server := c.on(ctx, 1, b.helper, pingPong, "listen")
	if err := server.Start(); err != nil {
		return nil, err
	}
	defer end(server)
	out, err := c.on(ctx, 0, b.helper, pingPong, c.addr(1)).Output()
	if err != nil {
		return nil, fmt.Errorf("ping-pong: %w", exitText(err))
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	return []float64{v}, err
}

// exitText adds to the error of a command what it said.
func exitText(err error) error {
	if e, ok := err.(*exec.ExitError); ok && len(e.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(e.Stderr)))
	}
	return err
}

// busy returns the CPU seconds that all processors together were not idle.
func busy() (float64, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	var sum float64
	// user nice system idle iowait irq softirq (steal and guest left out)
	for i, field := range strings.Fields(line)[1:8] {
		v, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 {
			sum += v
		}
	}
	return sum / 100, nil // USER_HZ
}
