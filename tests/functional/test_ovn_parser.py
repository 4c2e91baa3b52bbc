# SPDX-License-Identifier: Apache-2.0
"""As strict as OVN: what its parser refuses we refuse, what it takes we take.

Where we differ on purpose, a line of ``docs/differences.md`` says so: :data:`_DELIBERATE` names
the lines, and what the two sides then say.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from functional.ovn_parser import N_TABLES, OvnParser
from iovisor_ovn.language import (
    Conjunction,
    LanguageError,
    SymbolTable,
    annotate,
    evaluate,
    normalize,
    parse_actions,
    parse_match,
)
from judges.cases import random_packet
from judges.direct import View
from judges.mutate import mutated
from judges.packets import Packet
from judges.texts import Writer, draw_focus, match_text
from judges.world import MEMBERS, PORTS, SETS, context
from support.fuzzing import Fuzz

pytestmark = pytest.mark.needs_ovs

_CASES = Path(__file__).parents[1] / "cases" / "language"
_PAGE = Path(__file__).parents[2] / "docs" / "differences.md"
_TAKES_IT = "takes it"

#: Words that releases after 23.03 brought.
_LATER = (
    "ct_commit_to_zone|ct_lb_mark_local|values|mac_cache_use|flood_remote|mirror|chk_evpn_arp"
    "|ct_nw_dst|ct_ip6_dst|ct_tp_dst|ct_proto|ct_state_save|get_remote_fdb|dhcp_relay_req_chk"
    "|dhcp_relay_resp_chk|pass|fqdn"
)

#: First words of a line of the page; what OVN says, what we say, what is in the text.
_DELIBERATE = (
    ("Names of later releases", rf"`({_LATER})'|observation_point_id", _TAKES_IT, ""),
    ("Names of later releases", r"`\('", _TAKES_IT, r"ct_(next|commit_nat) ?\("),
    ("Sets and groups that do not exist", "expecting (address set|port group) name", _TAKES_IT, ""),
    ("Members of a set", "constant is not compatible with", _TAKES_IT, r"\$"),
    ("Empty sets", _TAKES_IT, "string|integer|no address", r"@g3|\$none4"),
    ("`icmp4.frag_mtu`", _TAKES_IT, "is no field of a packet|only be set to a constant", ""),
    ("`ct_commit { … }`", _TAKES_IT, "can only set bits of ct_mark and ct_label", ""),
    ("Numbers that are too wide", _TAKES_IT, "stands where a (port n|n)umber", ""),
    ("Numbers that are too wide", _TAKES_IT, "does not fit into", r"ct_commit ?\("),
    ("Numbers that are too wide", _TAKES_IT, "no more than 128 bits", "/"),
    ("Text that OVN skips", _TAKES_IT, "", "sample|set_meter|ct_lb|fwd_group"),
)

#: As deep as it may be, and deeper.
_DEEP_MATCHES = tuple("(" * n + "ip4" + ")" * n for n in (100, 101))
_DEEP_ACTIONS = tuple("clone { " * n + "next;" + " };" * n for n in (31, 32))

_SYMBOLS = SymbolTable.default("23.03")
_TABLES = (N_TABLES, N_TABLES)


def _read_match(text: str) -> None:
    parse_match(text, _SYMBOLS)


def _read_actions(text: str) -> None:
    parse_actions(text, _SYMBOLS, pipeline="ingress", table=10, n_tables=_TABLES)


def _refusal(read: Callable[[str], None], text: str) -> str:
    try:
        read(text)
    except LanguageError as error:
        return str(error)
    return ""


def _golden(name: str) -> list[str]:
    lines = (_CASES / f"{name}.txt").read_text().splitlines()
    return [line.split("  =>  ")[0] for line in lines if not line.startswith("#")]


def _compare(
    texts: Sequence[str], theirs: Mapping[str, str], read: Callable[[str], None]
) -> list[str]:
    """A line for each text that only one side takes."""
    found = []
    for text in texts:
        ours, other = _refusal(read, text) or _TAKES_IT, theirs.get(text, _TAKES_IT)
        if (ours == _TAKES_IT) != (other == _TAKES_IT) and not _is_deliberate(text, other, ours):
            found.append(f"{text}\n  OVN:  {other}\n  ours: {ours}")
    return found


def _is_deliberate(text: str, theirs: str, ours: str) -> bool:
    return any(
        re.search(others, theirs) and re.search(mine, ours) and re.search(inside, text)
        for _line, others, mine, inside in _DELIBERATE
    )


def test_deliberate_differences_are_on_the_page() -> None:
    """Each has a line."""
    page = _PAGE.read_text()
    assert [line for line, *_rest in _DELIBERATE if f"\n| {line}" not in page] == []


def _hold(fuzz: Fuzz, found: Sequence[str], texts: Sequence[str], refused: int) -> None:
    fuzz.summary = f"{len(texts)} texts, {refused} refused by OVN, {len(found)} disagreements"
    assert 0.1 < refused / len(texts) < 0.9, "texts of one kind only show little"
    assert not found, "\n".join(found[:20]) + f"\nagain: --fuzz-seed={fuzz.seed}"


def test_matches(fuzz: Fuzz, tmp_path: Path) -> None:
    """Random matches, the golden cases, and both with mistakes in them."""
    rng = random.Random(fuzz.seed)
    golden = [*_golden("match"), *_DEEP_MATCHES]
    drawn = [match_text(rng) for _ in range(fuzz.count(1500))]
    right = [text for text in drawn if not _refusal(_read_match, text)]
    sources = right + golden
    wrong = [mutated(rng, rng.choice(sources), sources) for _ in range(len(right) * 3)]
    # `<` with an address set: some of these make ovn-trace abort.
    texts = [text for text in dict.fromkeys(golden + right + wrong)
             if "used with address sets" not in _refusal(_read_match, text)]  # fmt: skip
    theirs = OvnParser(tmp_path).refused("match", texts)
    _hold(fuzz, _compare(texts, theirs, _read_match), texts, len(theirs))


def test_actions(fuzz: Fuzz, tmp_path: Path) -> None:
    """Random lists, the golden cases, and both with mistakes in them."""
    rng = random.Random(fuzz.seed)
    golden = [*_golden("actions"), *_golden("extensions"), *_DEEP_ACTIONS]
    drawn = [Writer(rng, egress=False, table=10, n_tables=_TABLES).actions()
             for _ in range(fuzz.count(1000))]  # fmt: skip
    right = [text for text in drawn if not _refusal(_read_actions, text)]
    sources = [*right[: len(golden)], *golden]
    wrong = [mutated(rng, rng.choice(sources), sources) for _ in range(len(right) * 4)]
    texts = list(dict.fromkeys(golden + right + wrong))
    theirs = OvnParser(tmp_path).refused("actions", texts)
    _hold(fuzz, _compare(texts, theirs, _read_actions), texts, len(theirs))


#: What ovn-trace begins without: a pipeline knows no outport, and its packets have no TOS.
_NOT_SET = {"outport": 0, "ip.dscp": 0, "ip.ecn": 0}
#: Where ports are it does not know, and `!=` with an empty set is a line of the page.
_ELSEWHERE = re.compile(r"resident|\$none4")


def test_packets_meet_the_same_matches(fuzz: Fuzz, tmp_path: Path) -> None:
    """OVN's own evaluation against the tree evaluated directly, for packets near the matches."""
    rng = random.Random(fuzz.seed)
    oracle, rows = OvnParser(tmp_path), context(SETS)
    wrong: list[str] = []
    n_met = n_asked = 0
    for _batch in range(-(-fuzz.count(10) // 4)):
        texts = _evaluable(rng, N_TABLES - 1)
        packets = _near(rng, texts)
        trees = [annotate(parse_match(text, _SYMBOLS), _SYMBOLS) for text in texts]
        answers = oracle.met(texts, [_microflow(packet) for packet in packets])
        for packet, met in zip(packets, answers, strict=True):
            view = View({**packet.fields, **_NOT_SET})
            ours = {at for at, tree in enumerate(trees) if evaluate(tree, view, rows)}
            n_met, n_asked = n_met + len(met), n_asked + len(texts)
            wrong += [
                f"{texts[at]}\n  {_microflow(packet)}\n  OVN: {at in met}, ours: {at in ours}"
                for at in met ^ ours
            ]
    fuzz.summary = f"{n_asked} matches asked, {n_met} met, {len(wrong)} disagreements"
    assert n_met > n_asked // 20
    assert wrong == [], "\n".join(wrong[:10])


def _near(rng: random.Random, texts: Sequence[str]) -> list[Packet]:
    """Some packets that come near the matches, from ports that ovn-trace knows."""
    near: list[Conjunction] = []
    for text in texts:
        near += normalize(parse_match(text, _SYMBOLS), _SYMBOLS)[:8]
    drawn = [random_packet(rng, near, dict(SETS), any_state=True, whole=False) for _ in range(40)]
    return [packet for packet in drawn if packet.fields["inport"] in MEMBERS]


def _evaluable(rng: random.Random, count: int) -> list[str]:
    """Matches that OVN 23.03 takes."""
    found: list[str] = []
    while len(found) < count:
        text = match_text(rng, draw_focus(rng))
        if not _ELSEWHERE.search(text) and not _refusal(_read_match, text):
            found.append(text)
    return found


def _microflow(packet: Packet) -> str:
    """The packet's fields as ovn-trace wants them."""
    names = {key: name for name, key in PORTS.items()}
    left_out = list(_NOT_SET)
    if packet.fields.get("ip.ttl") != 255:
        left_out += ["nd.target", "nd.sll", "nd.tll"]  # not there, to OVN
    values = {name: hex(value) for name, value in packet.fields.items() if name not in left_out}
    if packet.shape.network == 0x8035:
        values = {name.replace("arp.", "rarp."): value for name, value in values.items()}
    values["inport"] = f'"{names[packet.fields["inport"]]}"'
    return " && ".join(f"{name} == {value}" for name, value in values.items())
