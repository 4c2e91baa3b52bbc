// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Connection tracking with the semantics of OVS's userspace conntrack
 * (lib/conntrack.c; README.md lists what differs).
 *
 * Two CPUs may work on one entry at once. Every member is written whole and on
 * its own, so a reader may see the numbers of one packet and the state of the
 * next. TCP numbers only move forward and the window test allows for more than
 * a segment of 64 KB, so a lost step is made good by the next packet; states
 * decide about timeouts, marks are written again by the flows that wanted them.
 */
#include "iomodules/conntrack/conntrack.h"
#include "iomodules/conntrack/endpoints.h"
#include "iomodules/conntrack/entry.h"
#include "iomodules/conntrack/fragment.h"
#include "iomodules/conntrack/nat.h"
#include "iomodules/conntrack/tcp.h"

#define REFRESH_NS (SECOND_NS / 4)

/* Where an upper header may begin to be read in place: a bound to verify. */
#define MAX_LINEAR 255

/* Progress of a connection without states of its own (conn.state[0]). */
enum progress {
	PROGRESS_FIRST,
	PROGRESS_BOTH, /* packets both ways */
};

struct ct_conns_map ct_conns SEC(".maps");
struct ct_fresh_map ct_fresh SEC(".maps");
struct ct_zones_map ct_zones SEC(".maps");
struct ct_frags_map ct_frags SEC(".maps");
struct ct_scratch_map ct_scratch SEC(".maps");

/* The window scale option of a segment whose header is `header` bytes long. */
__noinline int ct_tcp_wscale(struct __sk_buff *skb, __u32 header)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	__u32 n = header - 20;
	int wscale = 0;

	if (!m || !s || header <= 20 || n > 40 ||
	    bpf_skb_load_bytes(skb, m->l4 + 20, s->header, n))
		return 0;
	s->at = 0;
	for (int i = 0; i < 40; i++) {
		__u32 at = s->at & 63;
		__u8 kind, size;

		if (at + 3 > n || at > sizeof(s->header) - 3)
			return wscale;
		kind = s->header[at];
		size = s->header[at + 1];
		if (kind == 0)
			return wscale;
		if (kind == 1) {
			s->at = at + 1;
			continue;
		}
		if (kind == 3) {
			wscale = s->header[at + 2];
			if (wscale > WSCALE_MAX)
				wscale = WSCALE_MAX;
			wscale |= WSCALE_SEEN;
		}
		size = size < 2 ? 2 : size;
		if (at + size > n)
			return wscale;
		s->at = at + size;
	}
	return wscale;
}

/*
 * Bytes of the upper header: in the packet where they lie in its linear part,
 * which they mostly do, else a copy (a call, 10 ns). NULL behind the end.
 */
static __always_inline const __u8 *l4_bytes(struct __sk_buff *skb,
					    const struct machine *m,
					    struct ct_scratch *s, __u32 size)
{
	const __u8 *data = (const __u8 *)(long)skb->data;
	const __u8 *end = (const __u8 *)(long)skb->data_end;
	__u32 at = m->l4;

	if (at <= MAX_LINEAR && data + at + size <= end)
		return data + at;
	if (bpf_skb_load_bytes(skb, at, s->header, size))
		return NULL;
	return s->header;
}

static __always_inline int read_tcp(struct __sk_buff *skb, struct machine *m,
				    struct ct_scratch *s)
{
	const __u8 *tcp = l4_bytes(skb, m, s, 20);
	__u32 header;

	if (!tcp)
		return -1;
	header = (tcp[12] >> 4) * 4;
	if (header < 20 || m->l4 + header > m->ip_end)
		return -1;
	s->seq = READ_BE32(tcp + 4);
	s->ack = READ_BE32(tcp + 8);
	s->win = READ_BE16(tcp + 14);
	s->len = m->ip_end - m->l4 - header;
	s->flags = m->w[W_TCP_FLAGS] & 0x3f;
	s->wscale = 0;
	if (s->flags & TCP_SYN)
		s->wscale = ct_tcp_wscale(skb, header);
	return 0;
}

static __always_inline int read_udp(struct __sk_buff *skb, struct machine *m,
				    struct ct_scratch *s)
{
	const __u8 *udp = l4_bytes(skb, m, s, 8);
	__u32 size;

