// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Which backend a client had: what ovn-controller keeps in learned flows. */
#include "iomodules/loadbalancer/loadbalancer.h"
#include "iomodules/loadbalancer/loadbalancer_maps.h"

struct lb_affinity_map lb_affinity SEC(".maps");

/* The client and the datapath; 0 if there is none. */
static __always_inline int fill_key(const struct machine *m,
				    struct affinity_key *key)
{
	__u32 index = m->w[W_DATAPATH];
	struct dp *dp = bpf_map_lookup_elem(&dps, &index);

	if (!dp)
		return 0;
	key->dp = dp->key;
	if (m->w[W_CLASS] & CLASS_IP4) {
		key->client[3] = m->w[W_IP4_SRC];
		return 1;
	}
	for (int i = 0; i < 4; i++)
		key->client[i] = m->w[W_IP6_SRC0 + i];
	return 1;
}

static __always_inline struct affinity *
find_live(const struct affinity_key *key, __u64 now)
{
	struct affinity *found = bpf_map_lookup_elem(&lb_affinity, key);

	return found && found->used_ns + found->timeout_s * SECOND_NS > now ?
		       found :
		       NULL;
}

__noinline int affinity_get(__u32 ip4, __u32 ip6, __u32 port)
{
	struct machine *m = machine();
	struct affinity_key key = {};
	struct affinity *found;
	__u64 now;

	if (!m || !fill_key(m, &key))
		return 0;
	if (m->w[W_CLASS] & CLASS_IP4)
		key.vip[3] = m->w[W_IP4_DST];
	else
		for (int i = 0; i < 4; i++)
			key.vip[i] = m->w[W_IP6_DST0 + i];
	key.proto = m->w[W_IP_META] >> 24;
	key.port = m->w[W_L4] & 0xffff;
	now = bpf_ktime_get_coarse_ns();
	found = find_live(&key, now);
	if (!found) {
		key.proto = 0;
		key.port = 0;
		found = find_live(&key, now);
	}
	if (!found)
		return 0;
	found->used_ns = now;
	if (m->w[W_CLASS] & CLASS_IP4)
		m->w[ip4 & 63] = found->ip[3];
	else
		for (int i = 0; i < 4; i++)
			m->w[(ip6 + i) & 63] = found->ip[i];
	if (found->port)
		m->w[port & 63] = (m->w[port & 63] & 0xffff0000) | found->port;
	return 1;
}

__noinline int affinity_put(__u32 proto, __u32 timeout_s)
{
	struct machine *m = machine();
	struct affinity_key key = {};
	struct affinity value = {};

	if (!m || !fill_key(m, &key))
		return -DROP_NO_STATE;
	key.proto = proto;
	key.port = proto ? m->w[T_NAT_PORTS] >> 16 : 0;
	for (int i = 0; i < 4; i++) {
		key.vip[i] = m->w[T_IP0 + i];
		value.ip[i] = m->w[T_NAT_IP0 + i];
	}
	value.port = m->w[T_NAT_PORTS] & 0xffff;
	value.timeout_s = timeout_s;
	value.used_ns = bpf_ktime_get_coarse_ns();
	/* LRU: fails only while another CPU takes the last free entry. */
	bpf_map_update_elem(&lb_affinity, &key, &value, BPF_ANY);
	return 0;
}
