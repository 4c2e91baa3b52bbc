/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Tuple-space search over the logical flows of one stage. */
#pragma once

/*
 * Program (enum program or an instruction index) of the flow of the highest
 * priority that matches the packet in stage m->stage of datapath
 * m->w[W_DATAPATH]; m->stage is first moved on over stages that hold nothing
 * but `1 -> next`. Negative enum drop if no flow matches.
 */
int classify(void);
