/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once

#include "lib/machine.h"

/*
 * Key: zone and both endpoints, one for both directions. Value: state of a
 * connection that both ends take part in. Entries come only from ct_fresh
 * (ct_promote()), are refreshed by packets, and leave only by the agent's
 * collector, some time after they have expired: an expired entry is never
 * revived. Read by the agent (show, collector). The size is nf_conntrack's default
 * on machines of more than 4 GB, and takes 48 MB; the agent may set
 * another. When full, connections stay in ct_fresh and work from there.
 */
struct ct_conns_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 18);
	__type(key, struct conn_key);
	__type(value, struct conn);
};
extern struct ct_conns_map ct_conns SEC(".maps");

/*
 * A connection with NAT takes two entries, under keys that tell who sends
 * (key_directed()): one as its originator sends, with its state; one, the alias, as
 * its responder answers, which leads to the first. They are made, moved and
 * extended together.
 *
 * As ct_conns, for connections that have not shown traffic both ways yet: what
 * a flood of first packets can fill. Written by ct_commit, refreshed by packets,
 * read by the agent. Holds a second of 100,000 new connections/s, 24 MB.
 * When full, the least recently used entry makes room: a flood pushes out half
 * open connections, which are sent again, never established ones.
 */
struct ct_fresh_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 17);
	__type(key, struct conn_key);
	__type(value, struct conn);
};
extern struct ct_fresh_map ct_fresh SEC(".maps");

/*
 * Key: zone. Value: how often it was flushed. Entries of an earlier epoch count
 * as absent, so a flush is one write whatever the zone holds. Written by the
 * agent, and by the first packet that opens a connection with NAT, without which
 * nobody looks for one. One per possible zone.
 */
struct ct_zones_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct ct_zone);
};
extern struct ct_zones_map ct_zones SEC(".maps");

/*
 * Key: zone and datagram. Value: what the first fragment said, for the later
 * ones. Written and read by packets. Holds the fragmented datagrams of 30 s
 * (ids repeat after 65,536 at the latest); when full, the oldest makes room and
 * what is missing of its datagram is dropped.
 */
struct ct_frags_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, struct frag_key);
	__type(value, struct frag);
};
extern struct ct_frags_map ct_frags SEC(".maps");

/* Where a search for a port stands (nat.bpf.c). */
struct nat_search {
	__u32 from; /* the endpoint of ct_scratch.plain that opens */
	__u32 which; /* of nat_port[]: 0 source or identifier, 1 destination */
	__u32 port; /* next one */
	__u32 min;
	__u32 max;
	__u32 left; /* before a jump */
	__u32 result; /* enum claim */
};

/*
 * What the functions of this module pass each other about a packet, and what
 * would take too much stack: keys must lie in a map or on the stack (6.1).
 */
struct ct_scratch {
	/* connection of the packet at hand; aligned to be written by words */
	struct conn_key key __attribute__((aligned(8)));
	struct conn_key seen; /* of the last packet that had an entry; zone 0
			       * with family 0: none */
	struct conn value; /* entry to insert */
	__u64 jiffies; /* tick at which the clock was read last */
	__u64 now; /* what it said */
	struct frag_key frag_key;
	struct frag frag;
	struct conn_key plain; /* NAT: of the packet, as it is */
	struct conn_key alias; /* NAT: of the other entry */
	struct conn alias_value;
	struct nat_search search;
	__u32 nat_ip[4]; /* NAT: as in the connection */
	__u16 nat_port[2];
	__u32 nat_flags; /* as conn.flags */
	__u32 plain_from; /* NAT: from of plain */
	__u32 reply; /* NAT: sent by the responder */
	__u64 expires_ns; /* NAT: end of the connection */
	__u32 from; /* endpoint of the key that sends: 0 or 1 */
	__u32 related; /* the key is that of a packet quoted in an error */
	__u32 at; /* loop state: in memory the verifier takes it for unknown */
	__u32 next;
	/* of a TCP segment */
	__u32 seq;
	__u32 ack;
	__u32 len; /* payload, bytes */
	__u32 win;
	__u32 flags;
	__u32 wscale; /* as struct conn; 0 without the option */
	__u8 header[64];
};

struct ct_scratch_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ct_scratch);
};
extern struct ct_scratch_map ct_scratch SEC(".maps");

static __always_inline struct ct_scratch *scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ct_scratch, &zero);
}
