// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * DHCP messages (RFC 2131, section 2; options: RFC 2132). A message that breaks
 * a rule is dropped whole. Of an option that comes twice the first counts. An
 * END that is missing does not matter where the message ends with an option.
 */
#include "iomodules/dhcp/parts.h"

#define BOOTREQUEST 1
#define ETHERNET 1

#define FILE_AT 108
#define SNAME_AT 44

#define OVERLOAD_FILE 1
#define OVERLOAD_SNAME 2

#define FNV_START 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

/* Bytes of an identifier that is too long to be kept whole. */
#define ID_HEAD (MAX_DHCP_ID - 8)
#define ID_FOLDED 255

struct walk {
	struct dhcp_scratch *s;
};

/* The value at an option, a number of as many bytes as it should have. */
static __always_inline void take_number(struct dhcp_scratch *s, __u32 *to,
					__u32 at, __u32 size, __u32 wanted)
{
	const __u8 *p = s->message + (at & DHCP_MESSAGE_MASK);
	__u32 value;

	if (size != wanted) {
		s->malformed = 1;
		return;
	}
	value = wanted == 4 ? READ_BE32(p) : wanted == 2 ? READ_BE16(p) : *p;
	if (!*to)
		*to = value;
}

static __always_inline void take_place(struct dhcp_scratch *s, __u32 *to_at,
				       __u32 *to_size, __u32 at, __u32 size)
{
	if (!size)
		s->malformed = 1;
	if (*to_size)
		return;
	*to_at = at;
	*to_size = size;
}

static __always_inline void take_option(struct dhcp_scratch *s, __u32 code,
					__u32 at, __u32 size)
{
	switch (code) {
	case OPTION_REQUESTED:
		take_number(s, &s->requested, at, size, 4);
		break;
	case OPTION_LEASE:
		take_number(s, &s->lease_s, at, size, 4);
		break;
	case OPTION_OVERLOAD:
		/* The first counts, so it never speaks of itself. */
		take_number(s, &s->overload, at, size, 1);
		break;
	case OPTION_TYPE:
		take_number(s, &s->type, at, size, 1);
		break;
	case OPTION_SERVER:
		take_number(s, &s->server_id, at, size, 4);
		break;
	case OPTION_MAX_SIZE:
		take_number(s, &s->max_size, at, size, 2);
		break;
	case OPTION_CLIENT:
		take_place(s, &s->id_at, &s->id_size, at, size);
		break;
	case OPTION_RELAY:
		take_place(s, &s->relay_at, &s->relay_size, at, size);
		break;
	}
}

/* On to the fields that hold options too: 0, or 1 when none is left. */
static __always_inline int next_area(struct dhcp_scratch *s)
{
	if (s->area < OVERLOAD_FILE && s->overload & OVERLOAD_FILE) {
		s->area = OVERLOAD_FILE;
		s->at = FILE_AT;
		s->end = FILE_AT + 128;
		return 0;
	}
	if (s->area < OVERLOAD_SNAME && s->overload & OVERLOAD_SNAME) {
		s->area = OVERLOAD_SNAME;
		s->at = SNAME_AT;
		s->end = SNAME_AT + 64;
		return 0;
	}
	return 1;
}

static long next_option(__u32 i, void *arg)
{
	struct dhcp_scratch *s = ((struct walk *)arg)->s;
	__u32 at = s->at, end = s->end, code, size;

	(void)i;
	code = at < end ? s->message[at & DHCP_MESSAGE_MASK] : OPTION_END;
	if (code == OPTION_END)
		return next_area(s);
	s->at = at + 1;
	if (code == OPTION_PAD)
		return 0;
	size = s->message[(at + 1) & DHCP_MESSAGE_MASK];
	if (at + 1 >= end || at + 2 + size > end) {
		s->malformed = 1;
		return 1;
	}
	take_option(s, code, at + 2, size);
	s->at = at + 2 + size;
	return s->malformed ? 1 : 0;
}

static __always_inline __u64 fold(const struct dhcp_scratch *s)
{
	__u64 hash = FNV_START;

	for (__u32 i = ID_HEAD; i < 255 && i < s->id_size; i++) {
		hash ^= s->message[(s->id_at + i) & DHCP_MESSAGE_MASK];
		hash *= FNV_PRIME;
	}
	return hash;
}

