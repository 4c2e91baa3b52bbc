# SPDX-License-Identifier: Apache-2.0
"""Neighbours that have to be asked, as hosts do it (RFC 1122, 2.3.2.1; RFC 4861, 7.3).

Three times, a second apart:

- for whom packets wait; nobody answers: the senders hear that the host is unreachable;
- who is in use and has not spoken for a while, the last time as if it were not known; nobody
  answers: it is forgotten.

Questions are put into the machine where the flows' own go out, so that they take the same way.
"""

import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import ovs.poller
import ovs.vlog

from iovisor_ovn.abi import STRUCTS, InjectKind, Word
from iovisor_ovn.errors import DataplaneError
from iovisor_ovn.mainlogic.neighbours import mac_number, neighbour_key
from iovisor_ovn.mainlogic.packets import Send
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.modules import Emission
from iovisor_ovn.modules.emission import Speaker, port_name
from iovisor_ovn.services.asking import ask_arp, ask_nd
from iovisor_ovn.services.holding import Held, HoldQueue, Hop, Patience

__all__ = ["ASK_EVERY_S", "Asking"]

_log = ovs.vlog.Vlog("asking")

_TIMES = 3
#: RFC 1122, 2.3.2.1: no more than one question a second for each neighbour.
ASK_EVERY_S = 1
#: A neighbour that is in use is asked when it has not spoken for so long.
_TRUST_S = 30.0
#: Used within so many seconds: in use. The machine notes a use to a second.
_IN_USE_S = 10.0
_LOOK_EVERY_S = 5.0
#: Of packets that wait for one neighbour, as Linux's unres_qlen_bytes.
_MOST_BYTES = 212_992
_SECOND_NS = 1_000_000_000
_LOOPBACK = 1  # flags.loopback
_STATE_WORDS = 24
_32_BITS = 0xFFFFFFFF
_KEY = STRUCTS["neigh_key"]
_VALUE = STRUCTS["neigh"]


class _Owner(NamedTuple):
    """Who asks on a port, and the stage where packets go on that nobody answers for."""

    speaker: Speaker
    unreachable: int | None


@dataclass(slots=True)
class _Doubt:
    """A neighbour that is being asked: since when it had been silent, how often, when next."""

    confirmed_ns: int
    asked: int
    next_ns: int


