/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Written by tools/gen_abi.py from src/iovisor_ovn/abi: edit those. */
/* clang-format off */
#pragma once

#include <linux/types.h>

#define ABI_VERSION 2
#define EVENT_DATA_SIZE 9216

enum limit {
	MAX_WORDS = 64,
	MAX_TEMPS = 64,
	MAX_SHAPE_WORDS = 39,
	MAX_SLOT_GUARDS = 3,
	MAX_MORE_GUARDS = 64,
	MAX_DIMS = 64,
	MAX_CACHED_DIMS = 48,
	MAX_SLOT_DIMS = 4,
	MAX_STAGES = 128,
	MAX_EGRESS = 64,
	MAX_DATAPATHS = 2048,
	MAX_KINDS = 5,
	MAX_PIPELINES = 10,
	MAX_PORTSEC_IN = 62,
	MAX_PORTSEC_IN_ND = 63,
	MAX_PORTSEC_OUT = 127,
	MAX_WORK_DEPTH = 32,
	MAX_GENERATED = 8,
	MAX_GENERATED_BYTES = 2048,
	MAX_STEPS = 4096,
	MAX_STEP_INSNS = 4,
	MAX_STACK = 16,
	MAX_SET_PRODUCT = 65536,
	MAX_UNSUPPORTED = 128,
	MAX_HOST_TAG = 4096,
	MAX_DHCP_POOLS = 1024,
	MAX_DHCP_OPTIONS = 1024,
	MAX_DHCP_ID = 59,
	MAX_MODULES = 1024,
	MAX_MODULE_PORTS = 64,
	MAX_MODULE_CALLS = 16,
	MAX_PARKED = 1024,
};

enum word {
	W_INPORT = 0,
	W_OUTPORT = 1,
	W_FLAGS = 2,
	W_REG0 = 3,
	W_REG1 = 4,
	W_REG2 = 5,
	W_REG3 = 6,
	W_REG4 = 7,
	W_REG5 = 8,
	W_REG6 = 9,
	W_REG7 = 10,
	W_REG8 = 11,
	W_REG9 = 12,
	W_CT_STATE = 13,
	W_CT_MARK = 14,
	W_CT_LABEL0 = 15,
	W_CT_LABEL1 = 16,
	W_CT_LABEL2 = 17,
	W_CT_LABEL3 = 18,
	W_PKT_MARK = 19,
	W_CT_ZONE = 20,
	W_DNAT_ZONE = 21,
	W_SNAT_ZONE = 22,
	W_DATAPATH = 23,
	W_ETH_HI = 24,
	W_ETH_DST_LO = 25,
	W_ETH_SRC_LO = 26,
	W_ETH_TYPE_TCI = 27,
	W_IP_META = 28,
	W_IP4_SRC = 29,
	W_IP4_DST = 30,
	W_IP6_SRC0 = 31,
	W_IP6_SRC1 = 32,
	W_IP6_SRC2 = 33,
	W_IP6_SRC3 = 34,
	W_IP6_DST0 = 35,
	W_IP6_DST1 = 36,
	W_IP6_DST2 = 37,
	W_IP6_DST3 = 38,
	W_IP6_LABEL = 39,
	W_L4 = 40,
	W_TCP_FLAGS = 41,
	W_ARP_OP = 42,
	W_ARP_SPA = 43,
	W_ARP_TPA = 44,
	W_ARP_HI = 45,
	W_ARP_SHA_LO = 46,
	W_ARP_THA_LO = 47,
	W_ND_TARGET0 = 48,
	W_ND_TARGET1 = 49,
	W_ND_TARGET2 = 50,
	W_ND_TARGET3 = 51,
	W_ND_HI = 52,
	W_ND_SLL_LO = 53,
	W_ND_TLL_LO = 54,
	W_CLASS = 55,
	W_ICMP_MTU = 56,
	W_PIPELINE = 57,
	W_NAT = 58,
	W_ICMP_ID = 59,
};