/*
 * The client: who it says it is, else its MAC address (RFC 2131, section 4.2). A
 * reservation is for a MAC address, whatever runs there.
 */
static __always_inline int set_client(struct __sk_buff *skb,
				      struct dhcp_scratch *s, __u32 message_at)
{
	struct dhcp_client *client = &s->client;
	struct dhcp_host host = {
		.pool = s->pool,
		.mac_hi = s->mac_hi,
		.mac_lo = s->mac_lo,
	};
	__u32 *reserved = bpf_map_lookup_elem(&dhcp_hosts, &host);
	__u32 size = s->id_size, kept = size;

	__builtin_memset(client, 0, sizeof(*client));
	client->pool = s->pool;
	s->reserved = reserved ? *reserved : 0;
	if (s->reserved || !size) {
		WRITE_BE16(client->id, s->mac_hi);
		WRITE_BE32(client->id + 2, s->mac_lo);
		return 0;
	}
	client->size = size;
	if (size > MAX_DHCP_ID) {
		client->size = ID_FOLDED;
		kept = ID_HEAD;
	}
	/* The verifier does not conclude from the branches that it is in bounds. */
	asm volatile("" : "+r"(kept));
	if (!kept || kept > MAX_DHCP_ID ||
	    bpf_skb_load_bytes(skb, message_at + s->id_at, client->id, kept))
		return -DROP_DHCP_MALFORMED;
	if (size > MAX_DHCP_ID) {
		__u64 hash = fold(s);

		__builtin_memcpy(client->id + ID_HEAD, &hash, sizeof(hash));
	}
	return 0;
}

/* The fixed part. */
static __always_inline int read_header(struct dhcp_scratch *s)
{
	const __u8 *p = s->message;

	if (p[0] != BOOTREQUEST || p[1] != ETHERNET || p[2] != 6 ||
	    READ_BE32(p + 236) != DHCP_COOKIE)
		return -1;
	s->flags = READ_BE16(p + 10);
	s->ciaddr = READ_BE32(p + 12);
	s->giaddr = READ_BE32(p + 24);
	s->mac_hi = READ_BE16(p + 28);
	s->mac_lo = READ_BE32(p + 30);
	/* Nobody's address, and what an entry without a client looks like. */
	return s->mac_hi | s->mac_lo ? 0 : -1;
}

static __always_inline int load(struct __sk_buff *skb, const struct machine *m,
				struct dhcp_scratch *s)
{
	__u32 size;

	if (!(m->w[W_CLASS] & CLASS_UDP) || !m->l4 ||
	    m->w[W_IP_META] & FRAG_ANY ||
	    bpf_skb_load_bytes(skb, m->l4 + 4, s->message, 2))
		return -1;
	size = READ_BE16(s->message);
	if (m->l4 + size > m->ip_end)
		return -1;
	size -= 8;
	if (size > DHCP_MESSAGE_BYTES)
		size = size <= 0xffff ? DHCP_MESSAGE_BYTES : 0;
	asm volatile("" : "+r"(size));
	if (size < DHCP_AT || size > DHCP_MESSAGE_BYTES)
		return -1;
	s->size = size;
	return bpf_skb_load_bytes(skb, m->l4 + 8, s->message, size);
}

__noinline int dhcp_read(struct __sk_buff *skb)
{
	struct dhcp_scratch *s = dhcp_message();
	struct machine *m = machine();
	struct walk walk = {.s = s};

	if (!s || !m)
		return -DROP_NO_STATE;
	if (load(skb, m, s) || read_header(s))
		return -DROP_DHCP_MALFORMED;
	s->type = 0;
	s->requested = 0;
	s->server_id = 0;
	s->lease_s = 0;
	s->max_size = 0;
	s->overload = 0;
	s->id_size = 0;
	s->relay_size = 0;
	s->area = 0;
	s->malformed = 0;
	s->at = DHCP_AT;
	s->end = s->size;
	bpf_loop(DHCP_MESSAGE_BYTES, next_option, &walk, 0);
	if (s->malformed)
		return -DROP_DHCP_MALFORMED;
	return set_client(skb, s, m->l4 + 8);
}
