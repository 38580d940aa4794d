package tap

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// sample finds out whether the kernel takes the superframes it granted. The
// driver judges the virtio header before it looks whether the interface is up
// (tun_get_user in drivers/net/tun.c), so a sample written to an interface that
// is down is answered EIO if it would have been taken, EINVAL if not, and goes
// nowhere either way. An interface that is up already is left alone.
func (d *Device) sample() {
	if !isDown(d.name) {
		return
	}
	tcp := frame.CapTSO4 | frame.CapTSO6 | frame.CapECN
	d.try(tcp, sampleFrame(frame.ProtoTCP))
	if d.opened == USO {
		d.try(frame.CapUSO, sampleFrame(frame.ProtoUDP))
	}
}

// try writes one sample and notes the answer for a kind of superframe.
func (d *Device) try(kind frame.Caps, sample []byte) {
	switch writeFrame(d.queues[0].FD(), sample) {
	case errDown:
		d.took(kind)
	case ErrRefused:
		d.caps.And(^uint32(kind))
	}
}

// sampleFrame returns a virtio header and an IPv4 superframe of two segments
// between addresses for documentation (RFC 5737).
func sampleFrame(proto uint8) []byte {
	const segment, l4 = 64, frame.EtherLen + 20
	o := frame.Offload{Flags: frame.NeedsCsum, GSO: frame.GSOTCP4, HdrLen: l4 + 20, Size: segment, CsumStart: l4, CsumOffset: 16}
	if proto == frame.ProtoUDP {
		o.GSO, o.HdrLen, o.CsumOffset = frame.GSOUDP, l4+8, 6
	}
	b := make([]byte, frame.OffloadLen+int(o.HdrLen)+2*segment)
	o.Encode(b)
	eth := b[frame.OffloadLen:]
	copy(eth, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00})
	ip := eth[frame.EtherLen:]
	ip[0], ip[8], ip[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	if proto == frame.ProtoUDP {
		binary.BigEndian.PutUint16(ip[20+4:], uint16(len(ip)-20))
	} else {
		ip[20+12] = 5 << 4
	}
	return b
}

// isDown reports whether the interface is certain to be down.
func isDown(name string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return false
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return false
	}
	return req.Uint16()&unix.IFF_UP == 0
}
