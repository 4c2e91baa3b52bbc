// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Who has which address. An address has one entry, made when it is first looked
 * at closely and then only changed under its lock: of two packets on two CPUs
 * that want it, one gets it. Time alone makes an address free again; the entry goes on
 * telling whose it was, so that a client that comes back gets its own.
 *
 * A free address is found from where the last one was found on, so that one that
 * has become free rests for as long as possible. Each 64 addresses (a group) have a
 * hint: no address of them becomes free before that time; and so has the whole
 * pool. A search looks at groups that are full once, and again when the first of
 * their leases has expired, or one was given back: a client of a /16 with one free
 * address costs its 1,024 hints, and a pool that is full one comparison.
 */
#include "iomodules/dhcp/parts.h"

#define MAX_PROBES 2048 /* addresses and hints of one search */
#define NEVER (~0ULL)

struct search {
	struct dhcp_scratch *s;
	const struct dhcp_pool *pool;
};

static __always_inline int is_same(const struct dhcp_lease *lease,
				   const struct dhcp_client *client)
{
	const __u64 *a = (const __u64 *)&lease->pool;
	const __u64 *b = (const __u64 *)client;
	__u64 differ = 0;

	for (__u32 i = 0; i < sizeof(*client) / 8; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

/* A client as it lies in a lease, or by itself. */
static __always_inline void copy_client(void *to, const void *from)
{
	for (__u32 i = 0; i < sizeof(struct dhcp_client) / 8; i++)
		((__u64 *)to)[i] = ((const __u64 *)from)[i];
}

/* The entry of an address, made if there is none; none if there is no room. */
static __always_inline struct dhcp_slot *slot_at(struct dhcp_scratch *s,
						 __u32 ip)
{
	struct dhcp_addr key = {.pool = s->pool, .ip = ip};
	struct dhcp_slot *slot = bpf_map_lookup_elem(&dhcp_leases, &key);
	struct dhcp_slot blank = {};

	if (slot)
		return slot;
	bpf_map_update_elem(&dhcp_leases, &key, &blank, BPF_NOEXIST);
	return bpf_map_lookup_elem(&dhcp_leases, &key);
}

/* A client has lost an address: what leads there goes, unless it has another. */
static __always_inline void forget_client(const struct dhcp_client *client,
					  __u32 ip)
{
	__u32 *last = bpf_map_lookup_elem(&dhcp_clients, client);

	if (last && *last == ip)
		bpf_map_delete_elem(&dhcp_clients, client);
}

/* An address is, or will be, free before its time: no hint may hide it. */
static __always_inline void note_freed(struct dhcp_scratch *s, __u32 ip)
{
	struct dhcp_addr key = {.pool = s->pool, .ip = ip >> DHCP_GROUP_BITS};
	struct dhcp_group *group = bpf_map_lookup_elem(&dhcp_groups, &key);
	struct dhcp_group fresh = {.freed = 1};
	struct dhcp_hunt *hunt = bpf_map_lookup_elem(&dhcp_hunts, &s->pool);

	if (!group) {
		if (bpf_map_update_elem(&dhcp_groups, &key, &fresh,
					BPF_NOEXIST))
			group = bpf_map_lookup_elem(&dhcp_groups, &key);
	}
	if (group) {
		__sync_fetch_and_add(&group->freed, 1);
		group->until_ns = 0;
	}
	if (hunt)
		__sync_fetch_and_add(&hunt->freed, 1);
}

__noinline int dhcp_take(__u32 ip, __u32 state, __u32 seconds)
{
	struct dhcp_scratch *s = dhcp_message();
	struct dhcp_slot *slot;
	struct dhcp_lease *lease;
	__u64 until;
	int is_own, is_free, in_force, is_shorter = 0;

	if (!s)
		return 1;
	slot = slot_at(s, ip);
	if (!slot)
		return 1;
	until = s->now + seconds * SECOND_NS;
	lease = &slot->lease;
	bpf_spin_lock(&slot->lock);
	is_own = is_same(lease, &s->client);
	is_free = lease->expires_ns <= s->now;
	in_force = is_own && !is_free && lease->state == DHCP_BOUND;
	if ((is_own || is_free) && !(in_force && state == DHCP_OFFERED)) {
		is_shorter = until < lease->expires_ns;
		copy_client(&s->before, &lease->pool);
		copy_client(&lease->pool, &s->client);
		lease->expires_ns = until;
		lease->state = state;
		lease->mac_hi = s->mac_hi;
		lease->mac_lo = s->mac_lo;
	}
	bpf_spin_unlock(&slot->lock);
	if (!is_own && !is_free)
		return 1;
	if (is_shorter)
		note_freed(s, ip);
	if (!is_own)
		forget_client(&s->before, ip);
	bpf_map_update_elem(&dhcp_clients, &s->client, &ip, BPF_ANY);
	return 0;
}

__noinline int dhcp_give_back(__u32 ip, __u32 state, __u32 seconds, __u32 only)
{
	struct dhcp_scratch *s = dhcp_message();
	struct dhcp_client nobody = {};
	struct dhcp_addr key = {.ip = ip};
	struct dhcp_slot *slot;
	struct dhcp_lease *lease;
	__u64 until;
	int is_own;

	if (!s)
		return 1;
	key.pool = s->pool;
	slot = bpf_map_lookup_elem(&dhcp_leases, &key);
	if (!slot)
		return 1;
	until = s->now + seconds * SECOND_NS;
	lease = &slot->lease;
	bpf_spin_lock(&slot->lock);
	is_own = is_same(lease, &s->client) &&
		 (only == DHCP_FREE || lease->state == only);
	if (is_own) {
		lease->state = state;
		lease->expires_ns = until;
		if (state == DHCP_DECLINED)
			copy_client(&lease->pool, &nobody);
	}
	bpf_spin_unlock(&slot->lock);
	if (!is_own)
		return 1;
	note_freed(s, ip);
	if (state == DHCP_DECLINED)
		forget_client(&s->client, ip);
	return 0;
}

__noinline int dhcp_holder(__u32 ip)
{
	struct dhcp_scratch *s = dhcp_message();
	struct dhcp_addr key = {.ip = ip};
	struct dhcp_slot *slot;
	int is_own, is_free;

	if (!s)
		return HOLDER_OTHER;
	key.pool = s->pool;
	slot = bpf_map_lookup_elem(&dhcp_leases, &key);
	if (!slot)
		return HOLDER_NOBODY;
	bpf_spin_lock(&slot->lock);
	is_own = is_same(&slot->lease, &s->client);
	is_free = slot->lease.expires_ns <= s->now;
	bpf_spin_unlock(&slot->lock);
	if (is_own)
		return HOLDER_CLIENT;
	return is_free ? HOLDER_NOBODY : HOLDER_OTHER;
}

__noinline int dhcp_may_have(__u32 ip)
{
	struct dhcp_scratch *s = dhcp_message();
	struct dhcp_addr key = {.ip = ip};
	struct dhcp_pool *pool;
	struct dhcp_host *host;

	if (!s)
		return 0;
	key.pool = s->pool;
	pool = bpf_map_lookup_elem(&dhcp_pools, &s->pool);
	if (!pool)
		return 0;
	host = bpf_map_lookup_elem(&dhcp_fixed, &key);
	if (host)
		return host->mac_hi == s->mac_hi && host->mac_lo == s->mac_lo;
	return ip >= pool->first && ip <= pool->last;
}

/* Whether anybody may have an address now; if not for a time, note until when. */
static __always_inline int is_free(struct search *search, __u32 ip)
{
	struct dhcp_scratch *s = search->s;
	struct dhcp_addr key = {.pool = s->pool, .ip = ip};
	struct dhcp_slot *slot;
	__u64 expires;

	if (ip < search->pool->first || ip > search->pool->last)
		return 0;
	slot = bpf_map_lookup_elem(&dhcp_leases, &key);
	expires = slot ? slot->lease.expires_ns : 0;
	if (expires <= s->now)
		return !bpf_map_lookup_elem(&dhcp_fixed, &key);
	if (expires < s->group_until)
		s->group_until = expires;
	return 0;
}

/* Begin with a group, or pass over it: what its hint says holds still. */
static __always_inline void enter_group(struct search *search)
{
	struct dhcp_scratch *s = search->s;
	struct dhcp_addr key = {.pool = s->pool, .ip = s->group};
	struct dhcp_group *group = bpf_map_lookup_elem(&dhcp_groups, &key);

	s->freed = group ? group->freed : 0;
	if (group && group->epoch == s->epoch && group->until_ns > s->now) {
		if (group->until_ns < s->until)
			s->until = group->until_ns;
		s->probe = DHCP_GROUP;
		return;
	}
	s->group_until = NEVER;
	s->probe = 0;
}

/* Nothing is free in a group: say so, unless something was given back meanwhile. */
static __always_inline void leave_group(struct search *search)
{
	struct dhcp_scratch *s = search->s;
	struct dhcp_addr key = {.pool = s->pool, .ip = s->group};
	struct dhcp_group *group = bpf_map_lookup_elem(&dhcp_groups, &key);
	struct dhcp_group fresh = {
		.until_ns = s->group_until,
		.epoch = s->epoch,
	};

	if (s->group_until < s->until)
		s->until = s->group_until;
	if (!group) {
		bpf_map_update_elem(&dhcp_groups, &key, &fresh, BPF_NOEXIST);
		return;
	}
	group->epoch = fresh.epoch;
	group->until_ns = fresh.until_ns;
	/* The atomic operation keeps the order of what is before and behind. */
	if (__sync_fetch_and_add(&group->freed, 0) != s->freed)
		group->until_ns = 0;
}

static long probe(__u32 i, void *arg)
{
	struct search *search = arg;
	struct dhcp_scratch *s = search->s;
	__u32 ip;

	(void)i;
	if (s->probe >= DHCP_GROUP) {
		if (!s->groups_left)
			return 1;
		s->groups_left--;
		s->group++;
		if (s->group > search->pool->last >> DHCP_GROUP_BITS)
			s->group = search->pool->first >> DHCP_GROUP_BITS;
		enter_group(search);
		return 0;
	}
	ip = s->group << DHCP_GROUP_BITS |
	     ((s->start + s->probe) & (DHCP_GROUP - 1));
	s->probe++;
	if (is_free(search, ip)) {
		s->found = ip;
		return 1;
	}
	if (s->probe == DHCP_GROUP)
		leave_group(search);
	return 0;
}

__noinline __u32 dhcp_find(void)
{
	struct dhcp_scratch *s = dhcp_message();
	struct search search = {.s = s};
	struct dhcp_hunt *hunt;
	struct dhcp_pool *pool;
	__u32 start, freed;

	if (!s)
		return 0;
	pool = bpf_map_lookup_elem(&dhcp_pools, &s->pool);
	hunt = bpf_map_lookup_elem(&dhcp_hunts, &s->pool);
	if (!pool || !hunt)
		return 0;
	search.pool = pool;
	s->epoch = pool->epoch;
	freed = __sync_fetch_and_add(&hunt->freed, 0);
	if (hunt->until_ns > s->now && hunt->epoch == s->epoch &&
	    hunt->full_freed == freed)
		return 0;
	start = hunt->next;
	if (start < pool->first || start > pool->last)
		start = pool->first;
	s->start = start;
	s->group = (start >> DHCP_GROUP_BITS) - 1;
	s->groups_left = (pool->last >> DHCP_GROUP_BITS) -
			 (pool->first >> DHCP_GROUP_BITS) + 1;
	s->probe = DHCP_GROUP;
	s->found = 0;
	s->until = NEVER;
	bpf_loop(MAX_PROBES, probe, &search, 0);
	if (s->found) {
		hunt->next = s->found + 1;
		return s->found;
	}
	if (s->groups_left || s->probe < DHCP_GROUP) {
		/* Not all were looked at: go on from here the next time. */
		hunt->next = s->group << DHCP_GROUP_BITS;
		return 0;
	}
	hunt->epoch = s->epoch;
	hunt->full_freed = freed;
	hunt->until_ns = s->until;
	return 0;
}