	if (!udp)
		return -1;
	size = READ_BE16(udp + 4);
	if (size >= 8 && m->l4 + size <= m->ip_end)
		return 0;
	/* The length is that of the datagram, the packet its first fragment. */
	return size >= 8 && ct_is_fragment(skb) ? 0 : -1;
}

static __always_inline int read_icmp(struct __sk_buff *skb, struct machine *m,
				     struct ct_scratch *s)
{
	__u32 l4 = m->w[W_L4], type = l4 >> 16 & 0xff;
	__u32 id;

	if (!m->l4) {
		/* Later fragment: see struct frag. */
		id = (l4 >> 16 & 0xff00) | (l4 >> 8 & 0xff);
		return order_icmp(s, type, l4 & 0xff, id);
	}
	if (icmp_role(s->key.family, type) == ICMP_ERROR)
		return ct_read_quote(skb) ? -1 : ct_related();
	if (bpf_skb_load_bytes(skb, m->l4 + 4, s->header, 2))
		return -1;
	return order_icmp(s, type, l4 & 0xff, READ_BE16(s->header));
}

/* The upper header of a protocol with ports: -1 if it cannot be. */
static __always_inline int read_ports(struct __sk_buff *skb, struct machine *m,
				      struct ct_scratch *s, __u32 proto)
{
	if (!(m->w[W_L4] >> 16) || !(m->w[W_L4] & 0xffff))
		return -1; /* or no header at all */
	if (!m->l4)
		return 0; /* later fragment */
	if (proto == PROTO_TCP)
		return read_tcp(skb, m, s);
	return proto == PROTO_UDP ? read_udp(skb, m, s) : 0;
}

/* From packet to key; -1 if the packet cannot be tracked. */
static __always_inline int read_packet(struct __sk_buff *skb, struct machine *m,
				       struct ct_scratch *s, __u32 zone)
{
	__u32 family = m->w[W_CLASS] & CLASS_IP4 ? 4 : 6;
	__u32 proto = m->w[W_IP_META] >> 24, l4 = 0;

	s->related = 0;
	if (!m->ip_end)
		return -1;
	if (has_ports(proto)) {
		if (read_ports(skb, m, s, proto))
			return -1;
		l4 = m->w[W_L4];
	}
	if (family == 4 && proto != PROTO_ICMP) {
		order_ip4(s, zone, proto, m->w[W_IP4_SRC], m->w[W_IP4_DST],
			  l4 >> 16, l4 & 0xffff);
		return 0;
	}
	__builtin_memset(&s->key, 0, sizeof(s->key));
	s->key.zone = zone;
	s->key.proto = proto;
	s->key.family = family;
	if (family == 4) {
		s->key.addr0[3] = m->w[W_IP4_SRC];
		s->key.addr1[3] = m->w[W_IP4_DST];
		return read_icmp(skb, m, s);
	}
	for (int i = 0; i < 4; i++) {
		s->key.addr0[i] = m->w[W_IP6_SRC0 + i];
		s->key.addr1[i] = m->w[W_IP6_DST0 + i];
	}
	if (proto == PROTO_ICMPV6)
		return read_icmp(skb, m, s);
	order_ports(s, l4 >> 16, l4 & 0xffff);
	return 0;
}

static __always_inline int same_key(const struct conn_key *a,
				    const struct conn_key *b)
{
	const key_word *x = (const key_word *)a, *y = (const key_word *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) |
		 (x[4] ^ y[4]));
}

/* 1 if the stored time changed by enough to be written. */
static __always_inline int refresh(struct conn *conn, __u64 now, __u32 timeout)
{
	__u64 until = now + timeout * SECOND_NS;

	/* Also true for a shorter life: the difference wraps. */
	if (until - conn->expires_ns <= REFRESH_NS)
		return 0;
	conn->expires_ns = until;
	return 1;
}

/*
 * Follow the packet in its entry; s->at tells whether the entry is one to
 * promote: established, and at a moment when its life was extended, which is
 * at most a few times a second while the map of the established is full.
 */
