# SPDX-License-Identifier: Apache-2.0
"""Tests of ``rate_limit.bpf.c`` alone: ``pytest examples/ebpf`` (as root)."""

import struct
import time
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from iovisor_ovn.sdk.testing import Module, load

pytestmark = pytest.mark.needs_bpf

SOURCE = Path(__file__).parent / "rate_limit.bpf.c"
BUCKET = struct.Struct("=QQQQ")  # struct bucket
SIZE = 1000


def frame(source: str = "10.0.0.1", size: int = SIZE) -> Packet:
    """A frame of so many bytes."""
    network = IPv6(src=source, dst="fd00::2") if ":" in source else IP(src=source, dst="10.0.0.2")
    packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / network / UDP()
    return packet / bytes(size - len(packet))


def verdicts(module: Module, *packets: Packet) -> list[str]:
    """What becomes of each, in order."""
    return [module.run(packet).verdict for packet in packets]


def bucket(module: Module, source: str = "10.0.0.1") -> tuple[bytes, list[int]]:
    """Key and members of an address's bucket."""
    key = bytes(12) + bytes(int(part) for part in source.split("."))
    value = module.maps["buckets"].lookup(key)
    assert value is not None
    return key, list(BUCKET.unpack(value))


def test_what_is_beyond_the_burst_is_dropped() -> None:
    """Three frames fit; the map says what became of all."""
    with load(SOURCE, rate=1, burst=3 * SIZE) as module:
        assert verdicts(module, *[frame()] * 5) == ["pass"] * 3 + ["drop"] * 2
        assert bucket(module)[1][2:] == [3, 2]


def test_shorter_frame_may_pass_where_a_longer_cannot() -> None:
    """Bytes count, not packets."""
    with load(SOURCE, rate=1, burst=1500) as module:
        assert verdicts(module, frame(), frame(), frame(size=100)) == ["pass", "drop", "pass"]


def test_each_address_has_its_own_bucket() -> None:
    """One that sends too much takes nothing from another, of either family."""
    with load(SOURCE, rate=1, burst=SIZE) as module:
        for source in ("10.0.0.1", "10.0.0.3", "fd00::1", "fd00::3"):
            assert verdicts(module, frame(source), frame(source)) == ["pass", "drop"]


def test_bucket_fills_with_time() -> None:
    """Two seconds ago it was empty: two frames of a second's rate pass, no third."""
    with load(SOURCE, rate=SIZE, burst=10 * SIZE) as module:
        assert verdicts(module, *[frame()] * 11) == ["pass"] * 10 + ["drop"]
        key, members = bucket(module)
        members[:2] = [0, time.monotonic_ns() - 2_100_000_000]
        module.maps["buckets"].update(key, BUCKET.pack(*members))
        assert verdicts(module, *[frame()] * 3) == ["pass", "pass", "drop"]


def test_long_silence_fills_it_to_the_burst_and_no_more() -> None:
    """An hour at a high rate would be beyond 64 bits."""
    with load(SOURCE, rate=10**12, burst=2 * SIZE) as module:
        verdicts(module, frame())
        key, members = bucket(module)
        members[:2] = [0, 0]
        module.maps["buckets"].update(key, BUCKET.pack(*members))
        module.run(frame())
        assert bucket(module)[1][0] == SIZE


def test_exempt_addresses_and_what_is_not_ip_pass() -> None:
    """No bucket is made for them."""
    with load(SOURCE, rate=1, burst=1, exempt="10.0.0.9, 10.0.0.1") as module:
        arp = Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.0.0.2")
        assert verdicts(module, frame(), arp, frame("10.0.0.3")) == ["pass", "pass", "drop"]
        assert module.maps["buckets"].count() == 1
