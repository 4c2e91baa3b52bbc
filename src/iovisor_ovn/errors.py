# SPDX-License-Identifier: Apache-2.0
"""Every exception that iovisor-ovn raises on purpose.

::

    IovisorOvnError
    ├── ConfigError             an option, an environment variable or a database setting is unusable
    │   └── TopologyError           a chain's file cannot be put into force (has all problems found)
    ├── LanguageError           a match or an action list is not OVN's language (has a column)
    ├── OvsdbError              a database cannot be used
    │   ├── OvsdbConnectionError    it cannot be reached
    │   └── OvsdbTransactionError   it refused a change
    └── DataplaneError          the kernel side cannot be used
        ├── KernelSupportError      a kernel feature or a privilege is missing
        ├── ProgramLoadError        the verifier refused a program (carries the log's end)
        ├── MapFullError            a BPF map has no room left
        ├── UserModuleError         a user's module cannot be used (has the program and the reason)
        ├── AttachError             a program could not be attached to a device
        └── DeviceError             a network device could not be made or changed

Bad input (a logical flow that does not parse) is collected as a value by its reader; an
exception here means that the current unit of work cannot be finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AttachError",
    "ConfigError",
    "DataplaneError",
    "DeviceError",
    "IovisorOvnError",
    "KernelSupportError",
    "LanguageError",
    "MapFullError",
    "OvsdbConnectionError",
    "OvsdbError",
    "OvsdbTransactionError",
    "Problem",
    "ProgramLoadError",
    "TopologyError",
    "UserModuleError",
]


class IovisorOvnError(Exception):
    """Root of the tree: catch this at the edge of the process, nowhere else."""


class ConfigError(IovisorOvnError):
    """A setting cannot be used; the text names the setting and the value."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file; line and column count from 1, 0 for none.

    ``key`` leads to it from the top, as ``modules[2].config.lease_time``.
    """

    message: str
    line: int = 0
    column: int = 0
    key: str = ""


class TopologyError(ConfigError):
    """A chain's file, or the chain that it describes, cannot be put into force.

    Its text has a line for each problem: ``FILE:LINE:COLUMN: KEY: MESSAGE``.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        """Keep the problems; ``source`` is what the file is called."""
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(self._line(problem) for problem in problems))

    def _line(self, problem: Problem) -> str:
        place = f":{problem.line}:{problem.column}" if problem.line else ""
        key = f"{problem.key}: " if problem.key else ""
        return f"{self.source}{place}: {key}{problem.message}"


class LanguageError(IovisorOvnError):
    """A text is not a match or an action list.

    ``column`` counts characters from 0 in ``source``, the whole text that was read.
    """

    def __init__(self, message: str, column: int, source: str) -> None:
        """Keep the parts; the text shown is ``column N: message``."""
        super().__init__(f"column {column}: {message}")
        self.message = message
        self.column = column
        self.source = source


class OvsdbError(IovisorOvnError):
    """A database cannot be used."""


class OvsdbConnectionError(OvsdbError):
    """A database server cannot be reached or does not speak the protocol."""


class OvsdbTransactionError(OvsdbError):
    """A database server refused a transaction; the text carries its reason."""


class DataplaneError(IovisorOvnError):
    """The kernel side cannot be used."""


class KernelSupportError(DataplaneError):
    """The kernel lacks a feature, or the process a privilege, that the data plane needs."""


class ProgramLoadError(DataplaneError):
    """The verifier refused a program.

    ``program`` is its name, ``log`` the end of the verifier's log.
    """

    def __init__(self, program: str, log: str) -> None:
        """Keep the parts; the text shown holds both."""
        super().__init__(f"program {program} was refused by the verifier:\n{log}")
        self.program = program
        self.log = log


class MapFullError(DataplaneError):
    """A BPF map has no room left; ``map_name`` and ``capacity`` (entries) say which.

    ``waits_for_force``: there is room, once what is in force is not any more.
    """

    def __init__(self, map_name: str, capacity: int, *, waits_for_force: bool = False) -> None:
        """Keep the parts; the text shown holds both."""
        reason = ": old and new do not fit side by side" if waits_for_force else ""
        super().__init__(f"map {map_name} is full ({capacity} entries){reason}")
        self.map_name = map_name
        self.capacity = capacity
        self.waits_for_force = waits_for_force


class UserModuleError(DataplaneError):
    """A user's module cannot be used: it does not compile, load, or take its settings.

    ``program`` is its file as it was named, ``reason`` may have several lines.
    """

    def __init__(self, program: str, reason: str) -> None:
        """Keep the parts; the text shown holds both."""
        super().__init__(f"module {program}: {reason}")
        self.program = program
        self.reason = reason


class AttachError(DataplaneError):
    """A program could not be attached to a network device."""


class DeviceError(DataplaneError):
    """A network device could not be made, changed or read."""
