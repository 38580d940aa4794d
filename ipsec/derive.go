package ipsec

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// The key schedule (RFC 7748, 5 and 6.1; RFC 5869), for each worker of a sender:
//
//	secret = X25519(own private key, peer's public key)
//	prk    = HKDF-Extract(SHA-256, salt = "weft esp epoch 1", secret)
//	info   = body of the sender's announcement ‖ body of the receiver's ‖ worker (1 byte)
//	key ‖ salt (4 bytes) = HKDF-Expand(prk, "key" ‖ info)
//	SPI    = the first of the eight 32-bit words of HKDF-Expand(prk, "spi" ‖ info) that is 256 or more,
//	         its lowest six bits being the worker
//
// A body is what an announcement says, in its one encoding: node, address,
// generation, epoch, algorithm, flags, number of workers, public key. It tells its
// own length. Who disagrees about any of it has other keys and another SPI. The
// order of the bodies is the direction. SPIs of 0 to 255 are reserved (RFC 4303,
// 2.1); that eight words in a row are has a chance of 2^-192. What worker sealed a packet
// can be seen from outside, so that whoever receives can have it opened by one of several
// of its own: what one sent stays together, and what two sent does not.
const (
	extractSalt = "weft esp epoch 1"
	firstSPI    = 256
)

// derivePair derives the SAs of both directions; way is that of AES-GCM.
func derivePair(private *ecdh.PrivateKey, own, peer *Announcement, way AES) (*Pair, error) {
	public, err := ecdh.X25519().NewPublicKey(peer.Public[:])
	if err != nil {
		return nil, err
	}
	secret, err := private.ECDH(public) // refuses points of low order (RFC 7748, 6.1)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	prk, err := hkdf.Extract(sha256.New, secret, []byte(extractSalt))
	clear(secret)
	if err != nil {
		return nil, err
	}
	defer clear(prk)
	p := &Pair{peer: *peer, out: make([]*Outbound, own.Workers), in: make([]*Inbound, peer.Workers)}
	for w := range p.out {
		m, err := derive(prk, own, peer, w)
		if err != nil {
			return nil, err
		}
		m.aes = way
		if p.out[w], err = newOutbound(m); err != nil {
			return nil, err
		}
		clear(m.key)
	}
	for w := range p.in {
		m, err := derive(prk, peer, own, w)
		if err != nil {
			return nil, err
		}
		m.aes = way
		if p.in[w], err = newInbound(m, peer.VTEP); err != nil {
			return nil, err
		}
		clear(m.key)
	}
	return p, nil
}

// derive returns the SA by which a worker of the sender sends.
func derive(prk []byte, sender, receiver *Announcement, worker int) (*material, error) {
	info := append(receiver.appendBody(sender.appendBody(nil)), byte(worker))
	m := &material{algorithm: sender.Algorithm, esn: sender.ESN}
	keyLen := m.algorithm.keyLen()
	key, err := hkdf.Expand(sha256.New, prk, "key"+string(info), keyLen+saltLen)
	if err != nil {
		return nil, err
	}
	m.key, m.salt = key[:keyLen], [saltLen]byte(key[keyLen:])
	words, err := hkdf.Expand(sha256.New, prk, "spi"+string(info), 32)
	if err != nil {
		return nil, err
	}
	for ; len(words) > 0 && m.spi < firstSPI; words = words[4:] {
		m.spi = binary.BigEndian.Uint32(words)&^(MaxWorkers-1) | uint32(worker)
	}
	if m.spi < firstSPI {
		return nil, errors.New("no SPI could be derived")
	}
	return m, nil
}
