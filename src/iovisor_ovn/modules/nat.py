# SPDX-License-Identifier: Apache-2.0
"""Network address translation between an inside and an outside port, transparent at layer 2.

::

    DIRECT     in by one port, out by the other; only IPv4 goes further
    KNOWN      what answers a connection is translated back
    TRANSLATE  what begins one gets its translation
    OUT        what was translated, or needs no translation

The module has no address of its own: the router on its inside asks and answers ARP through it, and
keeps talking under its own addresses, which are never translated. Nothing inside is reached, or
seen, under an address that was not translated.

Connections, ports and translations are conntrack's (RFC 4787, 5382, 5508): ICMP errors are
translated with the packet that they quote.
"""

from iovisor_ovn.config.topology import Nat, OneToOneNat
from iovisor_ovn.modules.emission import Emission, FlowList, Peer, braces

__all__ = ["emit_nat", "emit_one_to_one_nat"]

_DIRECT, _KNOWN, _TRANSLATE, _OUT = range(4)
#: ICMP errors: those of the router quote packets that have been translated.
_ERROR = "icmp4.type == {3, 4, 5, 11, 12}"


def emit_nat(name: str, nat: Nat, inside: Peer) -> Emission:
    """Flows of the module ``name``; ``inside`` is what lies behind its inside port."""
    flows = FlowList(name)
    within, without = _direct(flows, nat.inside, nat.outside)
    own = _own(inside)
    flows.add(_KNOWN, 50, f"{without} && ip4", "ct_snat;")
    flows.add(_KNOWN, 0, "1", "next;")
    flows.add(_TRANSLATE, 60, f"{without} && ct.rpl && !ct.inv", "output;")
    if own:
        flows.add(_TRANSLATE, 50, f"{without} && ip4.dst == {own}", "output;")
        flows.add(_TRANSLATE, 50, f"{within} && ip4.src == {own}", "output;")
        # Its errors quote packets that came in under the public address.
        flows.add(
            _TRANSLATE,
            60,
            f"{within} && ip4.src == {own} && {_ERROR}",
            f"ct_snat({nat.public_ip});",
        )
    flows.add(_TRANSLATE, 40, without, flows.count("no binding"))
    flows.add(_TRANSLATE, 40, f"{within} && ip4", f"ct_snat({nat.public_ip});")
    flows.add(_OUT, 50, f"ip4.src == {nat.public_ip}", "output;")
    if own:
        flows.add(_OUT, 50, f"ip4.src == {own}", "output;")
    flows.add(_OUT, 0, "1", flows.count("not translatable"))
    flows.deliver()
    return flows.emission(has_zones=True)


def emit_one_to_one_nat(name: str, nat: OneToOneNat, inside: Peer) -> Emission:
    """Flows of the module ``name``; ``inside`` is what lies behind its inside port."""
    flows = FlowList(name)
    within, without = _direct(flows, nat.inside, nat.outside)
    own = _own(inside)
    if own:
        flows.add(_KNOWN, 60, f"{without} && ip4.dst == {own}", "output;")
        flows.add(_KNOWN, 60, f"{within} && ip4.src == {own}", "output;")
        # Its errors quote packets that have been translated, in either zone.
        flows.add(_KNOWN, 70, f"{within} && ip4.src == {own} && {_ERROR}", "ct_dnat;")
        flows.add(_TRANSLATE, 50, f"{within} && ip4.src == {own}", "ct_snat;")
        flows.add(_OUT, 50, f"{within} && ip4.src == {own}", "output;")
    # Whichever side began: each has a zone of its own.
    flows.add(_KNOWN, 50, f"{without} && ip4", "ct_snat;")
    flows.add(_KNOWN, 50, f"{within} && ip4", "ct_dnat;")
    flows.add(_TRANSLATE, 60, "ct.rpl && !ct.inv", "output;")
    for entry in nat.entries:
        flows.add(
            _TRANSLATE,
            50,
            f"{without} && ip4.dst == {entry.external}",
            f"ct_dnat({entry.internal});",
        )
        flows.add(
            _TRANSLATE,
            50,
            f"{within} && ip4.src == {entry.internal}",
            f"ct_snat({entry.external});",
        )
    flows.add(_TRANSLATE, 0, "1", flows.count("no entry"))
    flows.add(
        _OUT, 50, f"{without} && ip4.dst == {braces(e.internal for e in nat.entries)}", "output;"
    )
    flows.add(
        _OUT, 50, f"{within} && ip4.src == {braces(e.external for e in nat.entries)}", "output;"
    )
    flows.add(_OUT, 0, "1", flows.count("not translatable"))
    flows.deliver()
    return flows.emission(has_zones=True)


def _direct(flows: FlowList, inside: str, outside: str) -> tuple[str, str]:
    """Set where packets go; returns the matches for "from inside" and "from outside"."""
    within, without = f"inport == {flows.port(inside)}", f"inport == {flows.port(outside)}"
    for match, there in ((within, outside), (without, inside)):
        out = f"outport = {flows.port(there)};"
        flows.add(_DIRECT, 50, f"{match} && ip4", f"{out} next;")
        flows.add(_DIRECT, 40, match, f"{out} output;")
    return within, without


def _own(peer: Peer) -> str:
    """The router's IPv4 addresses as a constant, or nothing without a router."""
    four = [address.ip for address in peer.addresses if address.version == 4]
    return braces(four) if four else ""
