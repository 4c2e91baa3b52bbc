/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Entries of the two tables of connections. */
#pragma once

#include "iomodules/conntrack/conntrack_maps.h"

#define CONN_NAT (CONN_SNAT | CONN_DNAT)

static __always_inline int is_alive(const struct conn *conn, __u64 now,
				    __u32 epoch)
{
	return conn->expires_ns > now && conn->epoch == epoch;
}

/* The live entry of a key, or NULL; whether it is in ct_fresh. */
static __always_inline struct conn *find(const struct conn_key *key, __u64 now,
					 __u32 epoch, __u32 *fresh)
{
	struct conn *conn = bpf_map_lookup_elem(&ct_conns, key);

	*fresh = 0;
	if (conn && is_alive(conn, now, epoch))
		return conn;
	*fresh = 1;
	conn = bpf_map_lookup_elem(&ct_fresh, key);
	return conn && is_alive(conn, now, epoch) ? conn : NULL;
}

/*
 * The coarse clock moves with the tick: between two ticks the last reading
 * holds. Comparing the tick costs a load, reading the clock 40 ns (measured
 * with return thunks, as every kernel function that is called).
 */
static __always_inline __u64 coarse_now(struct ct_scratch *s)
{
	__u64 jiffies = bpf_jiffies64();

	if (s->jiffies != jiffies) {
		s->now = bpf_ktime_get_coarse_ns();
		s->jiffies = jiffies;
	}
	return s->now;
}
