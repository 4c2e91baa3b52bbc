# SPDX-License-Identifier: Apache-2.0
"""NAT and load balancers as the machine executes them: choice, affinity, hairpin, copies."""

import itertools
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from iovisor_ovn.abi import STRUCTS, Drop, InjectKind, Op, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.programs import ProgramCompiler
from iovisor_ovn.language import SymbolTable, parse_actions
from machine_rig import EGRESS, Datapath, Rig, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
SYMBOLS = SymbolTable.default()
CLIENT, VIP, BACKEND = "10.0.0.1", "10.0.9.1", "10.0.1.1"
OUT = (load(Word.OUTPORT, 2), Insn(Op.OUTPUT))
#: Zones are never used twice: connections outlive the datapaths of a test.
_zones = itertools.count(100)


class _NoNames:
    """Nothing has a name."""

    def port_key(self, name: str) -> int | None:
        raise KeyError(name)

    def port_group(self, name: str) -> int:
        raise KeyError(name)

    def address_set(self, name: str) -> str:
        raise KeyError(name)

    def is_resident(self, port: str) -> bool:
        raise KeyError(port)


def program(text: str, table: int = 0, *, is_router: bool = False) -> tuple[Insn, ...]:
    """The program of an action list."""
    actions = parse_actions(text, SYMBOLS, pipeline="ingress", table=table, n_tables=(35, 35))
    compiler = ProgramCompiler(_NoNames(), False, table, is_router, lambda _verb: 0)
    compiled = compiler.compile(actions)
    assert not compiled.unsupported
    assert isinstance(compiled.program, tuple)
    return compiled.program


def datapath(rig: Rig, *texts: str, is_router: bool = False) -> Datapath:
    """Action lists in stages from 0 on, then to port 2; ports are the wires."""
    dp = rig.datapath(dnat_zone=next(_zones), snat_zone=next(_zones))
    zone = next(_zones)
    for number, wire in enumerate(rig.wires):
        dp.bind(number + 1, wire, zone=zone)
    for stage, text in enumerate(texts):
        dp.flow(stage, program(text, stage, is_router=is_router))
    dp.flow(len(texts), OUT)
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    return dp


def tcp(sport: int, dport: int = 80, source: str = CLIENT, target: str = VIP) -> bytes:
    """A segment that opens."""
    network = IPv6 if ":" in source else IP
    return bytes(ETHER / network(src=source, dst=target) / TCP(sport=sport, dport=dport, flags="S"))


def sent(rig: Rig, frame: bytes) -> Any:
    """What leaves for a frame that comes in by the first wire."""
    out = rig.run(frame, rig.wires[0])
    assert out.drops == {}
    return Ether(out.frame)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_connections_are_spread_evenly(rig: Rig, version: int, count: int) -> None:
    """Each backend of a list gets about its share; a packet that comes again, the same one."""
    if version == 4:
        ends = [f"10.0.{number >> 8}.{number & 255}:8080" for number in range(1000, 1000 + count)]
        source, target = CLIENT, VIP
    else:
        ends = [f"[2001:db8::{number:x}]:8080" for number in range(1000, 1000 + count)]
        source, target = "2001:db8:1::1", "2001:db8:9::1"
    datapath(rig, f"ct_lb_mark(backends={','.join(ends)});")
    seen: Counter[str] = Counter()
    total = 20 * count
    for sport in range(1024, 1024 + total):
        frame = tcp(sport, source=source, target=target)
        network = sent(rig, frame).payload
        assert network[TCP].dport == 8080
        seen[network.dst] += 1
        if not sport % 16:
            assert sent(rig, frame).payload.dst == network.dst
    assert len(seen) == count
    assert max(seen.values()) <= 20 * 3
    assert min(seen.values()) >= 20 // 6


def test_backend_that_stands_more_often_gets_more(rig: Rig) -> None:
    """Three shares of four."""
    datapath(rig, "ct_lb_mark(backends=10.0.1.1,10.0.1.2,10.0.1.1,10.0.1.1);")
    seen = Counter(sent(rig, tcp(sport)).payload.dst for sport in range(1024, 1424))
    assert 250 <= seen["10.0.1.1"] <= 350


def test_choice_depends_on_the_fields_named(rig: Rig) -> None:
    """With a hash of the source address a client always gets one backend, others get others."""
    ends = ",".join(f"10.0.1.{number}" for number in range(1, 17))
    datapath(rig, f'ct_lb_mark(backends={ends}; hash_fields="ip_src");')
    one = {sent(rig, tcp(sport)).payload.dst for sport in range(1024, 1064)}
    many = {sent(rig, tcp(1024, source=f"10.0.0.{n}")).payload.dst for n in range(1, 41)}
    assert len(one) == 1
    assert len(many) > 8


