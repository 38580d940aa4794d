package node

import (
	"context"
	"strconv"
	"testing"
	"time"

	"weft/internal/cnm"
)

func numbered(i int) cnm.Event {
	return cnm.Event{Time: time.Unix(int64(i), 0), Action: strconv.Itoa(i)}
}

func TestEventHistory(t *testing.T) {
	l := newEventLog(4)
	for i := range 6 {
		l.publish(numbered(i + 1))
	}
	for _, c := range []struct {
		since time.Time
		want  string
	}{{time.Time{}, ""}, {time.Unix(0, 0), "3456"}, {time.Unix(5, 0), "56"}, {time.Unix(9, 0), ""}} {
		past, r := l.subscribe(c.since)
		got := ""
		for _, e := range past {
			got += e.Action
		}
		if got != c.want {
			t.Errorf("since %v: %q, want %q", c.since.Unix(), got, c.want)
		}
		l.unsubscribe(r)
	}
	if len(l.readers) != 0 {
		t.Error("readers left")
	}
}

// A reader that does not read never holds up a publisher and is told what it lost.
func TestSlowReader(t *testing.T) {
	l := newEventLog(4)
	_, r := l.subscribe(time.Time{})
	for i := range readerDepth + 10 {
		l.publish(numbered(i))
	}
	for i := range 5 {
		if e := <-r.ch; e.Action != strconv.Itoa(i) {
			t.Fatalf("event %d: %+v", i, e)
		}
		if i == 0 {
			l.publish(numbered(998)) // room for the marker alone: lost too
		}
	}
	l.publish(numbered(999))
	for range readerDepth - 5 {
		<-r.ch
	}
	if e := <-r.ch; e.Action != "events-lost" || e.Attributes["count"] != "11" {
		t.Errorf("marker: %+v", e)
	}
	if e := <-r.ch; e.Action != "999" {
		t.Errorf("after the marker: %+v", e)
	}
	if l.lostTotal() != 11 {
		t.Errorf("lost: %d", l.lostTotal())
	}
}

func TestEventsEnd(t *testing.T) {
	n := &Node{events: newEventLog(4), own: newOwner()}
	n.events.publish(numbered(1))
	n.events.publish(numbered(7))
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		events <-chan cnm.Event
		end    func()
		want   int
	}{
		"until in the past": {n.Events(t.Context(), time.Unix(1, 0), time.Unix(3, 0)), func() {}, 1},
		"context":           {n.Events(ctx, time.Time{}, time.Time{}), cancel, 0},
	} {
		c.end()
		got := 0
		for range c.events {
			got++
		}
		if got != c.want {
			t.Errorf("%s: %d events, want %d", name, got, c.want)
		}
	}
	last := n.Events(t.Context(), time.Unix(1, 0), time.Time{})
	n.own.shut()
	n.events.close()
	for range last {
	}
	n.own.wait()
	if _, open := <-n.Events(t.Context(), time.Time{}, time.Time{}); open {
		t.Error("an event after the end")
	}
}
