# SPDX-License-Identifier: Apache-2.0
"""What ovn-trace predicts: to which ports a frame goes, by the same Southbound database.

It knows neither connections nor which ports are plugged in, so it is asked about topologies
that track none, and its answers are cut down to the ports that are there.
"""

import re
from collections.abc import Collection

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from differential.differences import HOPS_FOLLOWED
from differential.headers import Packet
from differential.side import Outputs
from iovisor_ovn.demo.central import Central
from iovisor_ovn.demo.processes import CommandFailed, NotInTime, run

__all__ = ["has_solicitation", "is_lost", "loops", "microflow", "predict"]

# ovn-trace does not know how long a packet is: to it none is larger than a gateway's MTU.
_SMALL = 500
_WORKED_OUT = {"len", "plen", "ihl", "dataofs", "chksum", "cksum"}
_ANSWERS = re.compile(r"^\s*(icmp4|icmp6|tcp_reset|sctp_abort) {", re.MULTILINE)
_ASKS = re.compile(r"^\s*(arp|nd_ns) {", re.MULTILINE)
_OUTPUT = re.compile(r'output\("([^"]+)"\)')
_PAYLOADS = {Raw, IP, IPv6, UDP, TCP, ICMP, ICMPv6EchoRequest, ARP, Ether}


def predict(central: Central, port: str, frame: bytes, plugged: Collection[str]) -> set[str] | None:
    """Return the ports that the frame of ``port`` goes to, None if that cannot be asked.

    A process for each question: an ovn-trace that stays reads the database once. Not believed is
    that something answers what is never answered, or what a router holds until a neighbour has told
    its address.
    """
    flow = microflow(port, frame)
    if flow is None:
        return None
    command = (*central.release.command, "ovn-trace", f"--db={central.sb}", "--minimal", flow)
    told = run(*command)
    if _ANSWERS.search(told) and (_ASKS.search(told) or not _may_be_answered(frame)):
        return None
    return set(_OUTPUT.findall(told)).intersection(plugged)


def _may_be_answered(frame: bytes) -> bool:
    """Whether it is IP for a single machine, and no TCP reset."""
    packet = Ether(frame)
    is_reset = TCP in packet and "R" in packet[TCP].flags
    return (IP in packet or IPv6 in packet) and not is_reset and not frame[0] & 1


def loops(central: Central, port: str, frame: bytes) -> bool:
    """Return whether routers hand the frame of ``port`` to each other for longer than OVS follows.

    What is behind the addresses is not looked at.
    """
    packet = Ether(frame)
    ip = packet.getlayer(IP) or packet.getlayer(IPv6)
    if ip is None:
        return False
    name, ttl = ("ip4", ip.ttl) if IP in packet else ("ip6", ip.hlim)
    flow = " && ".join([
        f'inport == "{port}"', f"eth.src == {packet.src}", f"eth.dst == {packet.dst}",
        f"{name}.src == {ip.src}", f"{name}.dst == {ip.dst}", f"ip.ttl == {ttl}",
    ])  # fmt: skip
    try:
        told = run(*central.release.command, "ovn-trace", f"--db={central.sb}", "--minimal", flow)
    except (CommandFailed, NotInTime) as error:
        if is_lost(error):
            return True
        raise
    return told.count("ip.ttl--") > HOPS_FOLLOWED


def is_lost(error: CommandFailed | NotInTime) -> bool:
    """Return whether ovn-trace came to no end: a packet multiplies in a loop, its stack is full."""
    return isinstance(error, NotInTime) or error.status < 0


def has_solicitation(outputs: Outputs) -> bool:
    """Return whether a router asks for an IPv6 neighbour, which ovn-trace does not show."""
    group = b"\x33\x33\xff"
    return any(frame.startswith(group) for heard in outputs.values() for frame in heard)


def microflow(port: str, frame: bytes) -> str | None:
    """Return the frame in ovn-trace's words; None for one that they cannot tell whole."""
    if len(frame) > _SMALL:
        return None
    packet = Ether(frame)
    layers = set(packet.layers())
    if not layers <= _PAYLOADS or _made_anew(packet) != frame:
        return None
    terms = [f'inport == "{port}"', f"eth.src == {packet.src}", f"eth.dst == {packet.dst}"]
    if ARP in packet:
        if packet[ARP].op == 2:
            return None  # it may set free what waited for it
        terms += _arp(packet[ARP])
    elif IP in packet or IPv6 in packet:
        found = _ip(packet)
        if found is None:
            return None
        terms += found
    else:
        return None
    return " && ".join(terms)


def _made_anew(packet: Packet) -> bytes:
    """Return the frame as it is with lengths and checksums that fit: ovn-trace takes them to."""
    whole = packet.copy()
    layer = whole
    while layer:
        for name in _WORKED_OUT.intersection(layer.fields):
            layer.delfieldval(name)
        layer = layer.payload
    return bytes(whole)


def _arp(arp: Packet) -> list[str]:
    return [
        f"arp.op == {arp.op}", f"arp.spa == {arp.psrc}", f"arp.tpa == {arp.pdst}",
        f"arp.sha == {arp.hwsrc}", f"arp.tha == {arp.hwdst}",
    ]  # fmt: skip


def _ip(packet: Packet) -> list[str] | None:
    if IP in packet:
        ip = packet[IP]
        if ip.frag or ip.flags.MF or ip.options:
            return None
        terms = [f"ip4.src == {ip.src}", f"ip4.dst == {ip.dst}", f"ip.ttl == {ip.ttl}"]
    else:
        ip = packet[IPv6]
        terms = [f"ip6.src == {ip.src}", f"ip6.dst == {ip.dst}", f"ip.ttl == {ip.hlim}"]
        terms.append(f"ip6.label == {ip.fl}")
    for layer, name in ((UDP, "udp"), (TCP, "tcp")):
        if layer in packet:
            ports = packet[layer]
            terms += [f"{name}.src == {ports.sport}", f"{name}.dst == {ports.dport}"]
            if name == "tcp":
                terms.append(f"tcp.flags == {int(ports.flags)}")
            return terms
    if ICMP in packet:
        return [*terms, f"icmp4.type == {packet[ICMP].type}", f"icmp4.code == {packet[ICMP].code}"]
    if ICMPv6EchoRequest in packet:
        return [*terms, "icmp6.type == 128", "icmp6.code == 0"]
    return None
