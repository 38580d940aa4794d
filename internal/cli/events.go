package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

// eventTime is RFC 3339 with all nine digits, so that columns line up.
const eventTime = "2006-01-02T15:04:05.000000000Z07:00"

func (a *app) eventsCmd() *cobra.Command {
	var o client.EventsListOptions
	var format string
	var filter filterFlag
	c := &cobra.Command{Use: "events [FLAGS]", Short: "Show what happens, as it happens", Args: noArgs}
	c.Flags().StringVar(&o.Since, "since", "", "From a time on, such as 2026-01-02T13:23:37Z or 42m")
	c.Flags().StringVar(&o.Until, "until", "", "Up to a time, such as 2026-01-02T13:23:37Z or 42m")
	c.Flags().StringVar(&format, "format", "", "json, or a Go TEMPLATE")
	c.Flags().VarP(&filter, "filter", "f", "Condition such as type=network, event=connect, container=rose, network=front, label=k=v")
	c.RunE = func(c *cobra.Command, _ []string) error {
		write, err := eventWriter(format)
		if err != nil {
			return err
		}
		if err := checkTimes(c, o.Since, o.Until); err != nil {
			return err
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt)
		defer stop()
		o.Filters = filter.f
		now := time.Now()
		o.Since, o.Until = pointInTime(o.Since, now), pointInTime(o.Until, now)
		r := cl.Events(ctx, o)
		for {
			select {
			case e := <-r.Messages:
				delete(e.Actor.Attributes, api.LabelNetworks)
				if err := write(a.out, e); err != nil {
					return err
				}
			case err := <-r.Err:
				if unreachable(err) && daemonGone(c.Context(), cl) {
					return goneError("but their events are not kept meanwhile")
				}
				if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
					return nil
				}
				return err
			}
		}
	}
	return c
}

// checkTimes refuses what is neither a time nor a duration: RFC 3339 or a part of
// it, seconds since 1970, or how long ago.
func checkTimes(c *cobra.Command, values ...string) error {
	for i, s := range values {
		if _, err := time.ParseDuration(s); s == "" || err == nil {
			continue
		}
		if _, err := strconv.ParseFloat(s, 64); err == nil {
			continue
		}
		if _, err := time.Parse("2006-01-02", s[:min(len(s), 10)]); err != nil {
			return usagef(c, "--%s %q: expected a time such as 2026-01-02T13:23:37Z, or how long ago, such as 42m", []string{"since", "until"}[i], s)
		}
	}
	return nil
}

// pointInTime turns how long ago into seconds since 1970 with all nine digits:
// Docker's client would cut the second off, and with it what happened in it.
func pointInTime(s string, now time.Time) string {
	d, err := time.ParseDuration(s)
	if err != nil || s == "0" { // 0 alone is no time given, as for Docker
		return s
	}
	at := now.Add(-d)
	return fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond())
}

// eventWriter returns what prints one event in the format asked for.
func eventWriter(format string) (func(io.Writer, events.Message) error, error) {
	if format == "" {
		return printEvent, nil
	}
	if format == "json" {
		format = "{{json .}}"
	}
	t, err := parseTemplate(format, rowFuncs())
	if err != nil {
		return nil, err
	}
	return func(w io.Writer, e events.Message) error {
		if err := t.Execute(w, e); err != nil {
			return templateError(err)
		}
		_, err := fmt.Fprintln(w)
		return err
	}, nil
}

// printEvent writes Docker's line: time, type, action, ID, (attributes).
func printEvent(w io.Writer, e events.Message) error {
	at := time.Unix(0, e.TimeNano)
	if e.TimeNano == 0 {
		at = time.Unix(e.Time, 0)
	}
	line := fmt.Sprintf("%s %s %s %s", at.Format(eventTime), e.Type, e.Action, e.Actor.ID)
	if len(e.Actor.Attributes) > 0 {
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(e.Actor.Attributes)) {
			pairs = append(pairs, k+"="+e.Actor.Attributes[k])
		}
		line += " (" + strings.Join(pairs, ", ") + ")"
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
