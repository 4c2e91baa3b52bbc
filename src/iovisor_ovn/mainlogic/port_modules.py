# SPDX-License-Identifier: Apache-2.0
"""Users' modules before logical ports, as their interfaces ask for them.

A module that cannot be loaded leaves the one before in force; if there was none, the port has
the number of a module without a program, and its packets are dropped: a filter that is not there
must not be taken for one that works.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import ovs.vlog

from iovisor_ovn.dataplane.user_modules import UserModules
from iovisor_ovn.errors import DataplaneError, UserModuleError

__all__ = ["Interface", "PortModules", "read_settings"]

_log = ovs.vlog.Vlog("modules")


class Interface(Protocol):
    """What an interface asks for."""

    @property
    def module(self) -> str:
        """Path of the module's object or source, empty for none."""

    @property
    def module_settings(self) -> str:
        """Its settings, ``name=value`` with blanks between."""


class PortModules:
    """One module for each logical port whose interface asks for one."""

    def __init__(self, modules: UserModules) -> None:
        """Begin without any."""
        self._modules = modules
        self._wishes: dict[str, tuple[str, str]] = {}
        #: Why modules are not what their interfaces ask for, by logical port.
        self.refused: dict[str, str] = {}

    def follow(self, interfaces: Mapping[str, Interface]) -> None:
        """Load what interfaces (by logical port) ask for now and did not before.

        Raises MapFullError when there are more modules than the machine takes.
        """
        wishes = {
            port: (interface.module, interface.module_settings)
            for port, interface in interfaces.items()
            if interface.module
        }
        for port, wish in wishes.items():
            if self._wishes.get(port) != wish:
                self._modules.number(_name(port))
                self._load(port, *wish)
        self._wishes = wishes
        self.refused = {port: why for port, why in self.refused.items() if port in wishes}

    def settle(self) -> None:
        """Forget modules that no port's record names any more, and those of an earlier agent."""
        self._modules.keep_only(frozenset(_name(port) for port in self._wishes))

    def recompute(self) -> None:
        """Load everything again at the next :meth:`follow`, from files that may have changed."""
        self._wishes = {}

    def record(self, port: str) -> int:
        """What a port's record says: 1 + the module's number, 0 for none."""
        return self._modules.number(_name(port)) + 1 if port in self._wishes else 0

    def _load(self, port: str, program: str, text: str) -> None:
        try:
            settings = read_settings(program, text)
            loaded = self._modules.load(_name(port), Path(program), settings)
            self._modules.settle(self._modules.exchange({_name(port): loaded}))
        except DataplaneError as error:
            before = self._modules.installed(_name(port))
            state = f"{before.path} stays" if before else "its packets are dropped"
            self.refused[port] = f"{error} ({state})"
            _log.err(f"module_refused port={port} in_force={before.path if before else 'none'} "
                     f"reason={str(error)!r}")  # fmt: skip
        else:
            self.refused.pop(port, None)
            _log.info(f"module_loaded port={port} program={program}")


def read_settings(program: str, text: str) -> dict[str, str]:
    """Read ``a=1 b="two words"``. Raises UserModuleError."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserModuleError(program, f"settings {text!r}: {error}") from error
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UserModuleError(program, f"settings: {word!r} is not name=value")
        settings[name] = value
    return settings


def _name(port: str) -> str:
    return f"port/{port}"
