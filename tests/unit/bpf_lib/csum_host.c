// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Runs lib/csum.h on the host: a request per line, its result in hex. */
#include "lib/csum.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __u32 read_hex(const char *text, __u8 *out)
{
	__u32 n = 0;

	for (unsigned int byte; sscanf(text + 2 * n, "%2x", &byte) == 1; n++)
		out[n] = byte;
	return n;
}

int main(void)
{
	char name[16];
	char *text = malloc(1 << 18);
	__u8 *bytes = malloc(1 << 17);
	__u32 number;

	while (scanf("%15s %x %262143s", name, &number, text) == 3) {
		__u32 n = read_hex(text, bytes);

		if (!strcmp(name, "crc32c")) {
			printf("%08x\n", crc32c(bytes, n));
		} else if (!strcmp(name, "delta")) {
			__u32 diff;

			memcpy(&diff, bytes, sizeof(diff));
			printf("%08x\n", crc32c_delta(diff, number));
		} else {
			__u64 sum = 0;
			__u32 word;

			memset(bytes + n, 0, 4);
			for (__u32 i = 0; i < n; i += 4) {
				memcpy(&word, bytes + i, sizeof(word));
				sum += word;
			}
			printf("%04x\n", csum_finish(sum));
		}
		fflush(stdout);
	}
	free(text);
	free(bytes);
	return 0;
}