enum temp {
	T_PORT = 64,
	T_IP0 = 65,
	T_IP1 = 66,
	T_IP2 = 67,
	T_IP3 = 68,
	T_MAC_HI = 69,
	T_MAC_LO = 70,
	T_RESULT = 71,
	T_CT_MARK = 72,
	T_CT_MARK_MASK = 73,
	T_CT_LABEL0 = 74,
	T_CT_LABEL1 = 75,
	T_CT_LABEL2 = 76,
	T_CT_LABEL3 = 77,
	T_CT_LABEL_MASK0 = 78,
	T_CT_LABEL_MASK1 = 79,
	T_CT_LABEL_MASK2 = 80,
	T_CT_LABEL_MASK3 = 81,
	T_POOL = 82,
	T_NAT_PORTS = 83,
	T_SCRATCH0 = 84,
	T_SCRATCH7 = 91,
	T_NAT_IP0 = 92,
	T_NAT_IP1 = 93,
	T_NAT_IP2 = 94,
	T_NAT_IP3 = 95,
};

enum packet_class {
	CLASS_IP4 = 1,
	CLASS_IP6 = 2,
	CLASS_ARP = 4,
	CLASS_RARP = 8,
	CLASS_TCP = 16,
	CLASS_UDP = 32,
	CLASS_SCTP = 64,
	CLASS_ICMP4 = 128,
	CLASS_ICMP6 = 256,
	CLASS_IP = 512,
};

enum packet_kind {
	KIND_OTHER = 0,
	KIND_IP4 = 1,
	KIND_ICMP4 = 2,
	KIND_IP6 = 3,
	KIND_ICMP6 = 4,
};

enum op {
	OP_END = 0,
	OP_LOAD = 1,
	OP_MOVE = 2,
	OP_NEXT = 3,
	OP_CALL = 4,
	OP_FORK = 5,
	OP_OUTPUT = 6,
	OP_DELIVER = 7,
	OP_DEC_TTL = 8,
	OP_PUSH = 9,
	OP_POP = 10,
	OP_UNSUPPORTED = 11,
	OP_GENERATE = 12,
	OP_CHECK_LARGER = 13,
	OP_CT_NEXT = 14,
	OP_CT_COMMIT = 15,
	OP_CT_CLEAR = 16,
	OP_CT_NAT = 17,
	OP_NEIGH_GET = 18,
	OP_NEIGH_PUT = 19,
	OP_NEIGH_LOOKUP = 20,
	OP_FDB_GET = 21,
	OP_FDB_PUT = 22,
	OP_FDB_LOOKUP = 23,
	OP_COUNT = 24,
	OP_PUNT = 25,
	OP_MODULE = 26,
	OP_GEN_ARP = 32,
	OP_GEN_ND_NS = 33,
	OP_GEN_ND_NA = 34,
	OP_GEN_ND_NA_ROUTER = 35,
	OP_GEN_ICMP4 = 36,
	OP_GEN_ICMP4_ERROR = 37,
	OP_GEN_ICMP6 = 38,
	OP_GEN_ICMP6_ERROR = 39,
	OP_GEN_TCP_RESET = 40,
	OP_GEN_SCTP_ABORT = 41,
	OP_GEN_REJECT = 42,
	OP_GEN_DHCP_SERVER = 43,
	OP_CT_LB = 48,
	OP_BACKEND = 49,
	OP_LB_HAIRPIN = 50,
	OP_LB_HAIRPIN_REPLY = 51,
	OP_CT_SNAT_TO_VIP = 52,
	OP_AFFINITY_GET = 53,
	OP_AFFINITY_PUT = 54,
	OP_SELECT = 55,
	OP_SHARE = 56,
};

enum program {
	PROGRAM_DROP = 0,
	PROGRAM_NEXT = 1,
	PROGRAM_FIRST = 16,
};

enum ct_flag {
	CT_F_MARK = 1,
	CT_F_LABEL = 2,
	CT_F_KEEP = 4,
	CT_F_COMMIT = 8,
	CT_F_SNAT = 16,
	CT_F_DNAT = 32,
};

