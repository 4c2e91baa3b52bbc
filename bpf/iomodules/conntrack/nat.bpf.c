// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Bindings of NAT: which endpoints a connection gets, and its second entry, by
 * which the answers find it. As in OVS (lib/conntrack.c, nat_get_unique_tuple):
 * the answer's endpoints must belong to no other connection of the zone. The
 * source port stays if it can; else another of its class is sought.
 */
#include <linux/errno.h>

#include "iomodules/conntrack/endpoints.h"
#include "iomodules/conntrack/entry.h"
#include "iomodules/conntrack/nat.h"

#define TRIES 256 /* ports, after the one that is wanted */
#define RUN 64 /* of those, in a row */
#define CLAIMED 1 /* expires_ns of an entry that one CPU is about to delete */

/* Ends of port classes: a program may ask for a privileged port. */
#define PRIVILEGED 1024
#define RESERVED 512
#define RESERVED_END 600

enum claim {
	CLAIM_TAKEN, /* by another connection */
	CLAIM_DONE,
	CLAIM_FULL, /* no memory */
};

/*
 * Key of the connection with one end replaced as ct_scratch.nat_* say. `from`: the
 * endpoint of the key that opens it. Sets ct_scratch.from: who opens, of the new
 * key, which is plain.
 */
static __always_inline void replace_end(struct ct_scratch *s, __u32 from)
{
	struct conn_key *key = &s->key;
	__u32 snat = s->nat_flags & CONN_SNAT;

	key_plain(key);
	for (int i = 0; i < 4; i++) {
		__u32 src = from ? key->addr1[i] : key->addr0[i];
		__u32 dst = from ? key->addr0[i] : key->addr1[i];

		key->addr0[i] = snat ? s->nat_ip[i] : src;
		key->addr1[i] = snat ? dst : s->nat_ip[i];
	}
	if (is_icmp(key->family, key->proto)) {
		key->port[0] = s->nat_port[0];
		key->port[1] = s->nat_port[1];
		s->from = 0;
		return;
	}
	order_ports(s, s->nat_port[0], s->nat_port[1]);
}

__noinline int nat_original(void)
{
	struct ct_scratch *s = scratch();

	if (!s)
		return -DROP_NO_STATE;
	replace_end(s, !(s->key.family & KEY_FROM_1));
	key_directed(&s->key, s->from);
	return 0;
}

static __always_inline void swap_keys(struct conn_key *a, struct conn_key *b)
{
	key_word *x = (key_word *)a, *y = (key_word *)b;

	for (int i = 0; i < 5; i++) {
		key_word word = x[i];

		x[i] = y[i];
		y[i] = word;
	}
}

__noinline int nat_alias(void)
{
	struct ct_scratch *s = scratch();
	__u32 from;

	if (!s)
		return -DROP_NO_STATE;
	s->alias = s->key;
	from = s->from;
	replace_end(s, s->key.family & KEY_FROM_1);
	key_directed(&s->key, !s->from);
	s->from = from;
	swap_keys(&s->key, &s->alias);
	return 0;
}

/* Delete a dead entry of ct_fresh: 1 for the one CPU that did. */
static __always_inline int clear_dead(const struct conn_key *key, __u64 now,
				      __u32 epoch)
{
	struct conn *dead = bpf_map_lookup_elem(&ct_fresh, key);
	__u64 ended;

	if (!dead || is_alive(dead, now, epoch))
		return 0;
	ended = dead->expires_ns;
	if (ended == CLAIMED ||
	    __sync_val_compare_and_swap(&dead->expires_ns, ended, CLAIMED) !=
		    ended)
		return 0;
	return !bpf_map_delete_elem(&ct_fresh, key);
}

/* Take the endpoints that ct_scratch.nat_* name now: enum claim. */
__noinline int nat_claim(__u32 from)
{
	struct ct_scratch *s = scratch();
	__u32 epoch, fresh;
	long error;

	if (!s)
		return CLAIM_FULL;
	epoch = s->value.epoch;
	s->key = s->plain;
	replace_end(s, from);
	if (find(&s->key, s->now, epoch, &fresh))
		return CLAIM_TAKEN;
	key_directed(&s->key, !s->from);
	if (find(&s->key, s->now, epoch, &fresh))
		return CLAIM_TAKEN;
	error = bpf_map_update_elem(&ct_fresh, &s->key, &s->alias_value,
				    BPF_NOEXIST);
	if (error == -EEXIST && clear_dead(&s->key, s->now, epoch))
		error = bpf_map_update_elem(&ct_fresh, &s->key, &s->alias_value,
					    BPF_NOEXIST);
	if (!error)
		return CLAIM_DONE;
	return error == -EEXIST ? CLAIM_TAKEN : CLAIM_FULL;
}

static long try_port(__u32 i, void *arg)
{
	struct ct_scratch *s = scratch();
	struct nat_search *t;
	__u32 range;

	(void)i;
	(void)arg;
	if (!s)
		return 1;
	t = &s->search;
	range = t->max - t->min + 1;
	if (!t->left) {
		t->port = t->min + bpf_get_prandom_u32() % range;
		t->left = range > TRIES ? RUN : TRIES;
	}
	t->left--;
	s->nat_port[t->which & 1] = t->port;
	t->port = t->port >= t->max ? t->min : t->port + 1;
	t->result = nat_claim(t->from);
	return t->result != CLAIM_TAKEN;
}

/* Any port of a range, from a random one on. */
static __always_inline void search_range(struct nat_search *t, __u32 min,
					 __u32 max)
{
	t->min = min;
	t->max = max;
	t->left = 0;
	bpf_loop(TRIES, try_port, NULL, 0);
}