static __always_inline enum update follow(struct machine *m,
					  struct ct_scratch *s,
					  struct conn *conn, __u32 from,
					  __u64 now)
{
	enum update update;
	__u32 timeout = 0, was;

	if (s->key.proto == PROTO_TCP) {
		if (!m->l4)
			return UPDATE_VALID; /* later fragment */
		update = tcp_update(conn, s, from, &timeout);
		s->at = timeout && refresh(conn, now, timeout) &&
			conn->state[0] == TCPS_ESTABLISHED &&
			conn->state[1] == TCPS_ESTABLISHED;
		return update;
	}
	was = conn->state[0];
	if (from && was != PROGRESS_BOTH)
		conn->state[0] = PROGRESS_BOTH;
	timeout = from || was == PROGRESS_BOTH ? 30 : 60;
	s->at = refresh(conn, now, timeout) && was == PROGRESS_BOTH;
	return timeout == 30 ? UPDATE_VALID : UPDATE_STILL_NEW;
}

static __always_inline void write_marks(const struct machine *m,
					struct conn *conn, __u32 flags)
{
	__u32 mask;

	if (flags & CT_F_MARK) {
		mask = m->w[T_CT_MARK_MASK];
		conn->mark = (conn->mark & ~mask) | (m->w[T_CT_MARK] & mask);
	}
	if (!(flags & CT_F_LABEL))
		return;
	for (int i = 0; i < 4; i++) {
		mask = m->w[T_CT_LABEL_MASK0 + i];
		conn->label[i] = (conn->label[i] & ~mask) |
				 (m->w[T_CT_LABEL0 + i] & mask);
	}
}

/* 1 if the answer to this packet would belong to a connection with NAT. */
static __always_inline int collides(struct ct_scratch *s, __u64 now,
				    __u32 epoch)
{
	struct conn *conn;
	__u32 fresh;

	key_directed(&s->key, !s->from);
	conn = find(&s->key, now, epoch, &fresh);
	key_plain(&s->key);
	return !!conn;
}

/*
 * Make the entry of a connection that this packet opens. Returns a drop reason,
 * or what is to be told of NAT in ct_state.
 */
static __always_inline int open(struct machine *m, struct ct_scratch *s,
				__u32 flags, __u64 now,
				const struct ct_zone *zone)
{
	struct conn *conn = &s->value;

	__builtin_memset(conn, 0, sizeof(*conn));
	conn->epoch = zone->epoch;
	conn->flags = s->from ? CONN_FROM_1 : 0;
	conn->packets[0] = 1;
	if (s->key.proto == PROTO_TCP) {
		/* A later fragment has no numbers: its first one opened. */
		if (!m->l4)
			return 0;
		tcp_open(conn, s);
		conn->expires_ns = now + 30 * SECOND_NS;
	} else {
		conn->expires_ns = now + 60 * SECOND_NS;
	}
	write_marks(m, conn, flags);
	/*
	 * OVN commits with a source translation of "all zeros": another port
	 * where the answers would be taken for those of another connection.
	 */
	if (flags & (CT_F_SNAT | CT_F_DNAT) ||
	    (zone->natted && collides(s, now, zone->epoch)))
		return nat_open(flags);
	/*
	 * An entry under this key is a dead one, or one that another CPU makes
	 * at this moment: the later packet wins, as if it had come later.
	 */
	if (bpf_map_update_elem(&ct_fresh, &s->key, conn, BPF_ANY))
		return -DROP_CT_FULL;
	return 0;
}

static __always_inline int may_open(const struct machine *m,
				    const struct ct_scratch *s)
{
	if (s->related)
		return 0;
	if (s->key.proto == PROTO_TCP)
		return !m->l4 || tcp_may_open(s->flags);
	if (is_icmp(s->key.family, s->key.proto))
		return !s->from; /* an answer opens nothing */
	return 1;
}

/* Move the connection of the scratch key to the established ones. */
__noinline int ct_promote(void)
{
	struct ct_scratch *s = scratch();
	struct conn *conn;

	if (!s)
		return -DROP_NO_STATE;
	conn = bpf_map_lookup_elem(&ct_fresh, &s->key);
	/*
	 * Where a dead entry lies, the collector may be about to remove it: let
	 * it, and try again later.
	 */
	if (conn && !bpf_map_update_elem(&ct_conns, &s->key, conn, BPF_NOEXIST))
		bpf_map_delete_elem(&ct_fresh, &s->key);
	return 0;
}

static __always_inline void write_words(struct machine *m, __u32 state,
					const struct conn *conn)
{
	m->w[W_CT_STATE] = state | CT_TRK;
	m->w[W_CT_MARK] = conn ? conn->mark : 0;
	m->w[W_CT_LABEL0] = conn ? conn->label[0] : 0;
	m->w[W_CT_LABEL1] = conn ? conn->label[1] : 0;
	m->w[W_CT_LABEL2] = conn ? conn->label[2] : 0;
	m->w[W_CT_LABEL3] = conn ? conn->label[3] : 0;
}