enum lb_field {
	LB_F_ETH_SRC = 1,
	LB_F_ETH_DST = 2,
	LB_F_IP_SRC = 4,
	LB_F_IP_DST = 8,
	LB_F_L4_SRC = 16,
	LB_F_L4_DST = 32,
	LB_F_PROTO = 64,
};

enum nat_bit {
	NAT_QUOTE_SRC = 65536,
	NAT_QUOTE_DST = 131072,
	NAT_QUOTE_L4 = 262144,
	NAT_QUOTE = 458752,
};

enum conn_flag {
	CONN_FROM_1 = 1,
	CONN_SNAT = 2,
	CONN_DNAT = 4,
	CONN_ALIAS = 8,
};

enum guard_kind {
	GUARD_EQUAL = 0,
	GUARD_NOT_EQUAL = 1,
	GUARD_IN_SET = 2,
	GUARD_NOT_IN_SET = 3,
	GUARD_NOT_ALL_EQUAL = 4,
};

enum space {
	SPACE_IP4 = 0,
	SPACE_IP6 = 1,
	SPACE_ETH = 2,
	SPACE_OTHER = 3,
};

enum inject_kind {
	INJECT_OUTPUT = 0,
	INJECT_STAGE = 1,
};

enum port_kind {
	PORT_NONE = 0,
	PORT_VIF = 1,
	PORT_PATCH = 2,
	PORT_MULTICAST = 3,
	PORT_REMOTE = 4,
	PORT_NESTED = 5,
};

enum port_flag {
	PORT_F_PEER = 1,
	PORT_F_LOCALPORT = 2,
	PORT_F_WIRE = 4,
	PORT_F_HOST = 8,
};

enum dp_flag {
	DP_F_ROUTER = 1,
};

enum event_kind {
	EVENT_NEIGHBOUR = 1,
	EVENT_FDB = 2,
	EVENT_HOLD = 3,
	EVENT_PACKET = 4,
};

enum dhcp_state {
	DHCP_FREE = 0,
	DHCP_OFFERED = 1,
	DHCP_BOUND = 2,
	DHCP_DECLINED = 3,
};

enum module_reach {
	REACH_LOGICAL_PORT = 1,
	REACH_COPY = 2,
};

enum replay {
	REPLAY_HIT = 0,
	REPLAY_MISS = 1,
	REPLAY_NONE = 2,
	REPLAY_COUNT = 3,
};

enum drop {
	DROP_NONE = 0,
	DROP_POLICY = 1,
	DROP_NO_FLOW = 2,
	DROP_NO_DATAPATH = 3,
	DROP_UNKNOWN_PORT = 4,
	DROP_LOOPBACK = 5,
	DROP_TTL = 6,
	DROP_UNSUPPORTED = 7,
	DROP_STEP_LIMIT = 8,
	DROP_WORK_FULL = 9,
	DROP_GENERATED_FULL = 10,
	DROP_NESTED_RUN = 11,
	DROP_PARSE = 12,
	DROP_REWRITE = 13,
	DROP_REDIRECT = 14,
	DROP_NO_PORT = 15,
	DROP_REMOTE = 16,
	DROP_GENERATE = 17,
	DROP_CT_FULL = 18,
	DROP_FRAGMENT = 19,
	DROP_SET_LIMIT = 20,
	DROP_STACK = 21,
	DROP_NO_DEVICE = 22,
	DROP_NO_STATE = 23,
	DROP_LOCALPORT = 24,
	DROP_BAD_PROGRAM = 25,
	DROP_DHCP_NO_POOL = 26,
	DROP_DHCP_MALFORMED = 27,
	DROP_DHCP_EXHAUSTED = 28,
	DROP_DHCP_SILENT = 29,
	DROP_NAT_EXHAUSTED = 30,
	DROP_MODULE = 31,
	DROP_MODULE_MISSING = 32,
	DROP_MODULE_VERDICT = 33,
	DROP_MODULE_CALLS = 34,
	DROP_MODULE_COPY = 35,
	DROP_BYPASS = 36,
	DROP_COUNT = 37,
};

