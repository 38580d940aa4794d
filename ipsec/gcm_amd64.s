#include "textflag.h"

// AES-GCM (NIST SP 800-38D), four blocks in a register.
//
// Counter mode: Z15 holds four counter blocks with their bytes reversed, so that
// the counter is a lane's lowest word and counting is one addition.
//
// GHASH: a block with its bytes reversed is a polynomial with its bits reversed.
// The product of two such is one bit short of where it should be; the powers of H
// were divided by x, which moves it there. The products of up to eighteen blocks,
// each with its own power of H, are added up before they are reduced. To reduce is to
// add such multiples of the polynomial, which with its bits reversed is
// 1 + 2^64 (2^64 + 0xc2<<56), that the lowest 64 bits become 0, and again.
//
// Z0-Z13 round keys, Z14 the last, Z15 counters, Z16 4 in each lane, Z17 what
// reverses bytes, Z18-Z21 blocks, Z22 low, Z23 middle and Z24 high parts of products,
// Z25 the hash so far in its lowest lane and 0 in the others, Z26 0xc2<<56 in each
// word, Z27-Z31 scratch; AX key, DX rounds, SI source, DI destination, CX bytes left,
// R8 which way, R13 what is to be hashed next. That is always what is sealed: when
// opening, the source, and when sealing, what the turn before made, so that to encrypt
// and to hash can go on at the same time. The tag's mask waits where the tag will be.

// Where things are in a wideKey.
#define ROUNDKEY(i) (16*i)(AX)
#define POWER(i) (16*(33-i))(AX) // H^18 to H^1, then room to read behind it
#define ROUNDS 576(AX)

DATA ·reverse<>+0x00(SB)/8, $0x08090a0b0c0d0e0f
DATA ·reverse<>+0x08(SB)/8, $0x0001020304050607
GLOBL ·reverse<>(SB), RODATA|NOPTR, $16

// The counters of the first blocks of data. 1 is the tag's.
DATA ·counters<>+0x00(SB)/8, $2
DATA ·counters<>+0x08(SB)/8, $0
DATA ·counters<>+0x10(SB)/8, $3
DATA ·counters<>+0x18(SB)/8, $0
DATA ·counters<>+0x20(SB)/8, $4
DATA ·counters<>+0x28(SB)/8, $0
DATA ·counters<>+0x30(SB)/8, $5
DATA ·counters<>+0x38(SB)/8, $0
GLOBL ·counters<>(SB), RODATA|NOPTR, $64

DATA ·one<>+0x00(SB)/8, $1
DATA ·one<>+0x08(SB)/8, $0
GLOBL ·one<>(SB), RODATA|NOPTR, $16

DATA ·four<>+0x00(SB)/8, $4
DATA ·four<>+0x08(SB)/8, $0
GLOBL ·four<>(SB), RODATA|NOPTR, $16

DATA ·poly<>+0x00(SB)/8, $0xc200000000000000
DATA ·poly<>+0x08(SB)/8, $0xc200000000000000
GLOBL ·poly<>(SB), RODATA|NOPTR, $16

// COUNT makes the next four counter blocks and adds the first round key.
#define COUNT(z) \
	VPSHUFB Z17, Z15, z   \
	VPADDD  Z16, Z15, Z15 \
	VPXORQ  Z0, z, z

#define ROUND(k) \
	VAESENC k, Z18, Z18

#define ROUND4(k) \
	VAESENC k, Z18, Z18 \
	VAESENC k, Z19, Z19 \
	VAESENC k, Z20, Z20 \
	VAESENC k, Z21, Z21

// MULTIPLY adds to the products those of the blocks in z and powers of H.
#define MULTIPLY(z, powers) \
	VMOVDQU64  powers, Z28        \
	VPCLMULQDQ $0x00, Z28, z, Z29 \
	VPCLMULQDQ $0x11, Z28, z, Z30 \
	VPCLMULQDQ $0x01, Z28, z, Z31 \
	VPCLMULQDQ $0x10, Z28, z, z   \
	VPXORQ     Z29, Z22, Z22      \
	VPXORQ     Z30, Z24, Z24      \
	VPTERNLOGQ $0x96, z, Z31, Z23

