package ipsec

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestVectors opens packets of others: draft-mcgrew-gcm-test-01, the companion of
// RFC 4106 (its packets with keys of 128 and 256 bits; an AAD of 12 bytes is one
// with ESN), and RFC 7634, appendix A.
func TestVectors(t *testing.T) {
	const alpha, beta = "abbccddef00112233445566778899aab", "3de09874b388e6491988d0c3607eae1f"
	for _, v := range []struct {
		name                                string
		algorithm                           Algorithm
		key, nonce, aad, plain, cipher, icv string
	}{
		{"gcm 1, 128, ESN", AES128GCM, "4c80cdefbb5d10da906ac73c3613a634", "2e443b684956ed7e3b244cfe", "000043218765432100000000",
			"45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f756470037369700963796265726369747902646b000021000101020201",
			"fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732",
			"459018148f6cbe722fd04796562dfdb4"},
		{"gcm 2, 128", AES128GCM, "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "0000a5f80000000a",
			"4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d001000001000000000000037369700963796265726369747902646b00000100010001",
			"deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1",
			"83b70d3aa8bc6ee4c309e9d85a41ad4a"},
		{"gcm 3, 256", AES256GCM, alpha + alpha, "112233440102030405060708", "4a2cbfe300000002",
			"4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b40101040201020201",
			"ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99def842d8e",
			"b335f4eecfdbf831824b4c4915956c96"},
		{"gcm 5, 128, far ahead", AES128GCM, beta, "57690e434e280000a2fca1a3", "42f67e3f1010101010101010",
			"4500003c99c300008001cb7c40679318010101010800085c020043006162636465666768696a6b6c6d6e6f707172737475767761626364656667686901020201",
			"fba2caa4853cf9f0f22cb10d86dd83b0fec75691cf1a04b00d1138ec9c35791765acbd8701ad79845bf9fe3fba487bc91755e6662b4c8d0d1f5e22739530320a",
			"e0d731cc978ecafaeae88f00e80d6e48"},
		{"gcm 9, 256, ESN", AES256GCM, alpha + alpha, "73616c74616e640169766563", "17405e67156f3126dd0db99b",
			"45080028732c00004006e9f90a0106120a01038f06b88023dd6bafbecb71260250101f646d540001",
			"f2d69ecdbd5a0d5b8d5ef38bad4da58d1f278fde98ef67549d524a3018d9a57ff4d3a31ce673119e",
			"451626c2415771e3b7eebca614c89b35"},
		{"gcm 12, 128, dummy's length", AES128GCM, "7d773d00c144c525ac619d18c84a3f47", "d966426743457e9182443bc6", "335467aeffffffff",
			"01020201", "437f866b", "cb3f699fe9b0822bac961c4504bef270"},
		{"gcm 14, 256, the last number of ESN", AES256GCM, "6c6567616c697a656d6172696a75616e61616e64646f69746265666f72656961", "7475726e333021696765746d", "796b6963ffffffffffffffff",
			"45000030da3a00008001df3bc0a80005c0a800010800c6cd020007006162636465666768696a6b6c6d6e6f707172737401020201",
			"f97ab2aa356d8edce17644ac8c78e25dd24dedbb29ebf1b64a274b39b49c3a864cd3d78ca4ae68a32b42458fb57dbe821dcc63b9",
			"d0937ba2945f669368661a329fb4c053"},
		{"RFC 7634, appendix A", ChaCha20Poly1305, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", "a0a1a2a31011121314151617", "0102030400000005",
			"45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363701020204",
			"24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0",
			"76aaa8266b7fb0f7b11b369907e1ad43"},
	} {
		t.Run(v.name, func(t *testing.T) {
			nonce, aad, plain := unhex(t, v.nonce), unhex(t, v.aad), unhex(t, v.plain)
			m := &material{spi: binary.BigEndian.Uint32(aad), algorithm: v.algorithm, esn: len(aad) == 12, aes: testAES, key: unhex(t, v.key), salt: [4]byte(nonce)}
			in := testInbound(t, m)
			if m.esn { // as if the number before had come
				in.window.advance(binary.BigEndian.Uint64(aad[4:]) - 1)
			}
			table, _ := NewTable([]*Inbound{in})
			packet := bytes.Join([][]byte{aad[:4], aad[len(aad)-4:], nonce[4:], unhex(t, v.cipher), unhex(t, v.icv)}, nil)
			n, ok := unpad(plain)
			if !ok {
				t.Fatal("the vector's padding")
			}
			opens(t, table, packet, plain[:n], plain[len(plain)-1])

			// And the same cipher the other way.
			aead, err := v.algorithm.aead(m.key, testAES)
			if err != nil {
				t.Fatal(err)
			}
			if got := aead.Seal(nil, nonce, plain, aad); !bytes.Equal(got, packet[payloadAt:]) {
				t.Fatalf("sealed to %x", got)
			}
		})
	}
}

// TestCAVS checks the ciphers against NIST's CAVS vectors for AES-GCM, from
// gcmEncryptExtIV128.rsp and gcmEncryptExtIV256.rsp.
func TestCAVS(t *testing.T) {
	for _, v := range []struct {
		name                        string
		algorithm                   Algorithm
		key, iv, aad, plain, sealed string
	}{
		{"128, nothing", AES128GCM, "11754cd72aec309bf52f7687212e8957", "3c819d9a9bed087615030b65", "", "", "250327c674aaf477aef2675748cf6971"},
		{"128, 16 bytes", AES128GCM, "7fddb57453c241d03efbed3ac44e371c", "ee283a3fc75575e33efd4887", "", "d5de42b461646c255c87bd2962d3b9a2",
			"2ccda4a5415cb91e135c2a0f78c9b2fdb36d1df9b9d5e596f83e8b7f52971cb3"},
		{"256, nothing", AES256GCM, "b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4", "516c33929df5a3284ff463d7", "", "", "bdc1ac884d332457a1d2664f168c76f0"},
		{"256, 16 bytes and AAD", AES256GCM, "92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b", "ac93a1a6145299bde902f21a",
			"1e0889016f67601c8ebea4943bc23ad6", "2d71bcfa914e4ac045b2aa60955fad24",
			"8995ae2e6df3dbf96fac7b7137bae67feca5aa77d51d4a0a14d9c51e1da474ab"},
	} {
		t.Run(v.name, func(t *testing.T) {
			aead, err := v.algorithm.aead(unhex(t, v.key), testAES)
			if err != nil {
				t.Fatal(err)
			}
			if got := aead.Seal(nil, unhex(t, v.iv), unhex(t, v.plain), unhex(t, v.aad)); !bytes.Equal(got, unhex(t, v.sealed)) {
				t.Fatalf("sealed to %x, want %s", got, v.sealed)
			}
		})
	}
}
