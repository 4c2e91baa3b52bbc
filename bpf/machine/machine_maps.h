/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Maps of the machine itself; lib/machine.h declares those that IOModules use. */
#pragma once

#include "lib/machine.h"

struct machine_map machines SEC(".maps");
struct generated_map generated SEC(".maps");
struct dps_map dps SEC(".maps");
struct lists_map lists SEC(".maps");
struct ports_map ports SEC(".maps");
struct events_map events SEC(".maps");
struct drops_map drops SEC(".maps");

/*
 * Key: device and VLAN id (nested ports), or what stands for the host that sends
 * by the device. Value: its logical port. Written by the agent, read where a packet comes in. The size is that of 16 times the
 * machines of a large hypervisor. When full, ports that are new get nothing
 * from their devices; the agent says so and tries again each second.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct device_key);
	__type(value, struct device);
} devices SEC(".maps");

/*
 * Instructions of all action programs, each program's in a row that is never
 * changed while an entry names it. Written by the agent, read by execute(). The
 * size is that of 20 instructions for each of 50,000 flows. When full, the agent
 * keeps the last pipeline and says so.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, struct insn);
} insns SEC(".maps");

/*
 * Key: number of a verb that is not executed, given by the compiler. Value: its
 * packets. Written by packets, read by the agent. More verbs than fit, which are
 * more than OVN has, share the last number.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_UNSUPPORTED);
	__type(key, __u32);
	__type(value, __u64);
} unsupported SEC(".maps");

/*
 * Key: 0. Value: the state with which the next inject run begins. Written by the
 * agent before each, read by that run. Nothing can be full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct injection);
} injections SEC(".maps");
