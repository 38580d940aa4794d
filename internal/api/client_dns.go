package api

import (
	"context"
	"net/http"
	"net/url"
)

// DNSRecords returns the records of a network, of all when it is empty.
func (c *Client) DNSRecords(ctx context.Context, network string) ([]DNSRecord, error) {
	var l []DNSRecord
	err := c.call(ctx, http.MethodGet, "dns", onNetwork(network), nil, &l)
	return l, err
}

// DNSAdd writes down records and returns what is to be known of them.
func (c *Client) DNSAdd(ctx context.Context, s DNSStatic) (warnings []string, err error) {
	var a DNSAdded
	err = c.call(ctx, http.MethodPost, "dns", nil, s, &a)
	return a.Warnings, err
}

// DNSRemove takes back what was written down of a name, of one type or, with an empty
// one, of all.
func (c *Client) DNSRemove(ctx context.Context, network, name, kind string) error {
	return c.call(ctx, http.MethodDelete, "dns", url.Values{"network": {network}, "name": {name}, "type": {kind}}, nil, nil)
}

// DNSQuery asks as a sandbox does or, with an empty name of one, the records of all
// networks.
func (c *Client) DNSQuery(ctx context.Context, from, name, kind string) (DNSAnswer, error) {
	var a DNSAnswer
	err := c.call(ctx, http.MethodGet, "dns/query", url.Values{"from": {from}, "name": {name}, "type": {kind}}, nil, &a)
	return a, err
}

// DNSStats returns what the name service has counted.
func (c *Client) DNSStats(ctx context.Context) (DNSStats, error) {
	var s DNSStats
	err := c.call(ctx, http.MethodGet, "dns/stats", nil, nil, &s)
	return s, err
}
