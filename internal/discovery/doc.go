// Package discovery is weft's DNS.
package discovery
