/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a module of your own includes. A module is one function of a packet:
 *
 *	#include <iovisor_ovn/module.h>
 *
 *	const volatile __u32 max_size = 1500;
 *
 *	IOMODULE(limit_size)
 *	{
 *		return skb->len > max_size ? IOM_DROP : IOM_PASS;
 *	}
 *
 *	char _license[] SEC("license") = "GPL";
 *
 * docs/iomodule.md tells what it gets, may change and may return.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Raised when a module built against an older header would not work any more. */
#define IOM_SDK 1

/*
 * Verdicts. Those that tc has have tc's numbers: a kernel that cannot make the
 * packet writable ends the module with TC_ACT_SHOT.
 */
#define IOM_PASS 0 /* on its way: out of the other of two ports */
#define IOM_DROP 2
#define IOM_FIRST_PORT 0x100
#define IOM_PORT(n) (IOM_FIRST_PORT + (n)) /* out of port n */

/* Ports of a module that stands before a logical port. */
#define IOM_MACHINE 0 /* towards the machine */
#define IOM_NETWORK 1 /* towards the network */

/* Where skb->cb[] says how the packet came; a module may overwrite it. */
#define IOM_CB_PORT 0
#define IOM_CB_PORTS 1
#define IOM_CB_REACH 2

/* Define the module: the body of int NAME(struct __sk_buff *skb). */
#define IOMODULE(name) IOM_DEFINE(name, IOM_SDK)
#define IOM_DEFINE(name, sdk)                                                  \
	SEC(IOM_SECTION(sdk))                                                  \
	int name(struct __sk_buff *skb)
#define IOM_SECTION(sdk) "iomodule/" IOM_TEXT(sdk)
#define IOM_TEXT(what) #what

/* Types of settings that are written as addresses. */
typedef __be32 iom_ip4; /* in network order, as in the packet */
typedef struct {
	__u8 byte[16];
} iom_ip6;
typedef struct {
	__u8 byte[6];
} iom_mac;

/* The port that the packet came in by: 0 to iom_ports() - 1. */
static __always_inline __u32 iom_port(const struct __sk_buff *skb)
{
	return skb->cb[IOM_CB_PORT];
}

/* How many ports the module has. */
static __always_inline __u32 iom_ports(const struct __sk_buff *skb)
{
	return skb->cb[IOM_CB_PORTS];
}

/* Whether the module stands before a logical port of OVN. */
static __always_inline int iom_is_at_logical_port(const struct __sk_buff *skb)
{
	return skb->cb[IOM_CB_REACH] & 1;
}
