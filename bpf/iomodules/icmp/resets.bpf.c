// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* TCP resets and SCTP aborts. */
#include "iomodules/icmp/answers.h"

#define TCP_BYTES 20
#define ABORT_BYTES 16 /* SCTP header and a chunk without parameters */
#define TTL_RESET 63 /* looks routed once */

#define SCTP_INIT 1
#define SCTP_ABORT 6

__noinline int answer_reset(struct __sk_buff *skb, __u32 back)
{
	struct machine *m = machine();
	struct generated *g;
	__u64 sum;
	__u32 at;
	__u8 *tcp, *in;

	if (!m)
		return -DROP_NO_STATE;
	g = next_answer(m);
	if (!g)
		return -DROP_NO_STATE;
	in = m->hdr;
	if (!(m->w[W_CLASS] & CLASS_TCP) || !m->l4 ||
	    bpf_skb_load_bytes(skb, m->l4, in, TCP_BYTES))
		return -DROP_GENERATE;
	at = put_headers(g->data, m->w, back, PROTO_TCP, TTL_RESET, TCP_BYTES,
			 &sum);
	tcp = g->data + at;
	WRITE_BE32(tcp, l4_word(m) << 16 | l4_word(m) >> 16);
	WRITE_BE32(tcp + 4, 0);
	WRITE_BE32(tcp + 8, READ_BE32(in + 4) + 1);
	WRITE_BE32(tcp + 12,
		   0x50140000); /* five words, RST and ACK, window 0 */
	WRITE_BE32(tcp + 16, 0);
	*(__u16 *)(tcp + 16) = csum_finish(sum + sum_bytes(tcp, TCP_BYTES));
	g->len = at + TCP_BYTES;
	return 0;
}

/*
 * Fill in the checksum of an abort at data[at]. A global function, so that the
 * verifier follows its loop once, not once for each way that leads here.
 */
__noinline int answer_seal(struct __sk_buff *skb, __u32 at)
{
	struct machine *m = machine();
	struct generated *g;
	__u32 crc;
	__u8 *sctp;

	/* Used, or the caller would not pass what the verifier asks for. */
	asm volatile("" : : "r"(skb));
	if (!m || at > IP6_L4)
		return -DROP_NO_STATE;
	g = next_answer(m);
	if (!g)
		return -DROP_NO_STATE;
	sctp = g->data + at;
	crc = crc32c(sctp, ABORT_BYTES);
	WRITE_BE32(sctp + 8, __builtin_bswap32(crc));
	return 0;
}

/* RFC 4960, 8.4. */
__noinline int answer_abort(struct __sk_buff *skb, __u32 back)
{
	struct machine *m = machine();
	struct generated *g;
	__u32 tag, at, flags = 1;
	__u64 pseudo;
	__u8 *sctp, *in;

	if (!m)
		return -DROP_NO_STATE;
	g = next_answer(m);
	if (!g)
		return -DROP_NO_STATE;
	in = m->hdr;
	if (!(m->w[W_CLASS] & CLASS_SCTP) || !m->l4 ||
	    m->ip_end < m->l4 + ABORT_BYTES ||
	    bpf_skb_load_bytes(skb, m->l4, in, ABORT_BYTES))
		return -DROP_GENERATE;
	if (in[12] == SCTP_ABORT)
		return 1;
	tag = READ_BE32(in + 4);
	if (in[12] == SCTP_INIT) {
		if (m->ip_end < m->l4 + 2 * ABORT_BYTES ||
		    bpf_skb_load_bytes(skb, m->l4 + ABORT_BYTES, in + 16, 4))
			return -DROP_GENERATE;
		if (!tag) {
			tag = READ_BE32(in + 16);
			flags = 0;
		}
	}
	at = put_headers(g->data, m->w, back, PROTO_SCTP, TTL_RESET,
			 ABORT_BYTES, &pseudo);
	sctp = g->data + at;
	WRITE_BE32(sctp, l4_word(m) << 16 | l4_word(m) >> 16);
	WRITE_BE32(sctp + 4, tag);
	WRITE_BE32(sctp + 8, 0);
	WRITE_BE32(sctp + 12, SCTP_ABORT << 24 | flags << 16 | 4);
	g->len = at + ABORT_BYTES;
	return answer_seal(skb, at);
}
