// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A hash of the packet chooses a backend, or one of several routes: the choice costs
 * the same for any number of them, and all CPUs make the same one. Each datapath
 * hashes in its own way: routers in a row would all choose alike otherwise.
 */
#include "iomodules/loadbalancer/loadbalancer.h"
#include "lib/machine.h"

static __always_inline __u64 mix(__u64 hash, __u64 value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

static __always_inline __u64 mix_address(const struct machine *m, __u64 hash,
					 __u32 ip4, __u32 ip6)
{
	if (m->w[W_CLASS] & CLASS_IP4)
		return mix(hash, m->w[ip4]);
	hash = mix(hash, m->w[ip6] | (__u64)m->w[ip6 + 1] << 32);
	return mix(hash, m->w[ip6 + 2] | (__u64)m->w[ip6 + 3] << 32);
}

__noinline __u32 lb_hash(__u32 fields)
{
	struct machine *m = machine();
	__u32 l4 = 0;
	__u64 hash;

	if (!m)
		return 0;
	hash = mix(fields | (__u64)m->w[W_DATAPATH] << 32,
		   fields & LB_F_PROTO ? m->w[W_IP_META] >> 24 : 0);
	if (fields & LB_F_L4_SRC)
		l4 |= m->w[W_L4] & 0xffff0000;
	if (fields & LB_F_L4_DST)
		l4 |= m->w[W_L4] & 0xffff;
	hash = mix(hash, l4);
	if (fields & LB_F_IP_SRC)
		hash = mix_address(m, hash, W_IP4_SRC, W_IP6_SRC0);
	if (fields & LB_F_IP_DST)
		hash = mix_address(m, hash, W_IP4_DST, W_IP6_DST0);
	if (fields & LB_F_ETH_SRC)
		hash = mix(hash, m->w[W_ETH_SRC_LO] |
					 (m->w[W_ETH_HI] & 0xffffULL) << 32);
	if (fields & LB_F_ETH_DST)
		hash = mix(hash,
			   m->w[W_ETH_DST_LO] | (m->w[W_ETH_HI] & 0xffff0000ULL)
							<< 16);
	/* The upper bits of a product are the mixed ones. */
	return mix(hash, 0) >> 32;
}