/* One instruction of an action program. */
struct insn {
	__u8 op; /* enum op */
	__u8 a; /* operand */
	__u8 b; /* operand */
	__u8 c; /* operand */
	__u32 x; /* operand */
	__u32 y; /* operand */
};
_Static_assert(sizeof(struct insn) == 12, "insn");

/* A test that a slot makes before its lookup. */
struct guard {
	__u8 kind; /* enum guard_kind */
	__u8 word; /* packet word, or dimension for sets */
	__u16 n; /* guards in a NOT_ALL_EQUAL group, this one included */
	__u32 mask; /* bits of the word that count */
	__u32 value; /* what they are compared with, or a set id */
};
_Static_assert(sizeof(struct guard) == 12, "guard");

/* One tuple of a stage: which entries it holds and when to look at them. */
struct slot {
	__u32 uid; /* first word of its entries' keys; shape 0: the program */
	__u32 classes; /* class bits that a packet must have */
	__u64 bloom; /* bits of the values that the key's first word has */
	__u16 max_priority; /* highest priority among its entries */
	__u16 shape; /* index of its shape; 0 = one entry, guards tell all */
	__u8 n_guards; /* guards in guards[] */
	__u8 n_more; /* guards in the guard map from more on */
	__u8 n_dims; /* set ids behind the masked words of the key */
	__u8 pad;
	__u8 dims[4]; /* their dimensions */
	__u32 more; /* first further guard */
	__u8 guard_kind[4]; /* kinds of the guards that the slot itself holds */
	__u8 guard_word[4]; /* their words or dimensions */
	__u32 guard_mask[3]; /* their masks */
	__u32 guard_value[3]; /* their values */
};
_Static_assert(sizeof(struct slot) == 64, "slot");

/* The masked words of a tuple: many slots share one shape. */
struct shape {
	__u8 n_words; /* length of words and masks */
	__u8 key_class; /* which entry map: 0, 1, 2, 3 for keys of 4, 8, 16, 40 words */
	__u8 pad[2];
	__u8 words[40]; /* indexes of the words */
	__u32 masks[40]; /* and the bits of each that count */
};
_Static_assert(sizeof(struct shape) == 204, "shape");

/* What a lookup finds. */
struct entry {
	__u32 program; /* enum program or index of the first instruction */
	__u32 priority; /* of the logical flow */
};
_Static_assert(sizeof(struct entry) == 8, "entry");

/* A datapath with a local port. */
struct dp {
	__u32 bank; /* 0 or 1: which half of its stages is in force */
	__u32 key; /* tunnel key */
	__u32 flags; /* enum dp_flag */
	__u32 dnat_zone; /* conntrack zone, routers */
	__u32 snat_zone; /* conntrack zone, routers */
	__u32 pad;
};
_Static_assert(sizeof(struct dp) == 24, "dp");

/* Key of the port map. */
struct port_key {
	__u32 dp; /* datapath index */
	__u32 port; /* tunnel key of the port or multicast group */
};
_Static_assert(sizeof(struct port_key) == 8, "port_key");

/* Where a logical port or multicast group leads to here. */
struct port {
	__u8 kind; /* enum port_kind */
	__u8 pad;
	__u16 flags; /* enum port_flag */
	__u32 ifindex; /* VIF, NESTED: device */
	__u32 zone; /* conntrack zone */
	__u32 peer_dp; /* PATCH: datapath index of the peer */
	__u32 peer_port; /* PATCH: key of the peer port */
	__u32 list; /* MULTICAST: index into the list map */
	__u32 groups; /* index into the list map: ids of its port groups */
	__u32 tag; /* NESTED: VLAN id */
	__u32 module; /* VIF, NESTED: 1 + number of the user's module before it, or 0 */
};
_Static_assert(sizeof(struct port) == 36, "port");

/* What a hooked device stands for. */
struct device {
	__u32 dp; /* datapath index */
	__u32 port; /* logical port key */
	__u32 zone; /* conntrack zone of the port */
	__u32 flags; /* enum port_flag */
	__u32 module; /* 1 + number of the user's module behind it, or 0 */
};
_Static_assert(sizeof(struct device) == 20, "device");

