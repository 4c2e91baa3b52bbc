/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once

#include "lib/machine.h"

#define DHCP_MESSAGE_BYTES 2048 /* of a message, that are looked at */
#define DHCP_MESSAGE_MASK (DHCP_MESSAGE_BYTES - 1)
#define DHCP_GROUP_BITS 6
#define DHCP_GROUP (1 << DHCP_GROUP_BITS) /* addresses that share a hint */

/*
 * Key: number of the pool, as dhcp_server{} names it. Value: its settings.
 * Written by the agent, read by packets. One for each possible number.
 */
struct dhcp_pools_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_DHCP_POOLS);
	__type(key, __u32);
	__type(value, struct dhcp_pool);
};
extern struct dhcp_pools_map dhcp_pools SEC(".maps");

/*
 * Key: pool, MAC address. Value: the address that is reserved for it. Written by
 * the agent, read by packets. The size is that of 16 for each pool. When full, the
 * agent refuses the settings.
 */
struct dhcp_hosts_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16 * MAX_DHCP_POOLS);
	__type(key, struct dhcp_host);
	__type(value, __u32);
};
extern struct dhcp_hosts_map dhcp_hosts SEC(".maps");

/*
 * Key: pool, address. Value: the only host that may have it; a MAC address of 0
 * for none (the server's own address). Written by the agent, read by packets. The
 * size is that of dhcp_hosts and two for each pool. When full, as there.
 */
struct dhcp_fixed_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 18 * MAX_DHCP_POOLS);
	__type(key, struct dhcp_addr);
	__type(value, struct dhcp_host);
};
extern struct dhcp_fixed_map dhcp_fixed SEC(".maps");

/* The lock is held for a few comparisons and writes; no helper is called in it. */
struct dhcp_slot {
	struct bpf_spin_lock lock;
	__u32 pad;
	struct dhcp_lease lease;
};

/*
 * Key: pool, address. Value: who has it, until when. Outlives the agent. Written by
 * packets; by the agent, with the lock (BPF_F_LOCK), for an operator. An entry comes
 * with the first client of an address and stays when the lease ends: it is changed
 * under its lock only, so that two clients never get one address, and it tells whose
 * the address was. The agent deletes those of pools that are gone. The size is that
 * of two /16; when full, addresses that were never given away are not to be had
 * (DROP_DHCP_EXHAUSTED).
 */
struct dhcp_leases_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct dhcp_addr);
	__type(value, struct dhcp_slot);
};
extern struct dhcp_leases_map dhcp_leases SEC(".maps");

/*
 * Key: pool and client. Value: the address it had last; true only if dhcp_leases
 * says so. Outlives the agent. Written and read by packets; the agent deletes with
 * the lease. An address has one client, so there are no more entries than in
 * dhcp_leases, and the size is the same. Should it be full all the same, a client
 * keeps its lease, and gets another address if it asks for any.
 */
struct dhcp_clients_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct dhcp_client);
	__type(value, __u32);
};
extern struct dhcp_clients_map dhcp_clients SEC(".maps");

/*
 * Key: pool, 64 addresses. Value: a hint, which spares the search of those that are
 * all taken. Written and read by packets. The size is that of dhcp_leases and two for
 * each pool; when full, addresses are searched without a hint.
 */
struct dhcp_groups_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct dhcp_addr);
	__type(value, struct dhcp_group);
};
extern struct dhcp_groups_map dhcp_groups SEC(".maps");

/*
 * Key: number of the pool. Value: where to look for a free address next, or that
 * there is none. Written and read by packets. One for each pool.
 */
struct dhcp_hunts_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_DHCP_POOLS);
	__type(key, __u32);
	__type(value, struct dhcp_hunt);
};
extern struct dhcp_hunts_map dhcp_hunts SEC(".maps");

/*
 * A message as the parts of this module pass it on: keys must lie in a map or on
 * the stack (6.1), and loop state in memory is verified once. Numbers are in host
 * order; 0 where an option is not there, unless said otherwise.
 */
struct dhcp_scratch {
	struct dhcp_client client __attribute__((aligned(8))); /* who asks */
	struct dhcp_client before; /* whose its address was; aligned as well */
	__u64 now; /* boot time, ns */
	__u32 pool;
	__u32 size; /* bytes of the message, at most DHCP_MESSAGE_BYTES */
	__u32 mac_hi, mac_lo; /* chaddr */
	__u32 flags, ciaddr, giaddr;
	__u32 reserved; /* address that only this client may have */
	/* options */
	__u32 type;
	__u32 requested;
	__u32 server_id;
	__u32 lease_s; /* what the client will get */
	__u32 max_size;
	__u32 overload;
	__u32 id_at, id_size; /* in the message */
	__u32 relay_at, relay_size;
	/* loop state of reading */
	__u32 at, end, area, malformed;
	/* and of writing: where in the frame the next option goes, bytes left for
	 * those of the pool, and how many of these bytes have been counted in */
	__u32 reply_at, room, counted;
	/* search for a free address */
	__u32 epoch, group, groups_left, probe, start, freed, found;
	__u64 group_until, until;
	__u8 message[DHCP_MESSAGE_BYTES + 256]; /* room for a value behind */
};

/*
 * Key: 0. Value: the message at hand. Written and read within one run on one CPU.
 * Nothing can be full.
 */
struct dhcp_scratch_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dhcp_scratch);
};
extern struct dhcp_scratch_map dhcp_scratch SEC(".maps");

static __always_inline struct dhcp_scratch *dhcp_message(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dhcp_scratch, &zero);
}
