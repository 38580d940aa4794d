package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"weft/internal/cnm"
)

// send sends noise for so many seconds and prints how much and its hash.
func send(addr, seconds string) error {
	s, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	var c net.Conn
	for range 100 {
		if c, err = net.Dial("tcp", addr); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	sum, noise, buf := sha256.New(), rand.NewChaCha8([32]byte{1}), make([]byte, 64<<10)
	total := 0
	for until := time.Now().Add(time.Duration(s) * time.Second); time.Now().Before(until); {
		noise.Read(buf)
		if _, err := c.Write(buf); err != nil {
			return err
		}
		sum.Write(buf)
		total += len(buf)
		time.Sleep(time.Millisecond) // others have work to do too
	}
	if err := c.Close(); err != nil {
		return err
	}
	printSum(total, sum)
	return nil
}

// receive takes one connection and prints how much came and its hash.
func receive(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	c, err := l.Accept()
	if err != nil {
		return err
	}
	sum := sha256.New()
	total, err := io.Copy(sum, c)
	if err != nil {
		return err
	}
	printSum(int(total), sum)
	return nil
}

func printSum(total int, sum hash.Hash) { fmt.Printf("%d bytes %x\n", total, sum.Sum(nil)) }

// churn changes what it can of a node that has a network "back" and the
// sandboxes aster and box, until stop is closed.
func churn(ctx context.Context, n *Node, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		switch rand.IntN(5) {
		case 0:
			n.NetworkConnect(ctx, "back", "aster", cnm.EndpointConfig{})
		case 1:
			n.NetworkDisconnect(ctx, "back", "aster", false)
		case 2:
			n.SandboxStart(ctx, "box")
		case 3:
			n.SandboxKill(ctx, "box", "KILL")
		case 4:
			n.NetworkCreate(ctx, cnm.Network{Name: "extra", EnableIPv4: true})
			n.NetworkConnect(ctx, "extra", "aster", cnm.EndpointConfig{})
			n.NetworkDisconnect(ctx, "extra", "aster", true)
			n.NetworkRemove(ctx, "extra")
		}
	}
}
