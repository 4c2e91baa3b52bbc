// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
#include "iomodules/icmp/sctp.h"
#include "lib/csum.h"
#include "lib/machine.h"

#define CSUM_OFFSET 8

__noinline int sctp_checksum(struct __sk_buff *skb)
{
	struct machine *m = machine();
	__u32 at, delta;
	__u8 crc[4];

	if (!m)
		return -DROP_NO_STATE;
	/* Of a datagram in fragments nobody knows the length here. */
	/* Not the word: after a ct verb the packet counts as whole. */
	if (m->frag)
		return -DROP_FRAGMENT;
	at = m->l4;
	if (m->ip_end < at + 12 || m->ip_end - at - 4 > 0xffff)
		return -DROP_REWRITE;
	if (bpf_skb_load_bytes(skb, at + CSUM_OFFSET, crc, sizeof(crc)))
		return -DROP_REWRITE;
	/*
	 * A sender on this machine leaves 0 for a device to fill in, by a sum
	 * over the packet with the 0 in its place.
	 */
	if (!(crc[0] | crc[1] | crc[2] | crc[3]))
		return 0;
	/* The sum is taken with 0 in its place: its own change is none. */
	delta = crc32c_delta(__builtin_bswap32(m->w[W_L4] ^ m->wire[W_L4]),
			     m->ip_end - at - 4);
	for (int i = 0; i < 4; i++)
		crc[i] ^= delta >> 8 * i;
	/* A CRC does not make up for anything in a complete checksum. */
	if (bpf_skb_store_bytes(skb, at + CSUM_OFFSET, crc, sizeof(crc),
				BPF_F_RECOMPUTE_CSUM))
		return -DROP_REWRITE;
	return 0;
}
