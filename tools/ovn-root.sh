#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Build the tree of another release of OVN: `ovn-root.sh 25.03`. Debian trixie's packages go below
# /var/cache/iovisor-ovn, outside this tree, so that every clone on the machine uses the same one;
# nothing is done when it is there whole. The packages come from where this machine's apt gets
# Debian's. What runs in it is in src/iovisor_ovn/demo/releases.py.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
23.03) exit ;; # the installed one
25.03) suite=trixie ;;
*)
	echo "usage: $0 23.03|25.03" >&2
	exit 2
	;;
esac
release=$1
root=/var/cache/iovisor-ovn/ovn-$release
packages=ovn-central,ovn-host,openvswitch-switch

is_whole() {
	[ -e "$root/complete" ]
}

mirror() {
	apt-get indextargets --format '$(SITE)' \
		'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Codename: bookworm' | sort -u | head -n 1
}

build() {
	local site proxy=
	site=$(mirror)
	if [ -z "$site" ]; then
		echo "apt knows no source of Debian's packages" >&2
		exit 1
	fi
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	[ -z "$proxy" ] || export http_proxy=$proxy
	rm -rf "$root"
	mkdir -p "$root"
	# Daemons that a package starts and mounts that debootstrap makes end with these namespaces.
	unshare --mount --pid --fork --kill-child debootstrap --variant=minbase \
		--include="$packages" "$suite" "$root" "$site" ||
		{
			tail -n 20 "$root/debootstrap/debootstrap.log" >&2
			exit 1
		}
	chroot "$root" ovn-northd --version | grep -qF "ovn-northd $release" ||
		{
			echo "$root: not OVN $release" >&2
			exit 1
		}
	rm -rf "$root"/var/cache/apt/archives/*.deb
	touch "$root/complete"
}

is_whole && exit
if [ "$(id -u)" -ne 0 ]; then
	exec tools/as-root.sh "$PWD/tools/ovn-root.sh" "$release"
fi
tools/setup.sh releases
mkdir -p "${root%/*}"
exec 9>"$root.lock"
flock 9
is_whole || build
