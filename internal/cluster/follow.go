package cluster

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"google.golang.org/grpc"
)

// Theory of operation: following the managers
//
// A worker has one call open to one manager, on which views come: one at once, then
// one after each change. When it ends, the next manager is called. A manager
// follows its own store. A view that is older than the one there is, of a manager
// that lags behind, is passed over.
//
// A view that was cut off stays in use: nothing that was agreed on is taken back by
// silence.

// idleTime is how long a manager may say nothing before it is taken for dead: it
// sends its view again more often than that.
const (
	idleTime   = 20 * time.Second
	repeatTime = 7 * time.Second
)

// maxView bounds a view, in bytes.
const maxView = 64 << 20

// follower is the goroutine that keeps the view.
func (m *Member) follower() {
	if m.manager != nil {
		m.manager.feed(m.ctx, time.Hour, func(v *View) error {
			m.accept(v)
			return nil
		})
		return
	}
	for failures := 0; ; {
		for _, at := range m.links.order(m.View().managers(m.id)) {
			began := time.Now()
			err := m.watch(at)
			if m.ctx.Err() != nil {
				return
			}
			if failures == 0 {
				m.log.Info("lost the manager that was followed", "manager", at, "error", err)
			}
			if time.Since(began) > idleTime {
				failures = 0
			}
		}
		failures++
		if !m.pause(retryTime(failures)) {
			return
		}
	}
}

// watch follows one manager until it fails.
func (m *Member) watch(at netip.AddrPort) error {
	conn, err := m.links.get(at, m.clientTLS)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	retry(ctx, conn)
	silence := time.AfterFunc(tryTime, cancel)
	defer silence.Stop()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{StreamName: "Watch", ServerStreams: true}, "/"+serviceName+"/Watch")
	if err != nil {
		return fromStatus(err)
	}
	if err := errors.Join(stream.SendMsg(&watchRequest{}), stream.CloseSend()); err != nil {
		return fromStatus(err)
	}
	for {
		v := new(View)
		if err := stream.RecvMsg(v); err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("it stops")
			}
			return fromStatus(err)
		}
		silence.Reset(idleTime)
		m.links.answered(at)
		m.accept(v)
	}
}

// accept takes a view into use if it is a newer one of this cluster.
func (m *Member) accept(v *View) {
	now := m.View()
	if v.Cluster != now.Cluster || v.Version < now.Version || v.state() == now.state() {
		return
	}
	m.setView(v)
}

// await returns when the view is as it should be.
func (m *Member) await(ctx context.Context, done func(*View) bool) error {
	for !done(m.View()) {
		t := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-m.ctx.Done():
			t.Stop()
			return context.Canceled
		case <-t.C:
		}
	}
	return nil
}

// pause waits and reports whether the member still lives.
func (m *Member) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-m.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