/* State of a packet that has an entry; CT_INV | CT_NEW: the entry is over. */
static __always_inline __u32 known(struct machine *m, struct ct_scratch *s,
				   struct conn *conn, __u64 now)
{
	__u32 from = s->from ^ (conn->flags & CONN_FROM_1);
	__u32 reply = from ? CT_RPL : 0;

	s->at = 0;
	if (m->w[W_CT_STATE] && same_key(&s->seen, &s->key))
		return m->w[W_CT_STATE]; /* this very packet was followed */
	s->seen = s->key;
	if (s->related)
		return CT_REL | reply;
	switch (follow(m, s, conn, from, now)) {
	case UPDATE_VALID:
		conn->packets[from & 1]++;
		return CT_EST | reply;
	case UPDATE_STILL_NEW:
		conn->packets[from & 1]++;
		return CT_NEW;
	case UPDATE_REOPENS:
		conn->expires_ns = 0;
		return CT_INV | CT_NEW;
	default:
		return CT_INV;
	}
}

static __always_inline void note_nat(struct ct_scratch *s,
				     const struct conn *conn)
{
	for (int i = 0; i < 4; i++)
		s->nat_ip[i] = conn->nat_ip[i];
	s->nat_port[0] = conn->nat_port[0];
	s->nat_port[1] = conn->nat_port[1];
	s->nat_flags = conn->flags;
}

/*
 * An alias whose connection has been opened anew with other ports. (The sum of
 * both stays the same under the order that a key has.)
 */
static __always_inline int is_stale(const struct ct_scratch *s,
				    const struct conn *conn)
{
	return ((s->alias.port[0] ^ s->alias.port[1]) !=
		(conn->nat_port[0] ^ conn->nat_port[1])) ||
	       !(conn->flags & CONN_NAT);
}

static __always_inline void back_to_plain(struct ct_scratch *s)
{
	s->key = s->plain;
	s->from = s->plain_from;
}

/*
 * The connection with NAT that a packet belongs to, or NULL. `natted`: the zone
 * has translated it already, so that its answer's key leads there.
 */
static __always_inline struct conn *find_translated(struct ct_scratch *s,
						    __u64 now, __u32 epoch,
						    __u32 natted, __u32 *fresh)
{
	struct conn *conn;
	__u32 unused;

	s->plain = s->key;
	s->plain_from = s->from;
	s->reply = natted;
	key_directed(&s->key, s->from ^ natted);
	conn = find(&s->key, now, epoch, fresh);
	if (conn && conn->flags & CONN_ALIAS) {
		s->reply = !natted;
		s->alias = s->key;
		note_nat(s, conn);
		nat_original();
		conn = find(&s->key, now, epoch, fresh);
		if (conn && is_stale(s, conn))
			conn = NULL;
	}
	if (conn) {
		s->from = s->reply ^ (conn->flags & CONN_FROM_1);
		note_nat(s, conn);
		if (!*fresh || s->reply != natted)
			return conn;
		/* Of the new ones, one half may have been pushed out. */
		nat_alias();
		if (find(&s->alias, now, epoch, &unused))
			return conn;
		conn->expires_ns = 0;
	}
	back_to_plain(s);
	return NULL;
}

static __always_inline __u32 is_natted(const struct machine *m, __u32 zone)
{
	return m->w[W_CT_STATE] & (CT_SNAT | CT_DNAT) &&
	       (m->w[W_NAT] & 0xffff) == zone;
}

/* A packet that opens a connection, if it may: makes the entry, tells. */
__noinline int ct_open(__u32 zone, __u32 flags)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	struct ct_zone *known_zone;
	struct conn *conn = NULL;
	__u32 state = CT_INV;
	int result = 0;

	known_zone = bpf_map_lookup_elem(&ct_zones, &zone);
	if (!m || !s || !known_zone)
		return -DROP_NO_STATE;
	s->seen.family = 0;
	if (may_open(m, s)) {
		state = CT_NEW;
		if (flags & CT_F_COMMIT) {
			result = open(m, s, flags, s->now, known_zone);
			s->seen = s->key;
			conn = &s->value; /* for its marks */
		}
	}
	if (result < 0)
		return result;
	if (flags & TRACK_WORDS)
		write_words(m, state | result, conn);
	return 0;
}

