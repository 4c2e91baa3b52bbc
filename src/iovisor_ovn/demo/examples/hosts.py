# SPDX-License-Identifier: Apache-2.0
"""The hosts of an example: namespaces, each at the far end of a device that the chain gets.

Inside, the device is called ``eth0``. The chain's end has no address and sends nothing by itself.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from iovisor_ovn.demo.examples.page import Host
from iovisor_ovn.demo.places import Namespace
from iovisor_ovn.demo.processes import CommandFailed, NotInTime, run

__all__ = ["in_use", "make_host", "remove_devices"]


def in_use(hosts: Iterable[Host]) -> list[str]:
    """Names of namespaces and devices that exist already."""
    return [
        *(host.name for host in hosts if Path("/run/netns", host.name).exists()),
        *(host.device for host in hosts if Path("/sys/class/net", host.device).exists()),
    ]


def make_host(host: Host, directory: Path, name: str = "") -> Namespace:
    """Make a host, its services included; ``sweep`` of the directory removes it.

    Its namespace is called ``name``, else as the host is.
    """
    namespace = Namespace(name or host.name, directory)
    has_ipv6 = any(":" in address for address in host.addresses)
    if not has_ipv6:
        # It would say something now and then, which blurs what is shown.
        namespace.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    run(
        "ip", "-batch", "-",
        text=f"link add {host.device} type veth peer name eth0 address {host.mac} "
        f"netns {namespace.name}\n"
        f"link set {host.device} addrgenmode none up\n",
    )  # fmt: skip
    namespace.ip(
        *(f"address add {address} dev eth0" for address in host.addresses),
        "link set eth0 up",
        *(f"route add default via {gateway} dev eth0" for gateway in host.gateways),
    )
    if host.serves:
        _serve(host, namespace, directory)
    return namespace


def remove_devices(names: Iterable[str]) -> None:
    """Remove the devices of hosts' namespaces now: with a namespace, they go some time later."""
    for name in names:
        with contextlib.suppress(CommandFailed):  # it has none
            run("ip", "-n", name, "link", "del", "eth0")


def _serve(host: Host, namespace: Namespace, directory: Path) -> None:
    """Returns when all ports are open; the process ends with the directory."""
    module, pid_file = "iovisor_ovn.demo.examples.serve", directory / f"{host.name}.pid"
    process = subprocess.Popen(
        namespace.words(sys.executable, "-m", module, str(pid_file), host.name, *host.serves),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in a terminal is not meant for it
    )
    assert process.stdout is not None
    with process.stdout:
        if process.stdout.readline() != "ready\n":
            raise NotInTime(f"{host.name}: its services did not start")
