package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"
)

// pingPong is the first argument that makes this program one end of a ping-pong;
// the second is "listen" or the address of the listening end.
const (
	pingPong     = "ping-pong"
	pingPongPort = ":9797"
	pings        = 5000
)

func pingPongMain(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "bench ping-pong: listen or an address was expected")
		return 2
	}
	var err error
	if args[0] == "listen" {
		err = answer()
	} else {
		err = ask(args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench ping-pong:", err)
		return 1
	}
	return 0
}

// answer sends every byte of one connection back.
func answer() error {
	l, err := net.Listen("tcp", pingPongPort)
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 1))
	return err
}

// ask prints the median of the round-trip times in microseconds.
func ask(addr string) error {
	var c net.Conn
	var err error
	for range 50 {
		if c, err = net.DialTimeout("tcp", addr+pingPongPort, time.Second); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	times := make([]time.Duration, 0, pings)
	b := make([]byte, 1)
	for range pings {
		start := time.Now()
		if _, err := c.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	fmt.Printf("%.1f\n", float64(times[len(times)/2].Nanoseconds())/1e3)
	return nil
}
