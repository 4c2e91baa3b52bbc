/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Checksum arithmetic that needs no helper, so that it also builds for the
 * host. Internet sums add up values as they lie in the packet (network order),
 * in 64 bits, and are folded once at the end: a sum of 32-bit values folds to
 * the same 16 bits as one of 16-bit values (RFC 1071, section 2).
 */
#pragma once

#include <linux/types.h>

#define CRC32C_POLYNOMIAL 0x82f63b78U /* Castagnoli, bits reversed */

/* Checksum of a sum, to be stored as it is. */
static inline __attribute__((always_inline)) __u16 csum_finish(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * The value if the bit is 1, else 0. A multiplication that the compiler cannot
 * see through: the verifier would follow both ways of a branch, or of a mask,
 * at every bit.
 */
static inline __attribute__((always_inline)) __u32 if_bit(__u32 bit,
							  __u32 value)
{
	__asm__ volatile("" : "+r"(bit));
	return bit * value;
}

/* One bit further: multiply by x in the field of the CRC. */
static inline __attribute__((always_inline)) __u32 crc32c_shift(__u32 crc)
{
	return crc >> 1 ^ if_bit(crc & 1, CRC32C_POLYNOMIAL);
}

/* CRC32c of a few bytes (n a constant), to be stored least byte first. */
static inline __attribute__((always_inline)) __u32 crc32c(const __u8 *p,
							  __u32 n)
{
	__u32 crc = 0xffffffff;

	for (__u32 i = 0; i < n; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc32c_shift(crc);
	}
	return ~crc;
}

/* Product of two polynomials modulo that of the CRC (bit 31 is x^0). */
static inline __attribute__((always_inline)) __u32 crc32c_multiply(__u32 a,
								   __u32 b)
{
	__u32 product = 0;

	for (int bit = 0; bit < 32; bit++) {
		product ^= if_bit(a >> 31, b);
		a <<= 1;
		b = crc32c_shift(b);
	}
	return product;
}

/*
 * How the CRC32c of a message changes when the word `diff` (as loaded from the
 * packet, least byte first) is xored into it and `behind` bytes (< 2^16) follow
 * that word: CRCs are linear, so the rest of the message need not be read.
 */
static inline __attribute__((always_inline)) __u32 crc32c_delta(__u32 diff,
								__u32 behind)
{
	__u32 power = 1U << 23; /* x^8: one byte */
	__u32 delta = diff;

	for (int bit = 0; bit < 32; bit++)
		delta = crc32c_shift(delta);
	for (int bit = 0; bit < 16; bit++) {
		__u32 product = crc32c_multiply(delta, power);

		delta ^= if_bit(behind & 1, delta ^ product);
		power = crc32c_multiply(power, power);
		behind >>= 1;
	}
	return delta;
}
