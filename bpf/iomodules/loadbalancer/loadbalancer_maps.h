/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once

#include "lib/machine.h"

/*
 * Key: client and VIP. Value: the client's backend. Written and read by packets;
 * nobody removes what is over, which counts as absent. The size is that of 65,536
 * clients, and takes 7 MB. When full, who has been silent longest may get another
 * backend.
 */
struct lb_affinity_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
};
