# SPDX-License-Identifier: Apache-2.0
"""Conntrack zones: a number for each local port, two for each local switch or router.

A zone keeps its number for as long as its user is here, across restarts too, else every connection
of the user is lost.  The numbers are therefore kept in the integration bridge's external_ids as
``ct-zone-<user>``, in the form of ovn-controller 23.03 (controller/ovn-controller.c,
update_ct_zones), which finds its numbers there in case of a change of agents.
"""

from collections.abc import Callable, Iterable, Mapping

import ovs.vlog

from iovisor_ovn.errors import MapFullError

__all__ = ["PREFIX", "Zones"]

_log = ovs.vlog.Vlog("zones")

PREFIX = "ct-zone-"
_LAST_ZONE = 65535


class Zones:
    """Users and their zones. Zone 0 is the kernel's default and belongs to nobody."""

    def __init__(self, flush: Callable[[int], None]) -> None:
        """Call ``flush`` for a zone that is to have no connections: one given or given back."""
        self._flush = flush
        self._zones: dict[str, int] = {}
        self._next = 1

    @property
    def current(self) -> Mapping[str, int]:
        """Zones by user."""
        return self._zones

    def restore(self, external_ids: Mapping[str, str]) -> None:
        """Take over what an earlier agent wrote; users known already keep their zones."""
        taken = set(self._zones.values())
        for key, text in sorted(external_ids.items()):
            user = key.removeprefix(PREFIX)
            if not user or user == key or user in self._zones:
                continue
            zone = int(text) if text.isascii() and text.isdigit() else 0
            if not 0 < zone <= _LAST_ZONE or zone in taken:
                _log.warn(f"zone_not_restored user={user} zone={text!r}")
                continue
            self._zones[user] = zone
            taken.add(zone)

    def assign(self, users: Iterable[str], requested: Mapping[str, int]) -> bool:
        """Give zones to just these users; return whether anything is different now.

        ``requested`` are numbers that an operator asks for (snat-ct-zone); whoever has such a
        number without having asked gives it up.  Two users who ask for one number share it.
        """
        before = dict(self._zones)
        wanted = set(users)
        for user in self._zones.keys() - wanted:
            del self._zones[user]
        asked = {user: zone for user, zone in requested.items() if user in wanted}
        for user in [
            user
            for user, zone in self._zones.items()
            if asked.get(user, zone) != zone or (user not in asked and zone in asked.values())
        ]:
            del self._zones[user]
        for user, zone in asked.items():
            self._zones[user] = zone
        taken = set(self._zones.values())
        for user in sorted(wanted - self._zones.keys()):
            self._zones[user] = self._free(taken)
            taken.add(self._zones[user])
        moved = before.items() ^ self._zones.items()
        kept = {zone for user, zone in self._zones.items() if before.get(user) == zone}
        for zone in sorted({zone for _user, zone in moved} - kept):
            self._flush(zone)
        return bool(moved)

    def differences(self, external_ids: Mapping[str, str]) -> dict[str, str | None]:
        """Return the keys of the bridge that must be set, or deleted (None)."""
        wanted = {f"{PREFIX}{user}": str(zone) for user, zone in self._zones.items()}
        found: dict[str, str | None] = {
            key: value for key, value in wanted.items() if external_ids.get(key) != value
        }
        found.update(
            (key, None) for key in external_ids if key.startswith(PREFIX) and key not in wanted
        )
        return found

    def _free(self, taken: set[int]) -> int:
        """Return a number not taken, going round, so that one given back rests before reuse."""
        for offset in range(_LAST_ZONE):
            zone = (self._next - 1 + offset) % _LAST_ZONE + 1
            if zone not in taken:
                self._next = zone % _LAST_ZONE + 1
                return zone
        raise MapFullError("zones", _LAST_ZONE)
