# SPDX-License-Identifier: Apache-2.0
"""Users' modules in a machine: their numbers, programs, maps and counts.

A change takes steps, so that one module that cannot be used leaves all as it was::

    loaded = {"limit": modules.load("limit", Path("limit.bpf.c"), {"max_size": 1500})}  # raises
    change = modules.exchange(loaded)  # from here on packets meet them
    modules.revert(change)  # or, when all else went well,
    modules.settle(change)

A program is exchanged at once for all packets. A module that stands in flows under its number
and is not installed drops its packets (``module_missing``).

Maps of a settled module are pinned below ``<pin_dir>/module-maps/<name>`` and live on through a new
version, if it declares them alike, and through a restart of the agent.
"""

import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ovs.vlog

from iovisor_ovn.abi import STRUCTS, Limit
from iovisor_ovn.dataplane.attach import attached
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.dataplane.maps import Map
from iovisor_ovn.dataplane.module_device import device_name, ensure_device, remove_device
from iovisor_ovn.dataplane.module_settings import Value
from iovisor_ovn.dataplane.user_program import UserProgram, digest, load_module
from iovisor_ovn.errors import DataplaneError, MapFullError

__all__ = ["Exchange", "ModuleCounts", "UserModules"]

_log = ovs.vlog.Vlog("user_modules")

#: What was in force before, by the names of what is now.
Exchange = Mapping[str, UserProgram | None]

_COUNT = STRUCTS["module_count"]
_PLAIN = re.compile(r"[A-Za-z0-9-]")


@dataclass(frozen=True, slots=True)
class ModuleCounts:
    """Packets by what the module said; a packet for which none was loaded is ``missing``."""

    passed: int
    sent: int
    dropped: int
    invalid: int
    missing: int


