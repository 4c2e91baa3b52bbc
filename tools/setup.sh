#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install the Debian packages that are missing: `setup.sh base` for the virtual environment
# and the unit tests, `setup.sh all` for building and for every test, `setup.sh releases` for
# tools/ovn-root.sh. Nothing is asked of the network when all are there. Daemons that come with the packages are neither started nor
# enabled: the demo and the tests run their own, in directories of their own.
set -euo pipefail
cd "$(dirname "$0")/.."

base_packages=(python3 python3-venv make git gcc libc6-dev libbpf1)
all_packages=(
	"${base_packages[@]}"
	clang-19 llvm-19 clang-format-19 libclang-rt-19-dev libbpf-dev libelf1 bpftool linux-libc-dev
	ovn-central ovn-host ovn-common openvswitch-switch openvswitch-common
	iproute2 iperf3 tcpdump iputils-ping traceroute netcat-openbsd ethtool nftables procps
	udhcpc isc-dhcp-client dnsmasq-base curl
)
release_packages=(debootstrap)
services=(openvswitch-switch ovs-vswitchd ovsdb-server ovs-record-hostname
	ovn-central ovn-northd ovn-ovsdb-server-nb ovn-ovsdb-server-sb ovn-host ovn-controller iperf3)

missing() {
	local package
	for package in "$@"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
			echo "$package"
	done
}

# Debian's own switch for "start nothing", unless its owner has set one.
forbid_starts() {
	policy=/usr/sbin/policy-rc.d
	own_policy=
	if [ ! -e "$policy" ]; then
		own_policy=yes
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
}

# What was there before stays as its owner set it; what came now does not start at boot.
disable_new() {
	local service
	for service in "${services[@]}"; do
		grep -qx "$service" <<<"$before" && continue
		# What `systemctl disable` does, also where systemd comes later or never.
		rm -f /etc/systemd/system/multi-user.target.wants/"$service".service
		if compgen -G "/etc/rc?.d/S??$service" >/dev/null; then
			update-rc.d "$service" disable >/dev/null
		fi
	done
}

# Also when an installation breaks off in the middle.
undo() {
	if [ "$own_policy" = yes ]; then
		rm -f "$policy"
	fi
	disable_new
}

present_services() {
	local service
	for service in "${services[@]}"; do
		if [ -e "/lib/systemd/system/$service.service" ] || [ -e "/etc/init.d/$service" ]; then
			echo "$service"
		fi
	done
}

install() {
	before=$(present_services)
	forbid_starts
	trap undo EXIT
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	apt-get install -q -y --no-install-recommends "$@"
}

case "${1:-}" in
base) mapfile -t wanted < <(missing "${base_packages[@]}") ;;
all) mapfile -t wanted < <(missing "${all_packages[@]}") ;;
releases) mapfile -t wanted < <(missing "${release_packages[@]}") ;;
install) # the part that needs root; called by this script
	shift
	install "$@"
	exit
	;;
*)
	echo "usage: $0 base|all|releases" >&2
	exit 2
	;;
esac

if [ "${#wanted[@]}" -gt 0 ]; then
	echo "installing: ${wanted[*]}"
	tools/as-root.sh "$PWD/tools/setup.sh" install "${wanted[@]}"
fi