// COUNT4 begins with sixteen blocks, and CRYPT4 ends with them.
#define COUNT4 \
	COUNT(Z18) \
	COUNT(Z19) \
	COUNT(Z20) \
	COUNT(Z21)

#define CRYPT4 \
	VAESENCLAST Z14, Z18, Z18       \
	VAESENCLAST Z14, Z19, Z19       \
	VAESENCLAST Z14, Z20, Z20       \
	VAESENCLAST Z14, Z21, Z21       \
	VPXORQ      (SI), Z18, Z18      \
	VPXORQ      64(SI), Z19, Z19    \
	VPXORQ      128(SI), Z20, Z20   \
	VPXORQ      192(SI), Z21, Z21   \
	VMOVDQU64   Z18, (DI)           \
	VMOVDQU64   Z19, 64(DI)         \
	VMOVDQU64   Z20, 128(DI)        \
	VMOVDQU64   Z21, 192(DI)        \
	ADDQ        $256, SI            \
	ADDQ        $256, DI            \
	SUBQ        $256, CX

// HASH4 multiplies four of the blocks that are to be hashed, HASH4FIRST the first.
#define HASH4(at, powers) \
	VMOVDQU64 at(R13), Z27  \
	VPSHUFB   Z17, Z27, Z27 \
	MULTIPLY(Z27, powers)

#define HASH4FIRST \
	VMOVDQU64 (R13), Z27    \
	VPSHUFB   Z17, Z27, Z27 \
	VPXORQ    Z25, Z27, Z27 \
	MULTIPLY(Z27, POWER(16))

// REDUCE makes the products the hash so far. They are 0 then.
#define REDUCE \
	VPCLMULQDQ    $0x00, Z26, Z22, Z28 \
	VPSHUFD       $0x4e, Z22, Z22      \
	VPTERNLOGQ    $0x96, Z28, Z22, Z23 \
	VPCLMULQDQ    $0x00, Z26, Z23, Z28 \
	VPSHUFD       $0x4e, Z23, Z23      \
	VPTERNLOGQ    $0x96, Z28, Z23, Z24 \
	VEXTRACTI64X4 $1, Z24, Y28         \
	VPXORQ        Y28, Y24, Y24        \
	VEXTRACTI32X4 $1, Y24, X28         \
	VPXORQ        X28, X24, X25        \
	VPXORQ        Z22, Z22, Z22        \
	VPXORQ        Z23, Z23, Z23        \
	VPXORQ        Z24, Z24, Z24

