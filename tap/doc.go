// Package tap opens or adopts TAP interfaces and moves batches of Ethernet
// frames between their queues and [frame.Batch] with every offload the kernel
// grants.
//
// A device is opened on the highest rung of a ladder that this kernel allows:
// virtio header with TCP and UDP segmentation left undone ([USO]), with TCP only
// ([TSO]), single frames without a header ([Plain]), and at last the portable
// library songgao/water ([Water]). The header is struct virtio_net_hdr of the
// virtio 1.2 specification, section 5.1.6, ten bytes in this machine's byte
// order, as Documentation/networking/tuntap.rst of the Linux kernel has it.
//
// A descriptor works from any process and network namespace once it is open, so
// a sandbox opens the device and passes [Device.Files] to the process that
// switches, which adopts them.
//
// Not supported: TUN (layer 3) devices, the 24-byte header for tunnels inside
// superframes, and other systems than Linux, where [Open] says so. Addresses,
// MTU and link state are not set here.
//
// Concurrency: one goroutine at a time may read a [Queue]; any number may write
// it, and [Device.Close] may run while nobody uses the queues, which their owner
// sees to. [Poller.Wake] may be called from anywhere, its other methods by one
// goroutine.
package tap
