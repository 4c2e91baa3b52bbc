// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * OVN keeps two flow tables for this, one for getting and one for looking up,
 * each with a flow per MAC_Binding row (priority 100) and per
 * Static_MAC_Binding row (150 if it overrides, else 50). Here both rows of an
 * address share one entry.
 */
#include "iomodules/neighbour/neighbour.h"
#include "iomodules/neighbour/neighbour_maps.h"

static __always_inline void read_key(const struct machine *m,
				     struct neigh_key *key)
{
	key->dp = m->w[W_DATAPATH];
	key->port = m->w[T_PORT];
	key->ip[0] = m->w[T_IP0];
	key->ip[1] = m->w[T_IP1];
	key->ip[2] = m->w[T_IP2];
	key->ip[3] = m->w[T_IP3];
}

/* A clock read costs as much as the lookup: once a second is often enough. */
static __always_inline void touch(struct neigh *neigh)
{
	__u64 now = bpf_ktime_get_coarse_ns();

	if (now - neigh->used_ns >= SECOND_NS)
		neigh->used_ns = now;
}

/* The neighbour itself has said so; nothing else is proof that it lives. */
static __always_inline void confirm(struct neigh *neigh)
{
	__u64 now = bpf_ktime_get_coarse_ns();

	if (now - neigh->confirmed_ns >= SECOND_NS) {
		neigh->used_ns = now;
		neigh->confirmed_ns = now;
	}
}

static __always_inline int has_mac(__u32 hi, __u32 lo)
{
	return (hi | lo) != 0;
}

static __always_inline int tell(const struct machine *m,
				const struct neigh_key *key)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return -1;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = EVENT_NEIGHBOUR;
	event->dp = key->dp;
	event->port = key->port;
	event->ip[0] = key->ip[0];
	event->ip[1] = key->ip[1];
	event->ip[2] = key->ip[2];
	event->ip[3] = key->ip[3];
	event->mac_hi = m->w[T_MAC_HI];
	event->mac_lo = m->w[T_MAC_LO];
	bpf_ringbuf_submit(event, 0);
	return 0;
}

__noinline int neigh_get(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct neigh_key key = {};
	__u32 hi = 0, lo = 0;
	struct neigh *neigh;

	(void)skb; /* the state says it all */
	if (!m)
		return -DROP_NO_STATE;
	read_key(m, &key);
	neigh = bpf_map_lookup_elem(&neighbours, &key);
	if (neigh) {
		hi = neigh->mac_hi;
		lo = neigh->mac_lo;
		if (has_mac(neigh->static_hi, neigh->static_lo) &&
		    (neigh->overrides || !has_mac(hi, lo))) {
			hi = neigh->static_hi;
			lo = neigh->static_lo;
		}
		touch(neigh);
	}
	m->w[W_ETH_HI] = hi << 16 | (m->w[W_ETH_HI] & 0xffff);
	m->w[W_ETH_DST_LO] = lo;
	return 0;
}

__noinline int neigh_put(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct neigh_key key = {};
	struct neigh fresh = {};
	struct neigh *neigh;

	(void)skb; /* the state says it all */
	if (!m)
		return -DROP_NO_STATE;
	read_key(m, &key);
	neigh = bpf_map_lookup_elem(&neighbours, &key);
	if (neigh) {
		if (neigh->mac_hi == m->w[T_MAC_HI] &&
		    neigh->mac_lo == m->w[T_MAC_LO] && !neigh->untold) {
			confirm(neigh);
			return 0;
		}
		fresh = *neigh; /* the configured address stays */
	}
	fresh.mac_hi = m->w[T_MAC_HI];
	fresh.mac_lo = m->w[T_MAC_LO];
	fresh.used_ns = bpf_ktime_get_coarse_ns();
	fresh.confirmed_ns = fresh.used_ns;
	fresh.untold = tell(m, &key) ? 1 : 0;
	/*
	 * The whole entry at once, so that no reader sees half an address. A
	 * full map is no reason to drop the packet that taught us.
	 */
	return !bpf_map_update_elem(&neighbours, &key, &fresh, BPF_ANY);
}

__noinline int neigh_lookup(struct __sk_buff *skb, __u32 check_mac)
{
	struct machine *m = machine();
	struct neigh_key key = {};
	struct neigh *neigh;
	__u32 hi, lo;

	(void)skb; /* the state says it all */
	if (!m)
		return -DROP_NO_STATE;
	read_key(m, &key);
	hi = m->w[T_MAC_HI];
	lo = m->w[T_MAC_LO];
	m->w[T_RESULT] = 0;
	neigh = bpf_map_lookup_elem(&neighbours, &key);
	if (!neigh)
		return 0;
	if (!check_mac) {
		m->w[T_RESULT] = has_mac(neigh->mac_hi, neigh->mac_lo) ||
				 has_mac(neigh->static_hi, neigh->static_lo);
		return 0;
	}
	/* Either row matches in OVN, whichever of them counts for getting. */
	m->w[T_RESULT] = has_mac(hi, lo) &&
			 ((neigh->mac_hi == hi && neigh->mac_lo == lo) ||
			  (neigh->static_hi == hi && neigh->static_lo == lo));
	if (neigh->untold)
		m->w[T_RESULT] = 0; /* so that the flows put it again */
	else if (m->w[T_RESULT])
		confirm(neigh);
	return 0;
}
