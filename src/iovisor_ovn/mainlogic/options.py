# SPDX-License-Identifier: Apache-2.0
"""Settings that operators write into the Open_vSwitch table, as one value.

They are those of ovn-controller(8), "Configuration".  Each may be given as ``KEY`` or, for one
agent among several on a host, as ``KEY-<chassis>``, which wins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iovisor_ovn.errors import ConfigError

__all__ = ["AgentOptions", "override_from_file", "read_options"]

_PROBE_INTERVAL_MS = 5000
_TUNNEL_TYPES = frozenset({"geneve", "vxlan"})
# Settings that only mirror into Chassis.other_config, with what stands there by default.
_MIRRORED: Mapping[str, str] = {
    "ovn-bridge-mappings": "",
    "ovn-cms-options": "",
    "ovn-monitor-all": "false",
    "ovn-enable-lflow-cache": "true",
    "ovn-limit-lflow-cache": "",
    "ovn-memlimit-lflow-cache-kb": "",
    "ovn-trim-limit-lflow-cache": "",
    "ovn-trim-wmark-perc-lflow-cache": "",
    "ovn-trim-timeout-ms": "",
    "ovn-chassis-mac-mappings": "",
}


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """All settings of one agent.

    ``chassis`` is its name in the Southbound database.  ``encap_types`` and ``encap_ips`` are empty
    until the operator has given both: then there is no chassis to register yet.
    ``mirrored`` holds what is only copied into Chassis.other_config, by its key there.
    ``ignored`` says of what cannot be used what it is and why; the rest of its setting counts.
    """

    chassis: str
    hostname: str
    remote: str = ""
    probe_interval_ms: int = _PROBE_INTERVAL_MS
    bridge: str = "br-int"
    bridge_datapath_type: str = ""
    encap_types: tuple[str, ...] = ()
    encap_ips: tuple[str, ...] = ()
    encap_csum: str = "true"
    transport_zones: tuple[str, ...] = ()
    is_interconn: bool = False
    monitor_all: bool = False
    bridge_mappings: Mapping[str, str] = field(default_factory=dict)
    mirrored: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether a chassis can be registered."""
        return bool(self.chassis and self.encap_types and self.encap_ips)


def override_from_file(path: Path) -> str | None:
    """Return the chassis name in the file ``system-id-override``; None where there is none.

    An empty file is no name.  Raises ConfigError if the file is there and cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return (lines[0].strip() if lines else "") or None


def read_options(
    external_ids: Mapping[str, str], hostname: str, override: str | None = None
) -> AgentOptions:
    """Return the settings in Open_vSwitch.external_ids.

    ``hostname`` is the machine's, for where none is set; ``override`` a chassis name from the
    command line or `override_from_file`.
    """
    chassis = override or external_ids.get("system-id", "")

    def get(key: str, default: str = "") -> str:
        return external_ids.get(f"{key}-{chassis}", external_ids.get(key, default))

    encap_types = _words(get("ovn-encap-type"))
    mappings, odd_mappings = _pairs(get("ovn-bridge-mappings"))
    probe = get("ovn-remote-probe-interval", str(_PROBE_INTERVAL_MS))
    ignored = [
        *(f"ovn-encap-type: {one!r} is no tunnel type" for one in encap_types
          if one not in _TUNNEL_TYPES),
        *(f"ovn-bridge-mappings: {one!r} is no NETWORK:BRIDGE" for one in odd_mappings),
        *([] if _is_number(probe) else [f"ovn-remote-probe-interval: {probe!r} is no number"]),
    ]  # fmt: skip
    return AgentOptions(
        chassis=chassis,
        hostname=get("hostname", hostname),
        remote=get("ovn-remote"),
        probe_interval_ms=int(probe) if _is_number(probe) else _PROBE_INTERVAL_MS,
        bridge=get("ovn-bridge", "br-int"),
        bridge_datapath_type=get("ovn-bridge-datapath-type"),
        encap_types=tuple(one for one in encap_types if one in _TUNNEL_TYPES),
        encap_ips=_words(get("ovn-encap-ip")),
        encap_csum=get("ovn-encap-csum", "true"),
        transport_zones=_words(get("ovn-transport-zones")),
        is_interconn=get("ovn-is-interconn") == "true",
        monitor_all=get("ovn-monitor-all") == "true",
        bridge_mappings=mappings,
        mirrored={key: get(key, default) for key, default in _MIRRORED.items()},
        ignored=tuple(ignored),
    )


def _words(text: str) -> tuple[str, ...]:
    """Return the parts of a comma separated list, sorted, each once."""
    return tuple(sorted({word.strip() for word in text.split(",")} - {""}))


def _pairs(text: str) -> tuple[Mapping[str, str], list[str]]:
    """Return the pairs of a list, and what is none."""
    found: dict[str, str] = {}
    odd: list[str] = []
    for part in text.split(","):
        name, colon, bridge = part.strip().partition(":")
        if colon and name and bridge:
            found[name] = bridge
        elif part.strip():
            odd.append(part.strip())
    return found, odd


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
