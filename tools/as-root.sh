#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Run a command as root: as it is for root, else through sudo where there is one.
set -eu
if [ "$(id -u)" -eq 0 ]; then
	exec "$@"
fi
if command -v sudo >/dev/null; then
	# No caches: root's files in a user's tree would keep `make clean` from removing them.
	exec sudo env "PATH=$PATH" PYTHONDONTWRITEBYTECODE=1 \
		"PYTEST_ADDOPTS=-p no:cacheprovider ${PYTEST_ADDOPTS:-}" "$@"
fi
echo "this needs root (network namespaces, BPF) and there is no sudo: run it as root: $*" >&2
exit 1
