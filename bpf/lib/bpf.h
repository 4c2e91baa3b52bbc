/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What every program includes: UAPI types, libbpf's helpers, byte order. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* 32 bits wide: what is shifted into the upper half must not overflow an int. */
#define READ_BE16(p) ((__u32)bpf_ntohs(*(__be16 *)(p)))
#define READ_BE32(p) bpf_ntohl(*(__be32 *)(p))
#define WRITE_BE16(p, v) (*(__be16 *)(p) = bpf_htons(v))
/* In halves: the verifier wants stack accesses aligned, headers are not. */
#define WRITE_BE32(p, v)                                                       \
	do {                                                                   \
		WRITE_BE16(p, (v) >> 16);                                      \
		WRITE_BE16((p) + 2, v);                                        \
	} while (0)

#define ETHERTYPE_IP 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_RARP 0x8035
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define ETHERTYPE_IPV6 0x86dd

#define PROTO_ICMP 1
#define PROTO_IGMP 2
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ICMPV6 58
#define PROTO_SCTP 132

#define ETH_BYTES 14
#define IP4_BYTES 20
#define IP6_BYTES 40

#define TCI_PRESENT 0x1000

#define FRAG_ANY 1 /* bits of ip.frag */
#define FRAG_LATER 2

#define FLAG_LOOPBACK 1 /* bits of OVN's flags register */

#define CT_NEW 0x01 /* bits of ct_state */
#define CT_EST 0x02
#define CT_REL 0x04
#define CT_RPL 0x08
#define CT_INV 0x10
#define CT_TRK 0x20
#define CT_SNAT 0x40
#define CT_DNAT 0x80

#define SECOND_NS 1000000000ULL
