// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Does not compile. */
#include <iovisor_ovn/module.h>

IOMODULE(broken)
{
	return no_such_name;
}

char _license[] SEC("license") = "GPL";