def test_marks_are_those_of_a_load_balancer(rig: Rig) -> None:
    """ct_lb_mark sets natted and its flag in the mark, ct_lb in the label, for all to see."""
    for text, mark, label in (
        (f"ct_lb_mark(backends={BACKEND}; force_snat);", 0b1010, 0),
        (f"ct_lb(backends={BACKEND}; skip_snat);", 0, 0b0110),
        (f"ct_lb_mark(backends={BACKEND});", 0b0010, 0),
    ):
        dp = rig.datapath()
        dp.bind(1, rig.wires[0], zone=next(_zones))
        dp.flow(0, program(text))
        dp.flow(1, (Insn(Op.END),))
        for _packet in range(2):
            words = _words(rig, tcp(1024))
            assert (words[Word.CT_MARK], words[Word.CT_LABEL3]) == (mark, label)
            assert words[Word.CT_LABEL0 : Word.CT_LABEL3] == (0, 0, 0)


def _words(rig: Rig, frame: bytes) -> tuple[int, ...]:
    return rig.run(frame, rig.wires[0]).words


def test_affinity_is_found_in_the_registers_of_northd(rig: Rig) -> None:
    """What was committed for a client and VIP is found for these, and only for these."""
    learn = (
        f'commit_lb_aff(vip = "{VIP}:80", backend = "{BACKEND}:8080", proto = tcp, timeout = 30);'
        " next;"
    )
    dp = datapath(rig, learn)
    rig.run(tcp(1024), rig.wires[0])
    asked = _look(rig, dp, tcp(2000))
    assert asked == (1, 0x0A000101, 8080)
    assert _look(rig, dp, tcp(2000, source="10.0.0.2")) == (0, 0, 0)
    assert _look(rig, dp, tcp(2000, dport=81)) == (0, 0, 0)
    assert _look(rig, dp, tcp(2000, target="10.0.9.2")) == (0, 0, 0)
    assert _look(rig, dp, bytes(ETHER / IP(src=CLIENT, dst=VIP) / UDP(sport=1, dport=80))) == (
        0, 0, 0,
    )  # fmt: skip


def _look(rig: Rig, dp: Datapath, frame: bytes) -> tuple[int, int, int]:
    """What chk_lb_aff finds on a datapath: the bit, reg4, the port in reg8."""
    other = rig.datapath(key=dp.index)
    other.bind(1, rig.wires[0])
    code = program("reg9[6] = chk_lb_aff(); next;")
    other.flow(0, (*code[:-1], Insn(Op.END)))
    words = _words(rig, frame)
    return words[Word.REG9] >> 6 & 1, words[Word.REG4], words[Word.REG8] & 0xFFFF


def test_affinity_ends_after_silence(rig: Rig) -> None:
    """Each use lets it live on; what is over is not found."""
    dp = datapath(
        rig,
        f'commit_lb_aff(vip = "{VIP}", backend = "{BACKEND}", timeout = 30); next;',
    )
    rig.run(tcp(1024), rig.wires[0])
    for _turn in range(3):
        _age_affinity(rig, 20)
        assert _look(rig, dp, tcp(2000, dport=7)) == (1, 0x0A000101, 0)
    _age_affinity(rig, 31)
    assert _look(rig, dp, tcp(2000, dport=7)) == (0, 0, 0)


def _age_affinity(rig: Rig, seconds: int) -> None:
    table = rig.machine.maps["lb_affinity"]
    at = STRUCTS["affinity"].offset_of("used_ns")
    for key, value in table.items():
        changed = bytearray(value)
        (used,) = struct.unpack_from("=Q", value, at)
        struct.pack_into("=Q", changed, at, used - seconds * 10**9)
        table.update(key, bytes(changed))


def test_affinity_over_ipv6(rig: Rig) -> None:
    """A switch of 23.03 expects the backend in xxreg0, a router in xxreg1."""
    client, vip = "2001:db8::1", "2001:db8:9::1"
    learn = f'commit_lb_aff(vip = "{vip}", backend = "2001:db8::7", timeout = 9); next;'
    dp = datapath(rig, learn)
    frame = tcp(1024, source=client, target=vip)
    rig.run(frame, rig.wires[0])
    for is_router, first in ((False, Word.REG0), (True, Word.REG4)):
        other = rig.datapath(key=dp.index)
        other.bind(1, rig.wires[0])
        code = program("reg9[6] = chk_lb_aff(); next;", is_router=is_router)
        other.flow(0, (*code[:-1], Insn(Op.END)))
        words = _words(rig, frame)
        assert words[first : first + 4] == (0x20010DB8, 0, 0, 7)
        assert words[Word.REG9] >> 6 & 1