// func cryptWide(k *wideKey, nonce *byte, aad []byte, dst, src *byte, n int, open bool, tag *byte)
TEXT ·cryptWide(SB), NOSPLIT, $0-80
	MOVQ k+0(FP), AX
	MOVQ nonce+8(FP), BX
	MOVQ aad_base+16(FP), R9
	MOVQ aad_len+24(FP), R10
	MOVQ dst+40(FP), DI
	MOVQ src+48(FP), SI
	MOVQ n+56(FP), CX
	MOVBQZX open+64(FP), R8
	MOVQ ROUNDS, DX

	VBROADCASTI32X4 ROUNDKEY(0), Z0
	VBROADCASTI32X4 ROUNDKEY(1), Z1
	VBROADCASTI32X4 ROUNDKEY(2), Z2
	VBROADCASTI32X4 ROUNDKEY(3), Z3
	VBROADCASTI32X4 ROUNDKEY(4), Z4
	VBROADCASTI32X4 ROUNDKEY(5), Z5
	VBROADCASTI32X4 ROUNDKEY(6), Z6
	VBROADCASTI32X4 ROUNDKEY(7), Z7
	VBROADCASTI32X4 ROUNDKEY(8), Z8
	VBROADCASTI32X4 ROUNDKEY(9), Z9
	VBROADCASTI32X4 ROUNDKEY(10), Z10
	VBROADCASTI32X4 ROUNDKEY(11), Z11
	VBROADCASTI32X4 ROUNDKEY(12), Z12
	VBROADCASTI32X4 ROUNDKEY(13), Z13
	VBROADCASTI32X4 ROUNDKEY(14), Z14
	VBROADCASTI32X4 ·reverse<>(SB), Z17
	VBROADCASTI32X4 ·four<>(SB), Z16
	VBROADCASTI32X4 ·poly<>(SB), Z26

	MOVQ       $0xfff, R11
	KMOVQ      R11, K1
	VMOVDQU8.Z (BX), K1, X15
	VPSHUFB    X17, X15, X15
	VMOVDQU64  ·one<>(SB), X27
	VPADDD     X27, X15, X27
	VSHUFI64X2 $0, Z15, Z15, Z15
	VPADDD     ·counters<>(SB), Z15, Z15

	// The additional data are one block, its end 0. What power of H it goes with
	// says how many blocks are hashed before the first reduction.
	MOVQ       $-1, R11
	BZHIQ      R10, R11, R11
	KMOVQ      R11, K1
	VMOVDQU8.Z (R9), K1, X25
	VPSHUFB    X17, X25, X25
	LEAQ       POWER(17), BX
	CMPQ       CX, $256
	JAE        first
	LEAQ       15(CX), R11
	ANDQ       $~15, R11
	LEAQ       POWER(2), BX
	SUBQ       R11, BX

first:
	VMOVDQU64  (BX), X28
	VPCLMULQDQ $0x00, X28, X25, X22
	VPCLMULQDQ $0x11, X28, X25, X24
	VPCLMULQDQ $0x01, X28, X25, X23
	VPCLMULQDQ $0x10, X28, X25, X31
	VPXORQ     X31, X23, X23
	VPXORQ     Z25, Z25, Z25

	// The tag's mask is the first counter block, encrypted.
	VPSHUFB X17, X27, X27
	VPXORQ  X0, X27, X27
	VAESENC X1, X27, X27
	VAESENC X2, X27, X27
	VAESENC X3, X27, X27
	VAESENC X4, X27, X27
	VAESENC X5, X27, X27
	VAESENC X6, X27, X27
	VAESENC X7, X27, X27
	VAESENC X8, X27, X27
	VAESENC X9, X27, X27
	CMPQ    DX, $10
	JE      masked
	VAESENC X10, X27, X27
	VAESENC X11, X27, X27
	VAESENC X12, X27, X27
	VAESENC X13, X27, X27

masked:
	VAESENCLAST X14, X27, X27
	MOVQ        tag+72(FP), R12
	VMOVDQU64   X27, (R12)
	CMPQ        CX, $256
	JB          tail
	MOVQ        SI, R13
	TESTQ       R8, R8
	JNZ         sixteen

	// There is nothing to hash before the first sixteen blocks are sealed.
	MOVQ DI, R13
	COUNT4
	ROUND4(Z1)
	ROUND4(Z2)
	ROUND4(Z3)
	ROUND4(Z4)
	ROUND4(Z5)
	ROUND4(Z6)
	ROUND4(Z7)
	ROUND4(Z8)
	ROUND4(Z9)
	CMPQ DX, $10
	JE   sealed
	ROUND4(Z10)
	ROUND4(Z11)
	ROUND4(Z12)
	ROUND4(Z13)

sealed:
	CRYPT4
	CMPQ CX, $256
	JB   behind

sixteen:
	COUNT4
	ROUND4(Z1)
	HASH4(64, POWER(12))
	ROUND4(Z2)
	ROUND4(Z3)
	HASH4(128, POWER(8))
	ROUND4(Z4)
	ROUND4(Z5)
	HASH4(192, POWER(4))
	ROUND4(Z6)
	ROUND4(Z7)
	HASH4FIRST
	ROUND4(Z8)
	ROUND4(Z9)
	REDUCE
	ADDQ $256, R13
	CMPQ DX, $10
	JE   crypt
	ROUND4(Z10)
	ROUND4(Z11)
	ROUND4(Z12)
	ROUND4(Z13)

