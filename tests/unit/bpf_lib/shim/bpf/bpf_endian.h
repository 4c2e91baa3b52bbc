/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Stands in for libbpf's header where the programs are built for the host. */
#pragma once

#include <arpa/inet.h>

#define bpf_htons htons
#define bpf_ntohs ntohs
#define bpf_htonl htonl
#define bpf_ntohl ntohl
