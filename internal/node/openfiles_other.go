//go:build !linux

package node

func maxListeners() int { return 0 }