crypt:
	CRYPT4
	CMPQ  CX, $256
	JAE   sixteen
	TESTQ R8, R8
	JNZ   tail

behind:
	HASH4(64, POWER(12))
	HASH4(128, POWER(8))
	HASH4(192, POWER(4))
	HASH4FIRST
	REDUCE

tail:
	TESTQ CX, CX
	JZ    lengths

	// The first of r blocks goes with H^(r+1), for the lengths go with H.
	LEAQ 15(CX), R11
	ANDQ $~15, R11
	LEAQ POWER(1), BX
	SUBQ R11, BX

four:
	// R11 has a bit for each byte.
	MOVQ  $-1, R11
	CMPQ  CX, $64
	JAE   whole
	BZHIQ CX, R11, R11

whole:
	KMOVQ R11, K1
	COUNT(Z18)
	ROUND(Z1)
	ROUND(Z2)
	ROUND(Z3)
	ROUND(Z4)
	ROUND(Z5)
	ROUND(Z6)
	ROUND(Z7)
	ROUND(Z8)
	ROUND(Z9)
	CMPQ  DX, $10
	JE    last
	ROUND(Z10)
	ROUND(Z11)
	ROUND(Z12)
	ROUND(Z13)

last:
	VAESENCLAST Z14, Z18, Z18
	VMOVDQU8.Z  (SI), K1, Z28
	VPXORQ      Z28, Z18, Z18
	VMOVDQU8    Z18, K1, (DI)
	TESTQ       R8, R8
	JZ          hash
	VMOVDQA64   Z28, Z18

hash:
	VMOVDQU8.Z Z18, K1, Z18
	VPSHUFB    Z17, Z18, Z18
	VPXORQ     Z25, Z18, Z18
	VPXORQ     Z25, Z25, Z25
	MULTIPLY(Z18, (BX))
	ADDQ       $64, BX
	ADDQ       $64, SI
	ADDQ       $64, DI
	SUBQ       $64, CX
	JA         four

lengths:
	SHLQ        $3, R10
	MOVQ        n+56(FP), R11
	SHLQ        $3, R11
	VMOVQ       R10, X18
	VMOVQ       R11, X19
	VPUNPCKLQDQ X18, X19, X18
	VPXORQ      Z25, Z18, Z18
	VMOVDQU64   POWER(1), X28
	VPCLMULQDQ  $0x00, X28, X18, X29
	VPCLMULQDQ  $0x11, X28, X18, X30
	VPCLMULQDQ  $0x01, X28, X18, X31
	VPCLMULQDQ  $0x10, X28, X18, X18
	VPXORQ      Z29, Z22, Z22
	VPXORQ      Z30, Z24, Z24
	VPTERNLOGQ  $0x96, Z18, Z31, Z23
	REDUCE
	VPSHUFB     X17, X25, X25
	MOVQ        tag+72(FP), BX
	VPXORQ      (BX), X25, X25
	VMOVDQU64   X25, (BX)

	// No key, power of H or mask stays in a register. Z22-Z24 are 0 by REDUCE; X15, which
	// Go keeps 0, and the upper halves, without which SSE would be slow, by VZEROALL.
	VPXORQ X18, X18, X18
	VPXORQ X19, X19, X19
	VPXORQ X20, X20, X20
	VPXORQ X21, X21, X21
	VPXORQ X25, X25, X25
	VPXORQ X27, X27, X27
	VPXORQ X28, X28, X28
	VPXORQ X29, X29, X29
	VPXORQ X30, X30, X30
	VPXORQ X31, X31, X31
	VZEROALL
	RET

// func subWord(w uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVL            w+0(FP), AX
	MOVQ            AX, X0
	PSHUFD          $0, X0, X0
	AESKEYGENASSIST $0, X0, X1
	MOVQ            X1, AX
	MOVL            AX, ret+8(FP)
	PXOR            X0, X0
	PXOR            X1, X1
	RET