/* Key of the device map. */
struct device_key {
	__u32 ifindex; /* device */
	__u32 tag; /* VLAN id of a nested port, MAX_HOST_TAG, else 0 */
};
_Static_assert(sizeof(struct device_key) == 8, "device_key");

/* A dimension: which bits of a packet sets are looked up by. */
struct dim {
	__u8 n_words; /* words of the value; 0 = not in use */
	__u8 space; /* enum space */
	__u8 prefixes; /* the space has members in the prefix map */
	__u8 pad;
	__u8 word[4]; /* packet words, most significant first */
	__u8 shift[4]; /* each is shifted right */
	__u32 mask[4]; /* and masked */
};
_Static_assert(sizeof(struct dim) == 28, "dim");

/* A value of a space; unused leading words are 0. */
struct member_key {
	__u32 space; /* enum space */
	__u32 value[4]; /* most significant first, host order */
};
_Static_assert(sizeof(struct member_key) == 20, "member_key");

/* Key of the prefix map (LPM): all behind the length in network byte order. */
struct prefix_key {
	__u32 prefixlen; /* 32 (space) + unused leading bits + significant bits */
	__u32 space; /* enum space */
	__u32 value[4]; /* as in member_key; the significant bits end at prefixlen */
};
_Static_assert(sizeof(struct prefix_key) == 24, "prefix_key");

/* A neighbour as one router port sees it. */
struct neigh_key {
	__u32 dp; /* datapath index */
	__u32 port; /* logical port key */
	__u32 ip[4]; /* IPv4 in ip[3], host order */
};
_Static_assert(sizeof(struct neigh_key) == 24, "neigh_key");

/* Its MAC addresses: learned (MAC_Binding) and configured (Static_MAC_Binding). */
struct neigh {
	__u32 mac_hi; /* learned: bits 47-32; 0 with mac_lo 0 = not learned */
	__u32 mac_lo; /* learned: bits 31-0 */
	__u32 static_hi; /* configured: bits 47-32; 0 with static_lo 0 = none */
	__u32 static_lo; /* configured: bits 31-0 */
	__u32 overrides; /* 1 = the configured address counts before a learned one */
	__u32 untold; /* 1 = the event about the learned address was lost */
	__u64 used_ns; /* monotonic time of the last use */
	__u64 confirmed_ns; /* monotonic time of the neighbour's own last word */
};
_Static_assert(sizeof(struct neigh) == 40, "neigh");

/* A MAC address on a switch. */
struct fdb_key {
	__u32 dp; /* datapath index */
	__u32 mac_hi; /* bits 47-32 */
	__u32 mac_lo; /* bits 31-0 */
};
_Static_assert(sizeof(struct fdb_key) == 12, "fdb_key");

/* The port that it was learned on. */
struct fdb {
	__u32 port; /* logical port key */
	__u32 untold; /* 1 = the event about the port was lost */
	__u64 used_ns; /* monotonic time of the last use */
};
_Static_assert(sizeof(struct fdb) == 16, "fdb");

/* How many addresses a switch may learn, and has. */
struct fdb_room {
	__u32 limit; /* at most so many; 0 = as many as the map holds */
	__u32 added; /* entries that packets have added */
	__u32 removed; /* entries of these that the agent has taken away */
	__u32 refused; /* packets whose address found no room */
};
_Static_assert(sizeof(struct fdb_room) == 16, "fdb_room");

/* Record of the ring buffer; len bytes of packet follow a HOLD. */
struct event {
	__u32 kind; /* enum event_kind */
	__u32 len; /* bytes of packet behind the words */
	__u32 dp; /* datapath index */
	__u32 port; /* logical port key */
	__u32 ip[4]; /* NEIGHBOUR, HOLD: address, IPv4 in ip[3] */
	__u32 mac_hi; /* NEIGHBOUR, FDB: bits 47-32 */
	__u32 mac_lo; /* bits 31-0 */
	__u32 gso_size; /* HOLD: segment size of a GSO packet or 0 */
	__u32 partial; /* HOLD: 1 = the L4 checksum covers the pseudo header only */
	__u32 words[64]; /* HOLD: state of the packet */
};
_Static_assert(sizeof(struct event) == 304, "event");

