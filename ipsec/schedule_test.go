package ipsec

import (
	"crypto/hkdf"
	"crypto/sha256"
	"testing"
)

// scheduleWant is SPI, key and salt of worker 1 of a to b, computed with Python's
// cryptography package from the description in derive.go: node a with the private
// key 1, 2, ... 32, generation 3 and VTEP 192.0.2.1:4500, node b with 65, 66, ...
// 96, generation 5 and 192.0.2.2:4500, both of epoch 7, aes-256-gcm, ESN, 2 workers.
// The word that the SPI was made of is 0afed911.
const scheduleWant = "0afed901 9d908047b3605b259ab2f981011de09ae31512df0b8cf23d456f01d426d5e7c8 369bcc3e"

func scheduleOf(t testing.TB, secret []byte, sender, receiver *Announcement, worker int) *material {
	t.Helper()
	prk, err := hkdf.Extract(sha256.New, secret, []byte(extractSalt))
	if err != nil {
		t.Fatal(err)
	}
	m, err := derive(prk, sender, receiver, worker)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
