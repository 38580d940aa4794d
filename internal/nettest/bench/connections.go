package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// connections is the first argument that makes this program one end of many short
// connections; the second is "listen" or the address of the listening end.
const (
	connections     = "connections"
	connectionsPort = ":9798"
	// Fewer than there are ephemeral ports: none is used twice.
	maxConnections    = 20000
	connectionsAtOnce = 16
)

func connectionsMain(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "bench connections: listen or an address was expected")
		return 2
	}
	var err error
	if args[0] == "listen" {
		err = greet()
	} else {
		err = callOften(args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench connections:", err)
		return 1
	}
	return 0
}

// greet sends a byte by every connection and closes it, until it is ended.
func greet() error {
	l, err := net.Listen("tcp", connectionsPort)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			c.Write([]byte{1})
			c.Close()
		}()
	}
}

// callOften prints how many connections a second were made, each read to its end.
func callOften(addr string) error {
	for range 50 {
		c, err := net.DialTimeout("tcp", addr+connectionsPort, time.Second)
		if err == nil {
			c.Close()
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	var made, failed atomic.Int64
	start := time.Now()
	end := start.Add(5 * time.Second)
	var wg sync.WaitGroup
	for range connectionsAtOnce {
		wg.Go(func() {
			for made.Load()+failed.Load() < maxConnections && time.Now().Before(end) {
				if call(addr) {
					made.Add(1)
				} else {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 {
		return fmt.Errorf("%d connections failed, %d did not", failed.Load(), made.Load())
	}
	fmt.Printf("%.0f\n", float64(made.Load())/time.Since(start).Seconds())
	return nil
}

// call makes one connection and reads it to its end.
func call(addr string) bool {
	c, err := net.DialTimeout("tcp", addr+connectionsPort, 3*time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	n, err := io.Copy(io.Discard, c)
	return n == 1 && err == nil
}

// runConnections counts the connections a second that host 0 makes to host 1.
func runConnections(ctx context.Context, b *bench, c contestant) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	server := c.on(ctx, 1, b.helper, connections, "listen")
	if err := server.Start(); err != nil {
		return nil, err
	}
	defer end(server)
	out, err := c.on(ctx, 0, b.helper, connections, c.addr(1)).Output()
	if err != nil {
		return nil, fmt.Errorf("connections: %w", exitText(err))
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	return []float64{v}, err
}
