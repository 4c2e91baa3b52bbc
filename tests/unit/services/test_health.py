# SPDX-License-Identifier: Apache-2.0
"""Health of backends: what is sent, what answers mean, when a backend is dead."""

import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from iovisor_ovn.services.health import HealthChecker, Target


def _target(ip: str = "10.0.0.1", protocol: str = "tcp", **settings: float) -> Target:
    source = "10.0.0.250" if "." in ip else "fd00::250"
    known = {"interval_s": 5.0, "timeout_s": 3.0, "success_count": 2, "failure_count": 3}
    return Target(
        "lb", ip_address(source), bytes.fromhex("020000000001"), ip_address(ip), 80, protocol,
        **(known | settings),  # type: ignore[arg-type]
    )  # fmt: skip


class _Rig:
    """A checker with what it has sent and said."""

    def __init__(self, *targets: Target) -> None:
        self.sent: list[bytes] = []
        self.said: list[tuple[Target, bool]] = []
        self.checker = HealthChecker(
            lambda _target, frame: self.sent.append(frame),
            lambda target, alive: self.said.append((target, alive)),
            random.Random(1),
        )
        self.checker.follow(targets, 0.0)
        self.now = 1.0

    def probe(self) -> Packet:
        """Send one probe; as scapy reads it."""
        self.sent.clear()
        self.checker.run(self.now)
        (frame,) = self.sent
        self.sent.clear()
        return Ether(frame)

    def answer(self, packet: Packet) -> None:
        """Let a frame arrive."""
        self.checker.receive("lb", bytes(Ether() / packet), self.now)

    def pause(self, seconds: float = 5.0) -> None:
        """Let time pass."""
        self.now += seconds


def _reply(probe: Packet, flags: str, acknowledged: int = 1) -> Packet:
    ip = IP if IP in probe else IPv6
    return ip(src=probe[ip].dst, dst=probe[ip].src) / TCP(
        sport=probe[TCP].dport, dport=probe[TCP].sport, flags=flags, seq=7,
        ack=(probe[TCP].seq + acknowledged) & 0xFFFFFFFF,
    )  # fmt: skip


@pytest.mark.parametrize("ip", ["10.0.0.1", "fd00::1"])
def test_probe_is_a_syn_with_right_checksums(ip: str) -> None:
    """From the load balancer's addresses, to nobody's MAC address yet."""
    probe = _Rig(_target(ip)).probe()
    layer = probe[IP if IP in probe else IPv6]
    assert (probe.src, probe.dst) == ("02:00:00:00:00:01", "00:00:00:00:00:00")
    assert layer.dst == ip
    assert (probe[TCP].dport, probe[TCP].flags) == (80, "S")
    given_bytes = bytes(probe)
    for piece in (probe[TCP], layer):
        if "chksum" in piece.fields:
            del piece.chksum
    assert bytes(probe) == given_bytes, "scapy computes other checksums"


def test_udp_probe_has_right_checksums() -> None:
    """An empty datagram."""
    probe = _Rig(_target(protocol="udp")).probe()
    given_bytes = bytes(probe)
    del probe[UDP].chksum
    del probe[IP].chksum
    assert bytes(probe) == given_bytes
    assert probe[UDP].len == 8


def test_answered_syn_is_reset_and_counts() -> None:
    """The handshake is not finished; a living backend is no news."""
    rig = _Rig(_target())
    probe = rig.probe()
    rig.answer(_reply(probe, "SA"))
    (reset,) = rig.sent
    assert Ether(reset)[TCP].flags == "R"
    assert Ether(reset)[TCP].seq == (probe[TCP].seq + 1) & 0xFFFFFFFF
    assert rig.said == []


def test_silence_and_resets_kill_after_the_failures_asked_for_and_answers_revive() -> None:
    """Failures must follow one another; so must successes."""
    rig = _Rig(_target())
    for number in range(2):
        rig.answer(_reply(rig.probe(), "RA"))
        rig.pause()
        assert rig.said == [], f"dead after {number + 1}"
    rig.answer(_reply(rig.probe(), "SA"))
    rig.pause()
    for _number in range(2):
        rig.answer(_reply(rig.probe(), "RA"))
        rig.pause()
    assert rig.said == []
    rig.probe()
    rig.pause(3.0)
    rig.checker.run(rig.now)
    assert [alive for _target, alive in rig.said] == [False]
    rig.pause()
    for _number in range(2):
        rig.answer(_reply(rig.probe(), "SA"))
        rig.pause()
    assert [alive for _target, alive in rig.said] == [False, True]


@pytest.mark.parametrize("ip", ["10.0.0.1", "fd00::1"])
def test_udp_is_dead_by_port_unreachable_only(ip: str) -> None:
    """Silence says nothing, an ICMP error about the very datagram does."""
    rig = _Rig(_target(ip, "udp", failure_count=1))
    rig.probe()
    rig.pause(3.0)
    rig.checker.run(rig.now)
    assert rig.said == []
    rig.pause()
    probe = rig.probe()
    layer = IP if IP in probe else IPv6
    error = ICMP(type=3, code=3) if layer is IP else ICMPv6DestUnreach(code=4)
    quoted = probe[layer].copy()
    quoted[UDP].sport += 1
    rig.answer(layer(src=ip, dst=probe[layer].src) / error / quoted)
    assert rig.said == []
    rig.answer(layer(src=ip, dst=probe[layer].src) / error / probe[layer])
    assert [alive for _target, alive in rig.said] == [False]


@pytest.mark.parametrize(
    "change",
    [
        lambda packet: packet[TCP].setfieldval("ack", 5),
        lambda packet: packet[TCP].setfieldval("dport", 99),
        lambda packet: packet[TCP].setfieldval("sport", 99),
        lambda packet: packet[IP].setfieldval("src", "10.0.0.9"),
        lambda packet: packet[TCP].setfieldval("flags", "A"),
    ],
)
def test_what_answers_something_else_is_ignored(change: object) -> None:
    """Only the answer to the probe that is out counts."""
    rig = _Rig(_target(failure_count=1))
    packet = _reply(rig.probe(), "RA")
    assert callable(change)
    change(packet)
    rig.answer(packet)
    assert rig.said == []


def test_those_followed_before_keep_what_is_known() -> None:
    """A change of the topology revives nobody."""
    target, other = _target(failure_count=1), _target("10.0.0.2", failure_count=1)
    rig = _Rig(target)
    rig.answer(_reply(rig.probe(), "RA"))
    rig.checker.follow([other, target], rig.now)
    assert not rig.checker.is_alive(target)
    assert rig.checker.is_alive(other)
    rig.checker.follow([other], rig.now)
    assert rig.checker.is_alive(target), "who is not followed is not dead"


@given(st.binary(max_size=90))
def test_any_frame_is_survived(frame: bytes) -> None:
    """What is no answer is nothing."""
    rig = _Rig(_target(failure_count=1), _target("fd00::1", "udp", failure_count=1))
    rig.checker.run(rig.now)
    rig.checker.receive("lb", frame, rig.now)
    rig.checker.receive("lb", bytes(12) + b"\x08\x00" + frame, rig.now)
    assert rig.said == []
