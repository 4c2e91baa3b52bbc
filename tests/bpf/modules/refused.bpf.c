// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Reads behind what it has tested: the verifier refuses it. */
#include <iovisor_ovn/module.h>

IOMODULE(reads_too_far)
{
	return *(__u8 *)(long)skb->data;
}

char _license[] SEC("license") = "GPL";
