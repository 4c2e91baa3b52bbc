# SPDX-License-Identifier: Apache-2.0
"""Leases of a chain's DHCP servers in a file, for a reboot and for `down`, which end the maps.

Who has which address counts for as long as the lease does, whatever becomes of the server: a client
that hears nothing of a restart goes on using its address. The file is written when leases have
changed, at most once in :data:`EVERY_S` (it takes ten microseconds a lease), and when a chain ends.
Times in it are those of the wall clock, in seconds since 1970.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import ovs.vlog

from iovisor_ovn.abi import DhcpState
from iovisor_ovn.dataplane.dhcp import Lease

__all__ = ["EVERY_S", "LeaseFile"]

_log = ovs.vlog.Vlog("leases")

#: What is given away later than this before a power failure may be lost.
EVERY_S = 10.0
_NO_POOL = 0
_DRIFT_S = 1
_MAC_SIZE = 6


class LeaseFile:
    """The file of one chain."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Read ``path``. A missing file has no leases; one that cannot be read is put aside."""
        self._path = path
        self._clock = clock
        self._content: dict[str, list[dict[str, Any]]] = {}
        try:
            content = json.loads(path.read_text())
            for module, entries in content["leases"].items():
                self._content[module] = entries
                self.of(module, _NO_POOL)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._content = {}
            aside = path.with_suffix(".unreadable")
            _log.err(f"leases_unreadable path={path} kept_as={aside} error={error!r}")
            _move(path, aside)

    def of(self, module: str, pool: int) -> list[Lease]:
        """Leases of a module, which has this pool now."""
        now = self._clock()
        return [_read(entry, pool, now) for entry in self._content.get(module, [])]

    def save(self, leases: Mapping[str, Iterable[Lease]]) -> None:
        """Write leases by module if they changed; other modules' stay while they last."""
        now = self._clock()
        content = {
            module: unexpired
            for module, entries in self._content.items()
            if module not in leases and (unexpired := [e for e in entries if e["expires"] > now])
        }
        for module, known in leases.items():
            ends = {entry["ip"]: entry["expires"] for entry in self._content.get(module, [])}
            entries = [
                _write(lease, now, ends.get(str(lease.ip), 0))
                for lease in sorted(known, key=lambda lease: lease.ip)
                if lease.state is not DhcpState.OFFERED
            ]
            if entries:
                content[module] = entries
        if content == self._content:
            return
        try:
            _replace(self._path, json.dumps({"leases": content}, indent=1))
        except OSError as error:
            _log.err(f"leases_not_written path={self._path} error={error}")
        else:
            self._content = content


def _replace(path: Path, text: str) -> None:
    """Write a file so that after a power failure it is the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _move(path: Path, aside: Path) -> None:
    try:
        path.replace(aside)
    except OSError as error:
        _log.err(f"leases_not_kept path={path} error={error}")


def _write(lease: Lease, now: float, end_before: int) -> dict[str, Any]:
    end = round(now + lease.expires_s)
    return {
        "ip": str(lease.ip),
        "mac": lease.mac,
        "client_id": None if lease.client_id is None else lease.client_id.hex(),
        "is_folded": lease.is_folded,
        "state": lease.state.name.lower(),
        # Clocks that drift are no news.
        "expires": end_before if abs(end - end_before) <= _DRIFT_S else end,
    }


def _read(entry: Mapping[str, Any], pool: int, now: float) -> Lease:
    client_id, mac = entry["client_id"], bytes.fromhex(entry["mac"].replace(":", ""))
    if len(mac) != _MAC_SIZE:
        raise ValueError(f"{entry['mac']} is no MAC address")
    return Lease(
        pool=pool,
        ip=IPv4Address(entry["ip"]),
        mac=mac.hex(":"),
        client_id=None if client_id is None else bytes.fromhex(client_id),
        state=DhcpState[entry["state"].upper()],
        expires_s=float(entry["expires"]) - now,
        is_folded=bool(entry["is_folded"]),
    )