/* What an instruction of action programs has counted on one CPU. */
struct counter {
	__u64 packets; /* frames; one for all segments of a GSO packet */
	__u64 bytes; /* of these, as they came in */
};
_Static_assert(sizeof(struct counter) == 16, "counter");

/* How the next packet of an inject run enters. */
struct injection {
	__u32 kind; /* enum inject_kind */
	__u32 stage; /* STAGE: its number */
	__u32 mac_hi; /* OUTPUT: eth.dst to set, bits 47-32; 0 with lo: none */
	__u32 mac_lo; /* bits 31-0 */
	__u32 words[24]; /* words 0-23: pipeline state */
};
_Static_assert(sizeof(struct injection) == 112, "injection");

/* Packets that a user's module was called for, by what became of them. */
struct module_count {
	__u64 passed; /* IOM_PASS */
	__u64 sent; /* IOM_PORT */
	__u64 dropped; /* IOM_DROP */
	__u64 invalid; /* no verdict */
	__u64 missing; /* no program was loaded */
};
_Static_assert(sizeof(struct module_count) == 40, "module_count");

/* A connection: lesser endpoint (address, then port) first; ICMP: who asks first. */
struct conn_key {
	__u16 zone; /* conntrack zone */
	__u8 proto; /* IP protocol */
	__u8 family; /* 4 or 6; with NAT plus 64, plus 128 if the second end sends */
	__u16 port[2]; /* ports, host order; ICMP: identifier, type of the request */
	__u32 addr0[4]; /* address of the first endpoint, host order, IPv4 in [3] */
	__u32 addr1[4]; /* address of the second */
};
_Static_assert(sizeof(struct conn_key) == 40, "conn_key");

/* State of a connection. */
struct conn {
	__u64 expires_ns; /* monotonic time at which it is gone */
	__u32 mark; /* ct_mark */
	__u32 label[4]; /* ct_label, most significant first */
	__u32 epoch; /* flushes of the zone before it began */
	__u32 seqlo[2]; /* TCP: end of what originator, responder sent */
	__u32 seqhi[2]; /* TCP: end of what each may send */
	__u16 max_win[2]; /* TCP: largest window announced by each, unscaled */
	__u8 state[2]; /* TCP: state of originator, responder; others: progress in [0] */
	__u8 wscale[2]; /* TCP: shift; 0x80 it was announced, 0x40 it is unknown */
	__u8 flags; /* enum conn_flag */
	__u8 pad[3];
	__u16 nat_port[2]; /* NAT: as nat_ip, of originator, responder; ICMP: as in a key */
	__u64 packets[2]; /* from originator, responder */
	__u32 nat_ip[4]; /* NAT: the other address, translated or (alias) original */
};
_Static_assert(sizeof(struct conn) == 96, "conn");

/* What is known of a conntrack zone. */
struct ct_zone {
	__u32 epoch; /* how often it was flushed */
	__u32 natted; /* 1 = connections with NAT were opened since the last flush */
};
_Static_assert(sizeof(struct ct_zone) == 8, "ct_zone");

/* A client of a load balancer. */
struct affinity_key {
	__u32 dp; /* tunnel key of the datapath */
	__u16 proto; /* IP protocol, 0 with port 0: any */
	__u16 port; /* of the VIP, host order */
	__u32 client[4]; /* address, IPv4 in [3] */
	__u32 vip[4]; /* address, IPv4 in [3] */
};
_Static_assert(sizeof(struct affinity_key) == 40, "affinity_key");

/* The backend that served it last. */
struct affinity {
	__u64 used_ns; /* monotonic time */
	__u32 ip[4]; /* address, IPv4 in [3] */
	__u32 port; /* 0: as the VIP's */
	__u32 timeout_s; /* after so long a silence it counts for nothing */
};
_Static_assert(sizeof(struct affinity) == 32, "affinity");