/* A packet of a connection with NAT: as ct_track(), and translate it. */
__noinline int ct_track_nat(__u32 zone, __u32 flags)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	struct ct_zone *known_zone;
	struct conn *conn;
	__u32 state, fresh = 0, natted;

	known_zone = bpf_map_lookup_elem(&ct_zones, &zone);
	if (!m || !s || !known_zone)
		return -DROP_NO_STATE;
	natted = is_natted(m, zone);
	conn = find_translated(s, s->now, known_zone->epoch, natted, &fresh);
	if (!conn)
		return TRACK_OPENS;
	s->expires_ns = conn->expires_ns;
	state = known(m, s, conn, s->now);
	flags |= s->expires_ns == conn->expires_ns ? 0 : TRACK_EXTEND;
	s->expires_ns = conn->expires_ns;
	if (state == (CT_INV | CT_NEW))
		return TRACK_OPENS | TRACK_EXTEND; /* see nat_extend() */
	write_marks(m, conn, flags);
	if (natted)
		state |= m->w[W_CT_STATE] & (CT_SNAT | CT_DNAT);
	else if (flags & TRACK_NAT)
		state |= nat_translate();
	if (flags & TRACK_WORDS)
		write_words(m, state, conn);
	return (flags & TRACK_EXTEND) | (fresh && s->at ? TRACK_PROMOTE : 0);
}

/* A packet of a plain connection: look up, follow, write marks, tell. */
__noinline int ct_track(struct __sk_buff *skb, __u32 zone, __u32 flags)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	struct ct_zone *known_zone;
	struct conn *conn;
	__u32 state, fresh;
	__u64 now;
	int result;

	known_zone = bpf_map_lookup_elem(&ct_zones, &zone);
	if (!m || !s || !known_zone)
		return -DROP_NO_STATE;
	if (m->w[W_IP_META] & (FRAG_ANY | FRAG_LATER)) {
		result = ct_fragment(skb, zone);
		if (result)
			return result;
	}
	if (read_packet(skb, m, s, zone)) {
		s->seen.family = 0;
		if (flags & TRACK_WORDS)
			write_words(m, CT_INV, NULL);
		return 0;
	}
	now = coarse_now(s);
	/* What NAT has sent on must not be taken for a connection so named. */
	if (is_natted(m, zone))
		return TRACK_HAS_NAT;
	conn = find(&s->key, now, known_zone->epoch, &fresh);
	if (!conn)
		return known_zone->natted ? TRACK_HAS_NAT : TRACK_OPENS;
	state = known(m, s, conn, now);
	if (state == (CT_INV | CT_NEW))
		return TRACK_OPENS;
	write_marks(m, conn, flags);
	if (flags & TRACK_WORDS)
		write_words(m, state, conn);
	return fresh && s->at ? ct_promote() : 0;
}

/*
 * The connection with NAT of a packet, without following it: 1 if there is one.
 * Its key and translation are in the scratch then.
 */
__noinline int ct_peek(struct __sk_buff *skb, __u32 zone)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	struct ct_zone *known_zone;
	__u32 fresh;

	zone &= 0xffff;
	known_zone = bpf_map_lookup_elem(&ct_zones, &zone);
	if (!m || !s || !known_zone || !known_zone->natted)
		return 0;
	if (read_packet(skb, m, s, zone))
		return 0;
	return !!find_translated(s, coarse_now(s), known_zone->epoch,
				 is_natted(m, zone), &fresh);
}

__noinline int ct_is_answer(struct __sk_buff *skb, __u32 zone)
{
	struct ct_scratch *s = scratch();

	return ct_peek(skb, zone) && s && s->reply && !s->related &&
	       s->nat_flags & CONN_SNAT;
}

__noinline int ct_find_vip(struct __sk_buff *skb, __u32 zone)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	__u32 from;

	if (!ct_peek(skb, zone) || !m || !s || s->reply ||
	    !(s->nat_flags & CONN_DNAT))
		return 0;
	from = s->key.family & KEY_FROM_1;
	for (int i = 0; i < 4; i++)
		m->w[T_NAT_IP0 + i] = from ? s->key.addr0[i] : s->key.addr1[i];
	m->w[T_NAT_PORTS] = 0;
	return 1;
}
