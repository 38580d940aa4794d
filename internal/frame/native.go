package frame

import "encoding/binary"

func native16(b []byte) uint16       { return binary.NativeEndian.Uint16(b) }
func putNative16(b []byte, v uint16) { binary.NativeEndian.PutUint16(b, v) }