HAIRPIN = (
    f"ct_lb_mark(backends={CLIENT}:8080);",
    "reg0[6] = chk_lb_hairpin(); reg0[12] = chk_lb_hairpin_reply(); next;",
)


def test_client_that_is_its_own_backend(rig: Rig) -> None:
    """The packet comes back from the VIP; its answer is known, and goes to where the first came."""
    dp = datapath(rig, *HAIRPIN, "ct_snat_to_vip; next;")
    out = rig.run(tcp(1024), rig.wires[0])
    packet = Ether(out.frame)
    assert (packet[IP].src, packet[IP].dst, packet[TCP].dport) == (VIP, CLIENT, 8080)
    answer = bytes(
        ETHER / IP(src=CLIENT, dst=VIP) / TCP(sport=8080, dport=1024, flags="SA", seq=9, ack=1)
    )
    back = rig.datapath(snat_zone=dp_zone(rig, dp, "snat_zone"))
    back.bind(1, rig.wires[0], zone=next(_zones))
    back.bind(2, rig.wires[1])
    back.flow(0, program("reg0[12] = chk_lb_hairpin_reply(); ct_snat;"))
    back.flow(1, OUT)
    back.flow(EGRESS, (Insn(Op.DELIVER),))
    out = rig.run(answer, rig.wires[0])
    packet = Ether(out.frame)
    assert (packet[IP].src, packet[IP].dst, packet[TCP].dport) == (CLIENT, CLIENT, 1024)


def dp_zone(rig: Rig, dp: Datapath, name: str) -> int:
    """A zone of a datapath as the machine has it."""
    value = rig.machine.maps["dps"].lookup(dp.index.to_bytes(4, "little"))
    assert value is not None
    zone = STRUCTS["dp"].unpack(value)[name]
    assert isinstance(zone, int)
    return zone


def test_others_are_no_hairpin(rig: Rig) -> None:
    """Another backend, and a packet from an address to itself that no load balancer has seen."""
    code = program("reg0[6] = chk_lb_hairpin(); next;")
    for first in (program(f"ct_lb_mark(backends={BACKEND});"), program("ct_next;")):
        dp = rig.datapath()
        dp.bind(1, rig.wires[0], zone=next(_zones))
        dp.flow(0, first)
        dp.flow(1, (*code[:-1], Insn(Op.END)))
        for target in (VIP, CLIENT):
            assert not _words(rig, tcp(1024, target=target))[Word.REG0]


def test_copies_of_a_translated_packet_are_apart(rig: Rig) -> None:
    """Of an ICMP error one copy goes out translated, a later one as it came, quote and all."""
    zone = next(_zones)
    dp = rig.datapath(snat_zone=zone)
    for number, wire in enumerate(rig.wires):
        dp.bind(number + 1, wire)
    dp.flow(0, program("ct_snat(192.0.2.1);", is_router=True))
    dp.flow(1, OUT)
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    query = IP(src=CLIENT, dst="10.0.5.5") / UDP(sport=4000, dport=53) / Raw(b"question")
    translated = sent(rig, bytes(ETHER / query))
    assert translated[IP].src == "192.0.2.1"

    other = rig.datapath(snat_zone=zone)
    for number, wire in enumerate(rig.wires):
        other.bind(number + 1, wire)
    fork = Insn(Op.FORK, x=3)
    other.flow(0, (fork, *program("ct_snat;", is_router=True), *(load(Word.OUTPORT, 3), OUT[1])))
    other.flow(1, OUT)
    other.flow(EGRESS, (Insn(Op.DELIVER),))
    error = (
        ETHER / IP(src="10.0.5.5", dst="192.0.2.1") / ICMP(type=3, code=3)
        / Raw(bytes(translated[IP]))
    )  # fmt: skip
    out = rig.run(bytes(error), rig.wires[0])
    (copy,) = rig.wires[1].received()
    assert Ether(copy)[IP].dst == CLIENT
    quote = IP(bytes(Ether(copy)[ICMP].payload))
    assert (quote.src, quote[UDP].sport) == (CLIENT, 4000)
    assert out.frame == bytes(error)


def test_exhausted_nat_is_a_counted_drop(rig: Rig) -> None:
    """The reason is NAT's."""
    dp = rig.datapath(snat_zone=next(_zones))
    dp.bind(1, rig.wires[0])
    dp.bind(2, rig.wires[1])
    dp.flow(0, program("ct_snat(192.0.2.1, 5000);", is_router=True))
    dp.flow(1, OUT)
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    assert rig.run(tcp(1024), rig.wires[0]).drops == {}
    assert rig.run(tcp(1025), rig.wires[0]).drops == {Drop.NAT_EXHAUSTED: 1}


