package demo

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An ESP packet is read here by the letter of RFC 4303, section 2, and of RFC 4106, not
// by the code that is on show:
//
//	4 bytes SPI | 4 bytes sequence number | 8 bytes IV | sealed | 16 bytes ICV
//
// and what was sealed is the payload | padding | 1 byte pad length | 1 byte next header.
const (
	espHead = 16
	espICV  = 16
	espSalt = 4
	// nextUDP is the next header of what holds a frame; dummies have another.
	nextUDP = 17
	udpLen  = 8
)

// An espKey is what opens the packets of one SA.
type espKey struct {
	aead cipher.AEAD
	salt []byte
}

// readKeys reads lines of Wireshark's table of ESP SAs: family, source, destination,
// SPI, cipher, key with its salt behind it, and nothing more of worth.
func readKeys(lines string) (map[uint32]espKey, error) {
	rows, err := csv.NewReader(strings.NewReader(lines)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("the exported keys: %w", err)
	}
	keys := map[uint32]espKey{}
	for _, row := range rows {
		if len(row) != 8 || row[4] != "AES-GCM with 16 octet ICV [RFC4106]" {
			return nil, fmt.Errorf("the exported line %q is none of an SA with AES-GCM", row)
		}
		spi, err1 := strconv.ParseUint(row[3], 0, 32)
		key, err2 := hex.DecodeString(strings.TrimPrefix(row[5], "0x"))
		if err := errors.Join(err1, err2); err != nil || len(key) < espSalt {
			return nil, fmt.Errorf("the exported line %q: %w", row, err)
		}
		at := len(key) - espSalt
		block, err := aes.NewCipher(key[:at])
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		keys[uint32(spi)] = espKey{aead, key[at:]}
	}
	return keys, nil
}

// openESP returns the payload of a packet and what follows the header. The upper half
// of the sequence number does not travel: it is 0, so soon after the start.
func openESP(keys map[uint32]espKey, packet []byte) (payload []byte, next byte, err error) {
	if len(packet) < espHead+espICV {
		return nil, 0, fmt.Errorf("%d bytes are no ESP packet", len(packet))
	}
	spi := binary.BigEndian.Uint32(packet)
	k, ok := keys[spi]
	if !ok {
		return nil, 0, fmt.Errorf("no exported key is of SPI 0x%08x", spi)
	}
	nonce := append(append([]byte{}, k.salt...), packet[8:espHead]...)
	// SPI and all 64 bits of the number are authentic as well (RFC 4106, 5).
	aad := append(append(append([]byte{}, packet[:4]...), 0, 0, 0, 0), packet[4:8]...)
	b, err := k.aead.Open(nil, nonce, packet[espHead:], aad)
	if err != nil {
		return nil, 0, fmt.Errorf("the key of SPI 0x%08x: %w", spi, err)
	}
	if len(b) < 2 || int(b[len(b)-2]) > len(b)-2 {
		return nil, 0, errors.New("the padding contradicts itself")
	}
	return b[:len(b)-2-int(b[len(b)-2])], b[len(b)-1], nil
}
