#include "textflag.h"

// VUADDW and VUADDW2 widen the eight words of a vector to 32 bits and add them
// to four lanes each, V16-V19.

#define START \
	VEOR V16.B16, V16.B16, V16.B16 \
	VEOR V17.B16, V17.B16, V17.B16 \
	VEOR V18.B16, V18.B16, V18.B16 \
	VEOR V19.B16, V19.B16, V19.B16

#define ADD(h4, h8, low, high) \
	VUADDW  h4, low, low   \
	VUADDW2 h8, high, high

// END adds all lanes up into R3.
#define END \
	VUADDLV V16.S4, V16         \
	VUADDLV V17.S4, V17         \
	VUADDLV V18.S4, V18         \
	VUADDLV V19.S4, V19         \
	VADD    V17.D2, V16.D2, V16.D2 \
	VADD    V19.D2, V18.D2, V18.D2 \
	VADD    V18.D2, V16.D2, V16.D2 \
	VMOV    V16.D[0], R3

// func sumVector(b []byte) uint64
TEXT ·sumVector(SB), NOSPLIT, $0-32
	MOVD b_base+0(FP), R0
	MOVD b_len+8(FP), R2
	START

sum64:
	CMP    $64, R2
	BLO    sum32
	VLD1.P 64(R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	ADD(V0.H4, V0.H8, V16.S4, V17.S4)
	ADD(V1.H4, V1.H8, V18.S4, V19.S4)
	ADD(V2.H4, V2.H8, V16.S4, V17.S4)
	ADD(V3.H4, V3.H8, V18.S4, V19.S4)
	SUB    $64, R2
	B      sum64

sum32:
	CMP    $32, R2
	BLO    summed
	VLD1.P 32(R0), [V0.B16, V1.B16]
	ADD(V0.H4, V0.H8, V16.S4, V17.S4)
	ADD(V1.H4, V1.H8, V18.S4, V19.S4)
	SUB    $32, R2
	B      sum32

summed:
	END
	MOVD R3, ret+24(FP)
	RET

// func copySumVector(dst, src []byte) uint64
TEXT ·copySumVector(SB), NOSPLIT, $0-56
	MOVD dst_base+0(FP), R1
	MOVD src_base+24(FP), R0
	MOVD src_len+32(FP), R2
	START

copy64:
	CMP    $64, R2
	BLO    copy32
	VLD1.P 64(R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R1)
	ADD(V0.H4, V0.H8, V16.S4, V17.S4)
	ADD(V1.H4, V1.H8, V18.S4, V19.S4)
	ADD(V2.H4, V2.H8, V16.S4, V17.S4)
	ADD(V3.H4, V3.H8, V18.S4, V19.S4)
	SUB    $64, R2
	B      copy64

copy32:
	CMP    $32, R2
	BLO    copied
	VLD1.P 32(R0), [V0.B16, V1.B16]
	VST1.P [V0.B16, V1.B16], 32(R1)
	ADD(V0.H4, V0.H8, V16.S4, V17.S4)
	ADD(V1.H4, V1.H8, V18.S4, V19.S4)
	SUB    $32, R2
	B      copy32

copied:
	END
	MOVD R3, ret+48(FP)
	RET