def test_translated_packet_is_written_with_offloads(rig: Rig) -> None:
    """GSO packets, and a device's sum over the whole packet, over both versions."""
    for source, target, nat in (
        (CLIENT, "10.0.5.5", "192.0.2.1"), ("2001:db8::1", "2001:db8::5", "2001:db8:99::1"),
    ):  # fmt: skip
        network = IPv6 if ":" in source else IP
        datapath(rig, f"ct_snat({nat});", is_router=True)
        segment = TCP(sport=1024, dport=80, flags="S") / Raw(bytes(3000))
        frame = bytes(ETHER / network(src=source, dst=target) / segment)
        out = rig.run(frame, rig.wires[0], complete=True)
        assert (out.drops, Ether(out.frame).payload.src) == ({}, nat)
        fresh = Ether(out.frame)
        fresh[TCP].chksum = None
        assert bytes(fresh) == out.frame
        out = rig.run(frame, rig.wires[0], gso_size=1000)
        assert (out.drops, Ether(out.frame).payload.src) == ({}, nat)


def test_held_packet_is_still_known_to_be_translated(rig: Rig) -> None:
    """Put back, with its zone beside the state, it belongs to the connection that it opened."""
    zone = next(_zones)
    dp = rig.datapath(dnat_zone=zone)
    for number, wire in enumerate(rig.wires):
        dp.bind(number + 1, wire)
    dp.flow(0, program(f"ct_dnat({BACKEND});", is_router=True))
    dp.flow(1, OUT)
    dp.flow(EGRESS, (*program("ct_dnat;", is_router=True)[:-1], Insn(Op.DELIVER)))
    frame = bytes(ETHER / IP(src=CLIENT, dst=VIP, proto=47) / Raw(b"tunnel"))
    out = rig.run(frame, rig.wires[0])
    state = out.words[Word.CT_STATE]
    words: dict[int, int] = {Word.DATAPATH: dp.index, Word.INPORT: 1, Word.OUTPORT: 2}
    for kept, told in ((state | zone << 16, state), (state, 0x21)):
        drops = rig.inject(out.frame, words | {Word.CT_STATE: kept}, InjectKind.OUTPUT)
        assert drops == {}
        assert rig.words()[Word.CT_STATE] == told


def test_values_are_chosen_by_weight(rig: Rig) -> None:
    """Each value for its part of the connections, for packets of one connection the same."""
    chosen = _choose(rig, "reg8[16..31] = select(7=1, 65535=2, 9=5);")
    seen = Counter(chosen(tcp(sport)) for sport in range(1024, 1824))
    assert set(seen) == {7, 65535, 9}
    assert 60 <= seen[7] <= 140
    assert 150 <= seen[65535] <= 250
    assert len({chosen(tcp(2000)) for _packet in range(5)}) == 1


def test_choice_of_a_value_depends_on_the_fields_named(rig: Rig) -> None:
    """With a hash of the addresses a client's connections go one way, other clients' others."""
    many = ",".join(map(str, range(1, 17)))
    chosen = _choose(rig, f'reg0[0..15] = select(values=({many}); hash_fields="ip_src,ip_dst");')
    assert len({chosen(tcp(sport), Word.REG0, 0) for sport in range(1024, 1064)}) == 1
    others = [tcp(1024, source=f"10.0.0.{host}") for host in range(1, 41)]
    assert len({chosen(frame, Word.REG0, 0) for frame in others}) > 8


def test_routers_in_a_row_choose_independently(rig: Rig) -> None:
    """Of what one sends one way the next sends a part each way."""
    first, second = (_choose(rig, "reg8[16..31] = select(1, 2);") for _router in range(2))
    frames = [tcp(sport) for sport in range(1024, 1224)]
    ways = Counter((one, second(frame)) for frame, one in [(f, first(f)) for f in frames])
    assert len(ways) == 4


def _choose(rig: Rig, text: str) -> Callable[..., int]:
    """What a word holds, on the stage behind, for a frame in a datapath of its own."""
    dp = rig.datapath()
    dp.flow(0, program(text))
    dp.flow(1, (Insn(Op.END),))

    def chosen(frame: bytes, word: Word = Word.REG8, shift: int = 16) -> int:
        dp.bind(1, rig.wires[0])
        return _words(rig, frame)[word] >> shift & 0xFFFF

    return chosen
