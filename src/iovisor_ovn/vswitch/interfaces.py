# SPDX-License-Identifier: Apache-2.0
"""What the rest of the agent learns of an interface that works."""

from dataclasses import dataclass

from iovisor_ovn.vswitch.bridge import OpenPort

__all__ = ["LocalInterface", "local_interface"]


@dataclass(frozen=True, slots=True)
class LocalInterface:
    """An interface of a bridge whose device is there.

    ``ifindex`` is the device where frames from the interface arrive (tc ingress) and to which
    frames for it are redirected; for an internal interface that is the agent's end of the pair.
    ``peer_elsewhere``: that device is one end of a veth pair whose other end is in another
    namespace, so that `bpf_redirect_peer` can reach it.  ``kind`` is the kernel's word for the
    device (veth, tun ...; empty for hardware) or "internal".  ``mac`` and ``mtu`` (bytes) are
    those of the device with the interface's name, ``mac`` empty when it is out of sight.
    ``module`` is the path of a user's module before the interface, empty for none.
    """

    name: str
    iface_id: str | None
    iface_id_ver: str | None
    ifindex: int
    ofport: int
    mtu: int
    mac: str
    kind: str
    peer_elsewhere: bool
    encap_ip: str | None
    module: str = ""
    module_settings: str = ""


def local_interface(port: OpenPort) -> LocalInterface | None:
    """Return the interface of a port; None for a patch, which has no device."""
    if port.hook is None:
        return None
    shown = port.shown
    return LocalInterface(
        name=port.row.name,
        iface_id=port.row.iface_id,
        iface_id_ver=port.row.iface_id_ver,
        ifindex=port.hook.ifindex,
        ofport=port.ofport,
        mtu=(shown or port.hook).mtu,
        mac=shown.mac if shown is not None else "",
        kind="internal" if port.is_internal else port.hook.kind,
        peer_elsewhere=port.hook.kind == "veth" and port.hook.peer_netns is not None,
        encap_ip=port.row.encap_ip,
        module=port.row.module,
        module_settings=port.row.module_settings,
    )
