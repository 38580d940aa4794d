package tap

// A Report is what a host grants. It holds only text and truth values, so that
// a probe inside a namespace can pass it on.
type Report struct {
	// Kernel is the kernel's release, such as "6.18.0".
	Kernel string `json:"kernel"`
	// Device is the path of the clone device and Open why it cannot be
	// opened, empty if it can.
	Device string `json:"device"`
	Open   string `json:"open,omitempty"`
	// Rungs holds every rung of the ladder, the best first.
	Rungs []RungReport `json:"rungs"`
	// MultiQueue and NAPI say why these are not granted, empty if they are.
	MultiQueue string `json:"multiQueue,omitempty"`
	NAPI       string `json:"napi,omitempty"`
	// Bug describes a fault this kernel's release is known for that concerns
	// offloads, empty if none is known.
	Bug string `json:"bug,omitempty"`
}

// A RungReport is the answer for one rung.
type RungReport struct {
	Rung string `json:"rung"`
	// Error says why the rung is not granted, empty if it is.
	Error string `json:"error,omitempty"`
}
