// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Sends each packet back, written to without helpers; keeps a tail call. */
#include <iovisor_ovn/module.h>

struct frame {
	iom_mac dst;
	iom_mac src;
};

int swapped(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, int(struct __sk_buff *));
} parts SEC(".maps") = {
	.values = {[0] = &swapped},
};

SEC("tc")
int swapped(struct __sk_buff *skb)
{
	return IOM_PORT(iom_port(skb));
}

IOMODULE(answer)
{
	struct frame *frame = (void *)(long)skb->data;
	iom_mac mac;

	if ((void *)(frame + 1) > (void *)(long)skb->data_end)
		return IOM_DROP;
	mac = frame->dst;
	frame->dst = frame->src;
	frame->src = mac;
	bpf_tail_call(skb, &parts, 0);
	return IOM_DROP;
}

char _license[] SEC("license") = "GPL";
