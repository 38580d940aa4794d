package capture

import "testing"

func TestSummary(t *testing.T) {
	frames := samples(t)
	tests := []struct{ name, want string }{
		{"tcp", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, 10.0.0.2 > 10.0.0.3 TCP, 40000 > 80 seq 0 ack 0, 100 B"},
		{"arp", "02:42:0a:00:00:02 > ff:ff:ff:ff:ff:ff, ARP who has 10.0.0.9, tell 10.0.0.2, 60 B"},
		{"vlan", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, VLAN 5, 10.0.0.2 > 10.0.0.3 TCP, 40000 > 80 seq 0 ack 0, 60 B"},
		{"qinq", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, VLAN 7, VLAN 5, ARP who has 10.0.0.9, tell 10.0.0.2, 60 B"},
		{"lldp", "02:42:0a:00:00:02 > 01:80:c2:00:00:0e, ethertype 0x88cc, 60 B"},
		{"ping", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, 10.0.0.2 > 10.0.0.3 ICMPv4, EchoRequest id 0 seq 0, 60 B"},
		{"runt", "undecodable, 3 B"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Summary(frames[tt.name].Bytes()); got != tt.want {
				t.Errorf("%q, expected %q", got, tt.want)
			}
		})
	}
}

func TestSummaryMore(t *testing.T) {
	const macs = "\x02\x42\x0a\x00\x00\x03\x02\x42\x0a\x00\x00\x02"
	tests := []struct{ name, frame, want string }{
		{"arp reply", macs + "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02\x02\x42\x0a\x00\x00\x02\x0a\x00\x00\x02\x02\x42\x0a\x00\x00\x03\x0a\x00\x00\x03",
			"02:42:0a:00:00:02 > 02:42:0a:00:00:03, ARP 10.0.0.2 is at 02:42:0a:00:00:02, 42 B"},
		{"ip cut short", macs + "\x08\x00\x45", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, ethertype 0x0800, undecodable behind that, 15 B"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Summary([]byte(tt.frame)); got != tt.want {
				t.Errorf("%q, expected %q", got, tt.want)
			}
		})
	}
}

func FuzzSummary(f *testing.F) {
	for _, fr := range samples(f) {
		f.Add(fr.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if Summary(b) == "" {
			t.Error("no summary")
		}
	})
}