/* A datagram in fragments. */
struct frag_key {
	__u32 zone; /* conntrack zone */
	__u32 id; /* identification */
	__u32 proto; /* IPv4: protocol, plus 4 << 8; IPv6: 6 << 8 */
	__u32 src[4]; /* IPv4 in [3] */
	__u32 dst[4]; /* IPv4 in [3] */
};
_Static_assert(sizeof(struct frag_key) == 44, "frag_key");

/* What its first fragment said. */
struct frag {
	__u32 l4; /* as Word.L4; ICMP: with the identifier in bits 31-24 and 15-8 */
	__u32 tcp_flags; /* as Word.TCP_FLAGS */
	__u32 proto; /* IP protocol */
	__u32 class_bits; /* as Word.CLASS */
	__u32 end; /* bytes of the datagram in the first fragment */
	__u32 pad;
	__u64 expires_ns; /* monotonic time */
};
_Static_assert(sizeof(struct frag) == 32, "frag");

/* Settings of a DHCP server. */
struct dhcp_pool {
	__u32 is_on; /* 0 = no such server */
	__u32 epoch; /* another one after each change by the agent: no hint holds */
	__u32 server_ip; /* its address and identifier */
	__u32 netmask; /* of its network */
	__u32 first; /* addresses that any client may get, both included */
	__u32 last;
	__u32 mac_hi; /* the server's, bits 47-32 */
	__u32 mac_lo; /* bits 31-0 */
	__u32 lease_s; /* 0xffffffff = for ever */
	__u32 offer_s; /* how long an offered address is kept */
	__u32 rest_s; /* how long a declined address is not given away */
	__u32 options_size; /* bytes in options */
	__u8 options[1024]; /* as replies carry them, most needed first */
};
_Static_assert(sizeof(struct dhcp_pool) == 1072, "dhcp_pool");

/* A MAC address in a pool's network. */
struct dhcp_host {
	__u32 pool; /* number of the pool */
	__u32 mac_hi; /* bits 47-32 */
	__u32 mac_lo; /* bits 31-0 */
};
_Static_assert(sizeof(struct dhcp_host) == 12, "dhcp_host");

/* An address of a pool, or 64 addresses. */
struct dhcp_addr {
	__u32 pool; /* number of the pool */
	__u32 ip; /* host order; 64 of them: divided by 64 */
};
_Static_assert(sizeof(struct dhcp_addr) == 8, "dhcp_addr");

/* Whom an address is leased to. */
struct dhcp_client {
	__u32 pool; /* number of the pool */
	__u8 size; /* bytes of its identifier; 0 = id is a MAC address; 255 = id is 51 bytes and a hash */
	__u8 id[59]; /* zeros behind */
};
_Static_assert(sizeof(struct dhcp_client) == 64, "dhcp_client");

/* What is known of an address. */
struct dhcp_lease {
	__u64 expires_ns; /* boot time from which on it is free */
	__u32 pool; /* the client, as in dhcp_client; all 0: nobody */
	__u8 size;
	__u8 id[59];
	__u32 state; /* enum dhcp_state */
	__u32 mac_hi; /* of the client, bits 47-32 */
	__u32 mac_lo; /* bits 31-0 */
	__u32 pad;
};
_Static_assert(sizeof(struct dhcp_lease) == 88, "dhcp_lease");

/* What is known of 64 addresses. */
struct dhcp_group {
	__u64 until_ns; /* boot time before which none of them expires; 0 = unknown */
	__u32 epoch; /* of the pool when that was found */
	__u32 freed; /* addresses given back so far */
};
_Static_assert(sizeof(struct dhcp_group) == 16, "dhcp_group");

/* Where a pool's search for free addresses stands. */
struct dhcp_hunt {
	__u64 until_ns; /* boot time before which no address becomes free; 0 = unknown */
	__u32 epoch; /* of the pool when that was found */
	__u32 full_freed; /* and freed */
	__u32 freed; /* addresses given back so far */
	__u32 next; /* address to look at first */
};
_Static_assert(sizeof(struct dhcp_hunt) == 24, "dhcp_hunt");
