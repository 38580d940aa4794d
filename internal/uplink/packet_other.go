//go:build !linux

package uplink

func openPacket(PacketConfig) (*Packet, error) { return nil, ErrUnsupported }

func readPacket(int, []byte) (int, error) { return 0, ErrUnsupported }

func writePacket(int, []byte) error { return ErrUnsupported }

func packetDrops(int) uint64 { return 0 }

func closeFD(int) error { return ErrUnsupported }

// Routes returns [ErrUnsupported].
func Routes(string) ([]Route, error) { return nil, ErrUnsupported }

// CheckPacket returns [ErrUnsupported].
func CheckPacket(PacketConfig) error { return ErrUnsupported }

// Refresh returns [ErrUnsupported].
func (*Packet) Refresh() error { return ErrUnsupported }

// InterfaceMTU returns [ErrUnsupported].
func InterfaceMTU(string) (int, error) { return 0, ErrUnsupported }

// IsTAP returns false.
func IsTAP(string) bool { return false }
