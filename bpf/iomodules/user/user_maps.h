/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once

#include "lib/machine.h"

/* A call that goes on with a copy of the packet. */
struct parked {
	__u32 ticket; /* which of all copies; 0: none */
	__u32 pc;
	struct module_call call;
	struct exit exit;
	__u32 w[W_ETH_HI];
};

/*
 * Key: number of a module. Value: its program. Written by the agent, at once for
 * all packets; read by user_call(). The size is that of one for each machine of
 * a large hypervisor. When full, the agent refuses further modules. Pinned, since
 * the kernel empties it when no process has it open.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MAX_MODULES);
	__type(key, __u32);
	__type(value, __u32);
} modules SEC(".maps");

/*
 * Key: number of a module. Value: what became of its packets. Written by packets,
 * read by the agent, which clears it before it gives a number to another module.
 * One for each module.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_MODULES);
	__type(key, __u32);
	__type(value, struct module_count);
} module_counts SEC(".maps");

/*
 * Key: 0. Value: the device through which copies come back, 0: there is none.
 * Written by the agent, read by user_park().
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} module_device SEC(".maps");

/*
 * Key: ticket modulo the size. Value: a call whose packet is on its way through
 * the device. Written by user_park(), read by user_unpark(), both mostly on one
 * CPU. The size is that of all packets that a CPU's backlog holds. When full, the
 * oldest is forgotten, and its packet dropped when it comes (DROP_MODULE_COPY).
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_PARKED);
	__type(key, __u32);
	__type(value, struct parked);
} parked SEC(".maps");

/* Key: 0. Value: the last ticket given. Written by packets. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tickets SEC(".maps");
