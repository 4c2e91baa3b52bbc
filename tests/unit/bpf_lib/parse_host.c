// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Parser and deparser on the host, under sanitizers and, where there is one, a
 * fuzzer. An input is eight bytes of circumstances (struct setting) and a frame.
 *
 * What must hold besides memory being sound: the verdict is 0 or a known drop
 * reason; a packet that nobody changed keeps its bytes; what was written is
 * what the next parser reads.
 */
#include "helpers_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 4096
#define SETTING_TAGGED 1 /* bits of setting.flags */
#define SETTING_GSO 2

struct setting {
	__u8 flags;
	__u8 changes; /* which fields to write */
	__u16 tci;
	__u32 value; /* what to write, spread over the fields */
};

#define REQUIRE(condition)                                                     \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, \
				__LINE__, #condition);                         \
			abort();                                               \
		}                                                              \
	} while (0)

static void give(struct __sk_buff *skb, const struct setting *setting,
		 const __u8 *frame, __u32 len)
{
	memset(skb, 0, sizeof(*skb));
	packet_set(skb, frame, len);
	if (setting->flags & SETTING_TAGGED) {
		skb->vlan_present = 1;
		skb->vlan_proto = bpf_htons(ETHERTYPE_VLAN);
		skb->vlan_tci = setting->tci & ~TCI_PRESENT;
	}
	if (setting->flags & SETTING_GSO)
		skb->gso_size = 1448;
	skb->mark = setting->value;
}

/* Read the packet anew; what does not hold of any packet is checked here. */
static int read_packet(struct __sk_buff *skb)
{
	struct machine *m = &the_machine;
	int result;

	memset(m, 0x5a, sizeof(*m));
	memset(m->w, 0, sizeof(m->w));
	m->w[W_PKT_MARK] = skb->mark;
	result = parse(skb);
	REQUIRE(result == 0 || result == -DROP_PARSE);
	if (result)
		return result;
	REQUIRE(m->ip_end <= skb->len);
	REQUIRE(!m->l4 || m->l4 < m->ip_end);
	REQUIRE(!m->nd_sll || m->nd_sll + 6 <= m->ip_end);
	REQUIRE(!m->nd_tll || m->nd_tll + 6 <= m->ip_end);
	REQUIRE(!(m->w[W_IP_META] & 0xfc));
	return 0;
}

static __u32 spread(__u32 value, __u32 word)
{
	return (value ^ word) * 0x9e3779b1;
}

/* Write what actions may write; ND fields and ICMP types have a say in what is read. */
static void change(struct machine *m, const struct setting *setting)
{
	__u32 value = setting->value;

	if (setting->changes & 1)
		for (int i = W_ETH_HI; i <= W_ETH_SRC_LO; i++)
			m->w[i] = spread(value, i);
	if (setting->changes & 2 && m->ip_end)
		m->w[W_IP_META] ^= spread(value, W_IP_META) & 0x00ffff00;
	if (setting->changes & 4 && m->ip_end && m->w[W_CLASS] & CLASS_IP4)
		m->w[W_IP4_SRC + (value & 1)] ^= value;
	if (setting->changes & 8 && m->ip_end && m->w[W_CLASS] & CLASS_IP6) {
		for (int i = W_IP6_SRC0; i <= W_IP6_DST3; i++)
			m->w[i] ^= spread(value, i);
		m->w[W_IP6_LABEL] = value & 0xfffff;
	}
	/* Ports of a TCP header that cannot be are not read: they are all 0. */
	if (setting->changes & 16 && m->l4 && m->w[W_L4] &&
	    m->w[W_CLASS] & (CLASS_TCP | CLASS_UDP | CLASS_SCTP))
		m->w[W_L4] ^= value;
	if (setting->changes & 32 && m->l4_len &&
	    m->w[W_CLASS] & (CLASS_ARP | CLASS_RARP)) {
		m->w[W_ARP_OP] = value & 0xff;
		for (int i = W_ARP_SPA; i <= W_ARP_THA_LO; i++)
			m->w[i] = spread(value, i);
	}
	if (setting->changes & 64)
		m->w[W_ETH_TYPE_TCI] =
			(m->w[W_ETH_TYPE_TCI] & 0xffff0000) |
			(value & TCI_PRESENT ? value & 0xffff : 0);
}

/* A tag that is taken off lets one behind it through, and one put on hides it. */
static int hides_tag(const struct machine *m)
{
	__u32 type = m->w[W_ETH_TYPE_TCI] >> 16;

	return type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ;
}

static void check_unchanged(struct __sk_buff *skb)
{
	__u32 len = skb->len, tci = skb->vlan_tci;
	__u32 tagged = skb->vlan_present;
	__u8 *before = malloc(len);

	memcpy(before, packet_bytes(), len);
	REQUIRE(deparse(skb) == 0);
	REQUIRE(skb->len == len && !memcmp(before, packet_bytes(), len));
	REQUIRE(skb->vlan_present == tagged && skb->vlan_tci == tci);
	free(before);
}

static void check_changed(struct __sk_buff *skb, const struct setting *setting)
{
	struct machine *m = &the_machine;
	__u32 written[MAX_WORDS];
	int result;

	change(m, setting);
	memcpy(written, m->w, sizeof(written));
	result = deparse(skb);
	REQUIRE(result == 0 || result == -DROP_REWRITE);
	/* Only an SCTP checksum is a reason not to write what can be read. */
	REQUIRE(result == 0 || written[W_CLASS] & CLASS_SCTP);
	if (result || hides_tag(m))
		return;
	REQUIRE(read_packet(skb) == 0);
	for (int i = W_ETH_HI; i <= W_CLASS; i++)
		if (m->w[i] != written[i]) {
			fprintf(stderr, "word %d: wrote %x, read %x\n", i,
				written[i], m->w[i]);
			abort();
		}
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	struct __sk_buff skb;
	struct setting setting;

	if (size < sizeof(setting) || size > INPUT_MAX)
		return 0;
	memcpy(&setting, data, sizeof(setting));
	give(&skb, &setting, data + sizeof(setting), size - sizeof(setting));
	if (read_packet(&skb))
		return 0;
	check_unchanged(&skb);
	check_changed(&skb, &setting);
	return 0;
}

#ifndef WITH_FUZZER
/* Inputs, each behind its length in four bytes, and changed copies of them. */
int main(int argc, char **argv)
{
	__u8 input[INPUT_MAX], copy[INPUT_MAX];
	unsigned long tried = 0;
	__u32 len;

	REQUIRE(argc == 3);
	srandom(strtoul(argv[1], 0, 10));
	while (fread(&len, sizeof(len), 1, stdin) == 1) {
		REQUIRE(len <= INPUT_MAX && fread(input, 1, len, stdin) == len);
		for (__u32 cut = 0; cut <= len; cut++, tried++)
			LLVMFuzzerTestOneInput(input, cut);
		for (int n = atoi(argv[2]); n > 0; n--, tried++) {
			memcpy(copy, input, len);
			for (int k = random() % 4; k >= 0; k--)
				copy[random() % len] = random();
			LLVMFuzzerTestOneInput(copy, len);
		}
	}
	printf("%lu\n", tried);
	return 0;
}
#endif
