# SPDX-License-Identifier: Apache-2.0
"""Differences that are meant, or are the reference's own mistakes: docs/differences.md.

Each is known by a name, says to which sent frames it applies, and what of an output it leaves out
of the comparison; whatever else is unlike stays a mismatch. Uses are counted and printed.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from differential.side import Outputs

__all__ = ["DIFFERENCES", "HOPS_FOLLOWED", "Difference", "explain"]

#: Routers in a row through which OVS follows a packet for certain, and gives no loop up.
HOPS_FOLLOWED = 40
_TPIDS = (b"\x81\x00", b"\x88\xa8")


@dataclass(frozen=True, slots=True)
class Difference:
    """``applies`` to a sent frame; ``reduce`` takes out of an output what may differ, or all.

    ``needs`` restricts it to steps in which something is the case that frames do not show:
    "conntrack" (the topology tracks connections), "nat" (it translates), "new station" (a sender is
    not learned yet), "loop" (routers hand the packet to each other), "given up" (OVS counted a
    packet that came round too often), "learned" (in a topology that translates, routers have
    learned a neighbour meanwhile), or the release of OVN.  ``lasts``: from there on the two sides
    know other connections or neighbours, and what follows cannot be compared.
    """

    name: str
    applies: Callable[[bytes], bool]
    reduce: Callable[[bytes, Sequence[bytes]], bytes]
    needs: str = ""
    lasts: bool = False


def explain(
    frames: Sequence[bytes], ours: Outputs, theirs: Outputs, circumstances: Collection[str] = ()
) -> Difference | None:
    """Return the difference that makes the outputs alike, None when there is none."""
    for difference in DIFFERENCES:
        if difference.needs and difference.needs not in circumstances:
            continue
        if any(map(difference.applies, frames)) and _reduced(ours, difference, frames) == _reduced(
            theirs, difference, frames
        ):
            return difference
    return None


def _reduced(
    outputs: Outputs, difference: Difference, sent: Sequence[bytes]
) -> dict[str, list[bytes]]:
    reduced = {}
    for port, heard in outputs.items():
        kept = sorted(filter(None, (difference.reduce(frame, sent) for frame in heard)))
        if kept:
            reduced[port] = kept
    return reduced


def _network_at(frame: bytes) -> int:
    """Return where the network header begins, behind all tags."""
    at = 12
    while frame[at : at + 2] in _TPIDS:
        at += 4
    return at + 2


def _has_dei(frame: bytes) -> bool:
    return frame[12:14] in _TPIDS and bool(frame[14] & 0x10)


def _without_dei(frame: bytes, _sent: Sequence[bytes]) -> bytes:
    return frame[:14] + bytes([frame[14] & 0xEF]) + frame[15:] if _has_dei(frame) else frame


def _has_two_tags(frame: bytes) -> bool:
    return frame[12:14] in _TPIDS and frame[16:18] in _TPIDS


def _unless_protocol_0(frame: bytes, _sent: Sequence[bytes]) -> bytes:
    """Leave out IPv4 packets of protocol 0, and ICMP errors that quote one."""
    at = _network_at(frame)
    is_ip4 = frame[at - 2 : at] == b"\x08\x00"
    is_error = frame[at + 9 : at + 10] == b"\x01" and frame[at + 20 : at + 21] in {b"\3", b"\x0b"}
    where = at + 37 if is_error else at + 9
    return b"" if is_ip4 and frame[where : where + 1] == b"\0" else frame


def _is_neighbour_message(frame: bytes) -> bool:
    at = _network_at(frame)
    kind = frame[at - 2 : at]
    if kind == b"\x08\x06":
        return True
    return kind == b"\x86\xdd" and frame[at + 40 : at + 41] in {b"\x87", b"\x88"}


def _is_fragment(frame: bytes) -> bool:
    at = _network_at(frame)
    kind = frame[at - 2 : at]
    if kind == b"\x08\x00" and len(frame) > at + 7:
        return bool(frame[at + 6] & 0x3F or frame[at + 7])
    return kind == b"\x86\xdd" and frame[at + 6 : at + 7] == b"\x2c"


def _unless_fragment(frame: bytes, _sent: Sequence[bytes]) -> bytes:
    return b"" if _is_fragment(frame) else frame


def _without_source_port(frame: bytes, _sent: Sequence[bytes]) -> bytes:
    """Blank the source port of TCP and UDP, and the checksum that goes with it."""
    at = _network_at(frame)
    if frame[at - 2 : at] == b"\x08\x00":
        protocol, at = frame[at + 9 : at + 10], at + (frame[at] & 15) * 4
    elif frame[at - 2 : at] == b"\x86\xdd":
        protocol, at = _behind_options(frame, at)
    else:
        return frame
    sum_at = {b"\x06": at + 16, b"\x11": at + 6}.get(protocol)
    if sum_at is None or len(frame) < sum_at + 2:
        return frame
    return frame[:at] + bytes(2) + frame[at + 2 : sum_at] + bytes(2) + frame[sum_at + 2 :]


def _has_source(frame: bytes) -> bool:
    return len(frame) > 12


def _unless_back(frame: bytes, sent: Sequence[bytes]) -> bytes:
    """Leave out what goes to a sender: ordinary OVN floods it until the sender is learned."""
    return b"" if any(frame[:6] == one[6:12] for one in sent) else frame


def _nothing(_frame: bytes, _sent: Sequence[bytes]) -> bytes:
    return b""


def _is_to_itself(frame: bytes) -> bool:
    at = _network_at(frame)
    kind = frame[at - 2 : at]
    if kind == b"\x08\x00":
        return frame[at + 12 : at + 16] == frame[at + 16 : at + 20]
    return kind == b"\x86\xdd" and frame[at + 8 : at + 24] == frame[at + 24 : at + 40]


def _is_unreadable_ip(frame: bytes) -> bool:
    """Whether OVS takes no addresses from the IP header."""
    at = _network_at(frame)
    if frame[at - 2 : at] == b"\x86\xdd":
        payload = int.from_bytes(frame[at + 4 : at + 6])
        return len(frame) - at < 40 or payload > len(frame) - at - 40
    if frame[at - 2 : at] != b"\x08\x00":
        return False
    header, total = frame[at : at + 1], int.from_bytes(frame[at + 2 : at + 4])
    size = (header[0] & 15) * 4 if header else 0
    return size < 20 or not size <= total <= len(frame) - at


def _unless_from_nobody(frame: bytes, _sent: Sequence[bytes]) -> bytes:
    """Leave out packets from 0.0.0.0 to 0.0.0.0, and from :: to ::."""
    at = _network_at(frame)
    kind = frame[at - 2 : at]
    is_from_nobody = (kind == b"\x08\x00" and frame[at + 12 : at + 20] == bytes(8)) or (
        kind == b"\x86\xdd" and frame[at + 8 : at + 40] == bytes(32)
    )
    return b"" if is_from_nobody else frame


def _may_go_far(frame: bytes) -> bool:
    """Whether its TTL is enough for more routers than OVS follows in one go."""
    at = _network_at(frame)
    ttl_at = {b"\x08\x00": at + 8, b"\x86\xdd": at + 7}.get(frame[at - 2 : at])
    return ttl_at is not None and len(frame) > ttl_at and frame[ttl_at] > HOPS_FOLLOWED


def _unless_told(frame: bytes, _sent: Sequence[bytes]) -> bytes:
    """Leave out "time exceeded" and "too big": OVS follows also what a small packet would do."""
    at = _network_at(frame)
    ip4 = frame[at - 2 : at] == b"\x08\x00" and frame[at + 9 : at + 10] == b"\x01"
    ip6 = frame[at - 2 : at] == b"\x86\xdd" and frame[at + 6 : at + 7] == b"\x3a"
    is_one = (ip4 and frame[at + 20 : at + 22] in {b"\x0b\0", b"\x03\x04"}) or (
        ip6 and frame[at + 40 : at + 41] in {b"\x02", b"\x03"}
    )
    return b"" if is_one else frame


def _is_ip6(frame: bytes) -> bool:
    at = _network_at(frame)
    return frame[at - 2 : at] == b"\x86\xdd"


def _behind_options(frame: bytes, at: int) -> tuple[bytes, int]:
    """Protocol and place of what the IPv6 header there carries, behind options or not."""
    protocol, at = frame[at + 6 : at + 7], at + 40
    while protocol in {b"\x00", b"\x2b", b"\x3c"} and len(frame) > at + 1:
        protocol, at = frame[at : at + 1], at + 8 + frame[at + 1] * 8
    return protocol, at


def _is_tcp6_at(frame: bytes, at: int) -> bool:
    return _behind_options(frame, at)[0] == b"\x06"


def _is_request_to_group(frame: bytes) -> bool:
    """Whether it is an ICMPv6 echo request in a frame to a group."""
    protocol, at = _behind_options(frame, _network_at(frame))
    is_request = protocol == b"\x3a" and frame[at : at + 1] == b"\x80"
    return _is_ip6(frame) and is_request and bool(frame[0] & 1)


def _unless_sent(frame: bytes, sent: Sequence[bytes]) -> bytes:
    return b"" if frame in sent else frame


def _quotes_tcp6(frame: bytes) -> bool:
    """Whether it is an ICMPv6 error about a TCP segment."""
    at = _network_at(frame)
    is_icmp6 = _is_ip6(frame) and frame[at + 6 : at + 7] == b"\x3a"
    is_error = is_icmp6 and b"\x01" <= frame[at + 40 : at + 41] <= b"\x04"
    return is_error and _is_tcp6_at(frame, at + 48)


def _is_tcp6(frame: bytes) -> bool:
    return _is_ip6(frame) and _is_tcp6_at(frame, _network_at(frame))


def _may_bring_quote(frame: bytes) -> bool:
    # A segment may be answered with an error; a neighbour's message lets held ones go on.
    return _quotes_tcp6(frame) or _is_tcp6(frame) or _is_neighbour_message(frame)


def _without_told_mtu(frame: bytes, _sent: Sequence[bytes]) -> bytes:
    """Blank the MTU in an ICMPv6 "too big" about UDP, and the checksum that goes with it."""
    at = _network_at(frame)
    what = frame[at + 6 : at + 7], frame[at + 40 : at + 41], frame[at + 54 : at + 55]
    if not _is_ip6(frame) or what != (b"\x3a", b"\x02", b"\x11"):
        return frame
    return frame[: at + 42] + bytes(6) + frame[at + 48 :]


def _unless_quotes_tcp6(frame: bytes, _sent: Sequence[bytes]) -> bytes:
    return b"" if _quotes_tcp6(frame) else frame


DIFFERENCES = (
    Difference("DEI of a VLAN tag", _has_dei, _without_dei),
    Difference("what is behind two VLAN tags", _has_two_tags, _nothing),
    Difference("TTL of IP protocol 0", _has_source, _unless_protocol_0),
    Difference("IP source and destination the same", _is_to_itself, _nothing),
    Difference("answer to an unreadable IP header", _is_unreadable_ip, _unless_from_nobody),
    Difference("end of a loop of routers", _may_go_far, _unless_told, needs="loop", lasts=True),
    Difference("fragments held for a neighbour", _is_neighbour_message, _unless_fragment),
    Difference(
        "port of what is held", _is_neighbour_message, _without_source_port, needs="nat", lasts=True
    ),
    # Routers that asked each other: no machine saw it.
    Difference(
        "port of what is held", _has_source, _without_source_port, needs="learned", lasts=True
    ),
    Difference("too many lookups of connections", _has_source, _nothing, needs="given up"),
    Difference("TCP quoted over IPv6", _may_bring_quote, _unless_quotes_tcp6, needs="nat"),
    Difference("MTU told about UDP over IPv6", _is_ip6, _without_told_mtu, needs="nat"),
    Difference("copies of a request to a group", _is_request_to_group, _unless_sent, needs="25.03"),
    Difference("fragments in conntrack", _is_fragment, _nothing, needs="conntrack"),
    Difference("answer to a new station", _has_source, _unless_back, needs="new station"),
)