class Asking:
    """Asks for a pipeline's modules."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Ask for nobody before :meth:`follow`."""
        self._machine = pipeline.machine
        self._world = pipeline.world
        self._table = pipeline.machine.maps["neighbours"]
        self._owners: dict[str, _Owner] = {}
        self._doubts: dict[bytes, _Doubt] = {}
        self._due = time.monotonic() + _LOOK_EVERY_S

    def follow(self, emissions: Mapping[str, Emission]) -> None:
        """Ask for these modules from now on."""
        self._owners = {
            port_name(module, speaker.port): _Owner(speaker, emission.unreachable)
            for module, emission in emissions.items()
            for speaker in emission.speakers
        }

    def hold(self, send: Send) -> HoldQueue:
        """The queue of packets that wait for neighbours."""
        patience = Patience(
            _TIMES * ASK_EVERY_S, from_latest=False, ask_every_s=ASK_EVERY_S, most_bytes=_MOST_BYTES
        )
        return HoldQueue(send, patience, self._ask_again, self._unreachable)

    # -- packets that wait ---------------------------------------------------------------

    def _ask_again(self, hop: Hop) -> None:
        index, port, address = hop
        now = struct.pack("=Q", time.monotonic_ns())
        self._machine.maps["asked"].update(neighbour_key(index, port, address), now)
        self._ask(index, port, address, 0)

    def _unreachable(self, hop: Hop, packets: Sequence[Held]) -> None:
        owner = self._owner(hop[0], hop[1])
        if owner is None or owner.unreachable is None:
            return
        for held in packets:
            try:
                self._machine.inject(
                    held.frame, held.words, kind=InjectKind.STAGE, stage=owner.unreachable
                )
            except DataplaneError as error:
                _log.warn(f"unreachable_not_told bytes={len(held.frame)} reason={error}")

    # -- neighbours in use ---------------------------------------------------------------

    def run(self) -> None:
        """Ask whoever is to be asked by now."""
        now = time.monotonic()
        if now >= self._due:
            self.sweep(time.monotonic_ns())
            self._due = now + (ASK_EVERY_S if self._doubts else _LOOK_EVERY_S)

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when :meth:`run` has something to do."""
        poller.timer_wait(max(0, int((self._due - time.monotonic()) * 1000) + 1))

    def sweep(self, now_ns: int) -> None:
        """Doubt who has been silent, ask the doubted again; ``now_ns`` is CLOCK_MONOTONIC."""
        found = {}
        for key, value in self._table.items():
            entry = _VALUE.numbers(value)
            learned = entry["mac_hi"] << 32 | entry["mac_lo"]
            if learned and not (entry["static_hi"] or entry["static_lo"]):
                found[key] = (learned, entry["confirmed_ns"], entry["used_ns"])
        for key in self._doubts.keys() - found.keys():
            del self._doubts[key]
        for key, (mac, confirmed_ns, used_ns) in found.items():
            doubt = self._doubts.get(key)
            if doubt is not None and doubt.confirmed_ns != confirmed_ns:
                del self._doubts[key]
            elif doubt is not None:
                self._doubted(key, doubt, mac, now_ns)
            elif (
                now_ns - confirmed_ns >= _TRUST_S * _SECOND_NS
                and now_ns - used_ns <= _IN_USE_S * _SECOND_NS
            ):
                self._doubts[key] = doubt = _Doubt(confirmed_ns, 0, now_ns)
                self._doubted(key, doubt, mac, now_ns)

    def _doubted(self, key: bytes, doubt: _Doubt, mac: int, now_ns: int) -> None:
        if now_ns < doubt.next_ns:
            return
        index, port, address = _place(key)
        if doubt.asked == _TIMES:
            self._table.delete(key, missing_ok=True)
            self._machine.renew()
            del self._doubts[key]
            _log.info(f"neighbour_silent datapath={index} port={port} address={_ip(address)}")
            return
        doubt.asked += 1
        doubt.next_ns = now_ns + int(ASK_EVERY_S * _SECOND_NS)
        if not self._ask(index, port, address, mac if doubt.asked < _TIMES else 0):
            del self._doubts[key]

    # -- questions -----------------------------------------------------------------------

    def _ask(self, index: int, port: int, address: int, mac: int) -> bool:
        """Send a question, to ``mac`` or (0) to whoever may know; whether there is one to send."""
        owner = self._owner(index, port)
        target = _ip(address)
        source = owner.speaker.source(target) if owner is not None else None
        own_mac = mac_number(owner.speaker.mac) if owner is not None else None
        if own_mac is None:
            return False
        if isinstance(target, IPv4Address) and isinstance(source, IPv4Address):
            frame = ask_arp(own_mac, source, target, mac)
        elif isinstance(target, IPv6Address) and isinstance(source, IPv6Address):
            frame = ask_nd(own_mac, source, target, mac)
        else:
            return False
        words = [0] * _STATE_WORDS
        words[Word.DATAPATH], words[Word.OUTPORT], words[Word.FLAGS] = index, port, _LOOPBACK
        try:
            self._machine.inject(frame, tuple(words))
        except DataplaneError as error:
            _log.warn(f"question_not_sent target={target} reason={error}")
        return True

    def _owner(self, index: int, port: int) -> _Owner | None:
        for uuid, local in self._world.local.items():
            if local == index:
                binding = self._world.port_at(uuid, port)
                return self._owners.get(binding.name) if binding is not None else None
        return None


def _place(key: bytes) -> tuple[int, int, int]:
    """Datapath index, port key and address of an entry."""
    entry = _KEY.unpack(key)
    index, port, words = entry["dp"], entry["port"], entry["ip"]
    assert isinstance(index, int)
    assert isinstance(port, int)
    assert isinstance(words, tuple)
    address = 0
    for word in words:
        address = address << 32 | word
    return index, port, address


def _ip(address: int) -> IPv4Address | IPv6Address:
    return IPv4Address(address) if address <= _32_BITS else IPv6Address(address)
