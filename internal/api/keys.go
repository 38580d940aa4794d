package api

import (
	"net"
	"net/http"

	"weft/internal/cnm"
)

func (s *Server) weftKeys(w http.ResponseWriter, _ *http.Request) error {
	list := []KeyRing{}
	for _, r := range s.backend.Keys() {
		k := KeyRing{
			Networks: append([]string{}, r.Networks...), Cipher: r.Cipher, ESN: r.ESN, Secret: r.Secret, VTEP: r.VTEP,
			Epoch: r.Epoch, Since: r.Since, Next: r.Next, Generation: r.Generation, Peers: []KeyPeer{},
		}
		for _, p := range r.Peers {
			peer := KeyPeer{ID: p.ID, Name: p.Name, VTEP: p.VTEP, Ready: p.Ready, Pairs: []KeyPair{}}
			for _, x := range p.Pairs {
				peer.Pairs = append(peer.Pairs, KeyPair{
					Epoch: x.Epoch, Generation: x.Generation, State: x.State.String(), Since: x.Since, Worn: x.Worn, SAs: x.SAs,
					TxPackets: x.SentPackets, TxBytes: x.SentBytes, RxPackets: x.Packets, RxBytes: x.Bytes, Replayed: x.Replayed, Forged: x.Forged,
				})
			}
			k.Peers = append(k.Peers, peer)
		}
		list = append(list, k)
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// weftExportKeys gives keys out, over a Unix socket alone: its mode lets nobody but
// the owner in, while a TCP listener does not know who asks.
func (s *Server) weftExportKeys(w http.ResponseWriter, r *http.Request) error {
	if !byUnixSocket(r) {
		return cnm.Errorf(cnm.Forbidden, "keys are not given out over TCP, where anybody may ask: use the daemon's Unix socket")
	}
	var req ExportKeysRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	keys, err := s.backend.ExportKeys(req.Network)
	if err != nil {
		return err
	}
	list := []ExportedKey{}
	for i := range keys {
		k := &keys[i]
		list = append(list, ExportedKey{From: k.From, To: k.To, SPI: k.SPI, Cipher: k.Algorithm.String(), ESN: k.ESN, Key: k.Key, Wireshark: k.Wireshark()})
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, list)
	return nil
}

// byUnixSocket reports whether a request came by a Unix socket. One that does not say
// how it came did not.
func byUnixSocket(r *http.Request) bool {
	at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return at != nil && at.Network() == "unix"
}