/* The port as it is, or else any of its class. */
static __always_inline void search_class(struct nat_search *t, __u32 port,
					 __u32 is_port)
{
	t->min = is_port ? PRIVILEGED : 0;
	t->max = 0xffff;
	if (is_port && port < RESERVED) {
		t->min = 1;
		t->max = RESERVED - 1;
	} else if (is_port && port < PRIVILEGED) {
		t->min = RESERVED_END;
		t->max = PRIVILEGED - 1;
	}
	t->port = port;
	t->left = 1;
	bpf_loop(TRIES + 1, try_port, NULL, 0);
}

static __always_inline void search(struct ct_scratch *s, __u32 flags,
				   __u32 range)
{
	struct nat_search *t = &s->search;
	__u32 has = has_ports(s->plain.proto);

	t->from = s->from;
	t->which = 0;
	t->result = CLAIM_TAKEN;
	if (!has && !is_icmp(s->plain.family, s->plain.proto)) {
		t->result = nat_claim(t->from);
		return;
	}
	if (has && range && flags & CT_F_DNAT) {
		t->which = 1;
		search_range(t, range >> 16, range & 0xffff);
		if (t->result != CLAIM_TAKEN)
			return;
		t->which = 0;
	}
	if (has && range && flags & CT_F_SNAT)
		search_range(t, range >> 16, range & 0xffff);
	else
		search_class(t, s->nat_port[0], has);
}

/* What stays of the packet, in the alias, and what replaces it. */
static __always_inline void set_ends(struct machine *m, struct ct_scratch *s,
				     __u32 flags)
{
	struct conn *alias = &s->alias_value;
	__u32 from = s->from;

	__builtin_memset(alias, 0, sizeof(*alias));
	s->nat_flags = flags & CT_F_DNAT ? CONN_DNAT : CONN_SNAT;
	alias->expires_ns = s->value.expires_ns;
	alias->epoch = s->value.epoch;
	alias->flags = CONN_ALIAS | s->nat_flags;
	/* Of ICMP the identifier and the type, whoever opens. */
	if (is_icmp(s->key.family, s->key.proto))
		from = 0;
	s->nat_port[0] = alias->nat_port[0] = s->key.port[from & 1];
	s->nat_port[1] = alias->nat_port[1] = s->key.port[~from & 1];
	if (flags & CT_F_DNAT)
		from = !from;
	for (int i = 0; i < 4; i++) {
		alias->nat_ip[i] = from ? s->key.addr1[i] : s->key.addr0[i];
		s->nat_ip[i] = flags & (CT_F_SNAT | CT_F_DNAT) ?
				       m->w[T_NAT_IP0 + i] :
				       alias->nat_ip[i];
	}
}

__noinline int nat_open(__u32 flags)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	struct ct_zone *known_zone;
	__u32 zone;

	if (!m || !s)
		return -DROP_NO_STATE;
	zone = s->key.zone;
	known_zone = bpf_map_lookup_elem(&ct_zones, &zone);
	if (!known_zone)
		return -DROP_NO_STATE;
	if (!known_zone->natted)
		known_zone->natted = 1;
	set_ends(m, s, flags);
	s->plain = s->key;
	search(s, flags, m->w[T_NAT_PORTS]);
	if (s->search.result != CLAIM_DONE)
		return s->search.result == CLAIM_FULL ? -DROP_CT_FULL :
							-DROP_NAT_EXHAUSTED;
	s->alias = s->key;
	s->key = s->plain;
	s->from = s->search.from;
	s->reply = 0;
	key_directed(&s->key, s->from);
	s->value.flags |= s->nat_flags;
	for (int i = 0; i < 4; i++)
		s->value.nat_ip[i] = s->nat_ip[i];
	s->value.nat_port[0] = s->nat_port[0];
	s->value.nat_port[1] = s->nat_port[1];
	if (bpf_map_update_elem(&ct_fresh, &s->key, &s->value, BPF_ANY)) {
		bpf_map_delete_elem(&ct_fresh, &s->alias);
		return -DROP_CT_FULL;
	}
	return nat_translate();
}

__noinline int nat_extend(__u32 opens)
{
	struct ct_scratch *s = scratch();
	struct conn *alias;

	if (!s)
		return -DROP_NO_STATE;
	nat_alias();
	/* Where it is in both, it is on its way to the first. */
	alias = bpf_map_lookup_elem(&ct_conns, &s->alias);
	if (alias)
		alias->expires_ns = s->expires_ns;
	alias = bpf_map_lookup_elem(&ct_fresh, &s->alias);
	if (alias)
		alias->expires_ns = s->expires_ns;
	if (opens) {
		s->key = s->plain;
		s->from = s->plain_from;
	}
	return 0;
}

/*
 * The alias first: a connection among the established ones always has one. As
 * in ct_promote(), a place that is taken or missing means: later.
 */
__noinline int nat_promote(void)
{
	struct ct_scratch *s = scratch();
	struct conn *conn, *alias;

	if (!s)
		return -DROP_NO_STATE;
	nat_alias();
	alias = bpf_map_lookup_elem(&ct_fresh, &s->alias);
	if (!alias ||
	    bpf_map_update_elem(&ct_conns, &s->alias, alias, BPF_NOEXIST))
		return 0;
	conn = bpf_map_lookup_elem(&ct_fresh, &s->key);
	if (!conn ||
	    bpf_map_update_elem(&ct_conns, &s->key, conn, BPF_NOEXIST)) {
		bpf_map_delete_elem(&ct_conns, &s->alias);
		return 0;
	}
	bpf_map_delete_elem(&ct_fresh, &s->alias);
	bpf_map_delete_elem(&ct_fresh, &s->key);
	return 0;
}
