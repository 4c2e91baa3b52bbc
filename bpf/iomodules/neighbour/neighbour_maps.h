/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once

#include "lib/machine.h"

#define MAX_NEIGHBOURS 65536

/*
 * Key: datapath, logical port, IP address. Value: its MAC addresses. Written
 * by the agent (MAC_Binding and Static_MAC_Binding rows) and by neigh_put
 * (learned address only); read by neigh_get and neigh_lookup. The size leaves
 * room for 256 routed ports with 256 neighbours each. When full, nothing new
 * is learned here: the agent hears of the address still and writes the row, and
 * packets to it are resolved again and again until the agent makes room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_NEIGHBOURS);
	__type(key, struct neigh_key);
	__type(value, struct neigh);
} neighbours SEC(".maps");