class UserModules:
    """The modules of one load of the machine, by name."""

    def __init__(self, machine: Machine) -> None:
        """Begin without any; what an earlier agent left of their maps is taken up by name."""
        self._machine = machine
        self._pins = machine.pin_dir / "module-maps"
        self._device = device_name(machine.pin_dir)
        self._numbers: dict[str, int] = {}
        self._installed: dict[str, UserProgram] = {}

    @property
    def names(self) -> frozenset[str]:
        """All that have a number."""
        return frozenset(self._numbers)

    def number(self, name: str) -> int:
        """The number that flows and ports know a module by; a new one for a new name.

        Raises MapFullError.
        """
        number = self._numbers.get(name)
        if number is not None:
            return number
        taken = set(self._numbers.values())
        number = next((free for free in range(Limit.MODULES) if free not in taken), None)
        if number is None:
            raise MapFullError("modules", Limit.MODULES)
        counts = self._machine.maps["module_counts"]
        counts.update(_key(number), bytes(counts.slot_size))
        self._numbers[name] = number
        return number

    def load(self, name: str, program: Path, settings: Mapping[str, Value]) -> UserProgram:
        """Load a program for ``name``, with the maps of the one before where they are alike.

        Returns the installed one if it is the same. Raises UserModuleError.
        """
        before = self._installed.get(name)
        if (
            before is not None
            and (before.path, before.settings) == (program, dict(settings))
            and before.digest == digest(program)
        ):
            return before
        if before is not None:
            return load_module(program, settings, before.maps)
        kept = self._pinned(name)
        try:
            return load_module(program, settings, kept)
        finally:
            for item in kept.values():
                item.close()

    def exchange(self, programs: Mapping[str, UserProgram]) -> Exchange:
        """Put loaded programs into force, each at once; what was before stays loaded.

        Raises DataplaneError (too many modules, no device for copies) and changes nothing then.
        """
        before = {name: self._installed.get(name) for name in programs}
        try:
            for name, loaded in programs.items():
                self._install(name, loaded)
        except DataplaneError:
            self.revert(before)
            raise
        return before

    def revert(self, change: Exchange) -> None:
        """Go back to what was; modules that were not there are removed."""
        for name, before in change.items():
            now = self._installed.get(name)
            if before is None:
                self._forget(name)
            elif now is not before:
                self._install(name, before)
                if now is not None:
                    now.close()

    def settle(self, change: Exchange) -> None:
        """Let go of what was before a change."""
        for name, before in change.items():
            now = self._installed.get(name)
            if now is before:
                continue
            if before is not None:
                before.close()
            if now is not None:
                self._pin(name, now)

    def _install(self, name: str, loaded: UserProgram) -> None:
        if self._installed.get(name) is loaded:
            return
        number = self.number(name)
        self._machine.use_module_device(lambda: ensure_device(self._device))
        self._machine.maps["modules"].update(_key(number), struct.pack("=I", loaded.program.fd))
        self._installed[name] = loaded

    def withdraw(self, name: str) -> None:
        """Take the program out; its packets are dropped, number and maps stay."""
        loaded = self._installed.pop(name, None)
        if loaded is not None:
            self._machine.maps["modules"].delete(_key(self._numbers[name]), missing_ok=True)
            loaded.close()

    def remove(self, name: str) -> None:
        """Forget a module that no flow and no port names any more, with its maps."""
        self._forget(name)
        self._unpin(name)

    def _forget(self, name: str) -> None:
        self.withdraw(name)
        self._numbers.pop(name, None)

    def keep_only(self, names: frozenset[str]) -> None:
        """Remove all others, those of an earlier agent, too."""
        for name in self.names - names:
            self.remove(name)
        wanted = {_file_name(name) for name in names}
        for place in self._pins.glob("*"):
            if place.is_dir() and place.name not in wanted:
                _remove_pins(place)

    def close(self, *, keep: bool) -> None:
        """Let go; without ``keep`` nothing of the modules is left in the kernel."""
        if not keep:
            self.keep_only(frozenset())
        if not keep or not attached(self._machine.pin_dir / "again"):
            remove_device(self._device)
        for loaded in self._installed.values():
            loaded.close()
        self._installed.clear()

    # What is shown

    def installed(self, name: str) -> UserProgram | None:
        """The program in force."""
        return self._installed.get(name)

    def counts(self, name: str) -> ModuleCounts:
        """What became of a module's packets since it got its number."""
        table = self._machine.maps["module_counts"]
        totals = dict.fromkeys(ModuleCounts.__slots__, 0)
        for value in table.lookup_per_cpu(_key(self._numbers[name])) or []:
            for member, number in _COUNT.unpack(value).items():
                assert isinstance(number, int)
                totals[member] += number
        return ModuleCounts(**totals)

    # Pins

    def _pinned(self, name: str) -> dict[str, Map]:
        place = self._pins / _file_name(name)
        return {pin.name: Map.open_pin(pin) for pin in sorted(place.glob("*"))}

    def _pin(self, name: str, loaded: UserProgram) -> None:
        # The program is in force: what cannot be pinned is lost at a restart, and no sooner.
        place = self._pins / _file_name(name)
        try:
            self._unpin(name)
            place.mkdir(parents=True, exist_ok=True)
            for map_name, item in loaded.maps.items():
                item.pin(place / map_name)
        except (DataplaneError, OSError) as error:
            _log.warn(f"maps_not_pinned module={name} reason={error}")

    def _unpin(self, name: str) -> None:
        _remove_pins(self._pins / _file_name(name))


def _remove_pins(place: Path) -> None:
    for pin in place.glob("*"):
        pin.unlink()
    with suppress(FileNotFoundError):
        place.rmdir()


def _file_name(name: str) -> str:
    """A name as bpffs takes it: no dots, and none that two names share."""
    return "".join(letter if _PLAIN.fullmatch(letter) else f"_{ord(letter):x}_" for letter in name)


def _key(number: int) -> bytes:
    return struct.pack("=I", number)
