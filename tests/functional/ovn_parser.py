# SPDX-License-Identifier: Apache-2.0
"""OVN's own parser: ovn-trace reads matches and action lists, and says which are wrong.

All texts are logical flows of one datapath in a Southbound database of its own; ovn-trace parses
them when it starts and logs a line for each that it refuses. It also tells which of them a packet
meets.
"""

import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from iovisor_ovn.demo.processes import end_all, run
from iovisor_ovn.language.verbs import DHCPV4_OPTIONS, DHCPV6_OPTIONS
from judges.world import GROUPS, PORTS, SETS

__all__ = ["N_TABLES", "OvnParser"]

#: Tables of a pipeline, as ovn-trace has them.
N_TABLES = 29

_SCHEMA = "/usr/share/ovn/ovn-sb.ovsschema"
_REFUSED = re.compile(
    r"^\S+\|ovntrace\|WARN\|(?P<text>.*): parsing (?:expression|actions) failed \((?P<why>.*)\)$",
    re.MULTILINE,
)
#: Options and their types are rows. OVN knows offerip, the first, by its code 0.
_OPTIONS = {"DHCP_Options": DHCPV4_OPTIONS, "DHCPv6_Options": DHCPV6_OPTIONS}
_LATER_TYPES = ("domain",)
_MET = re.compile(r"^ *(\d+)\. .*, priority 2, uuid [0-9a-f]+$", re.MULTILINE)
_DATAPATH = ["named-uuid", "dp"]


class OvnParser:
    """What ovn-trace says of texts, which must be single lines."""

    def __init__(self, directory: Path) -> None:
        """Use a directory for database and socket."""
        self._directory = directory
        self._asked = 0

    def refused(self, column: str, texts: Sequence[str]) -> Mapping[str, str]:
        """Why ovn-trace does not take a text, for those that it does not take.

        ``column`` is ``match`` or ``actions``; the flows are in table 10 of the ingress pipeline.
        """
        flows = [
            _flow(10, match=text) if column == "match" else _flow(10, actions=text)
            for text in texts
        ]
        with self._database(flows) as directory:
            log = directory / "trace.log"
            run(
                "ovn-trace", f"--db=unix:{directory}/sb.sock", "-vconsole:off", "-vsyslog:off",
                f"--log-file={log}", "sw0", 'inport == "p1"', timeout_s=120,
            )  # fmt: skip
            found = {match["text"]: match["why"] for match in _REFUSED.finditer(log.read_text())}
        strangers = set(found) - set(texts)
        assert not strangers, f"ovn-trace speaks of other texts: {strangers}"
        return found

    def met(self, matches: Sequence[str], packets: Sequence[str]) -> Iterator[set[int]]:
        """Positions of the matches, at most 28, that each packet meets.

        A packet is an expression that gives fields their values.
        """
        assert len(matches) < N_TABLES
        # What always matches and only goes on is not shown.
        shown = "clone { drop; }; next;"
        flows = [_flow(at, match, shown, priority=2) for at, match in enumerate(matches)]
        flows += [_flow(at) for at in range(len(matches))]
        with self._database(flows) as directory:
            control = f"{directory}/trace.ctl"
            run(
                "ovn-trace", "--detach", "--no-chdir", f"--pidfile={directory}/trace.pid",
                f"--unixctl={control}", f"--db=unix:{directory}/sb.sock", "-vconsole:off",
                f"--log-file={directory}/trace.log",
            )  # fmt: skip
            for packet in packets:
                said = run("ovn-appctl", "-t", control, "trace", "sw0", packet)
                assert 'ingress(dp="sw0"' in said, f"{packet}: {said}"
                yield {int(table) for table in _MET.findall(said)}

    @contextmanager
    def _database(self, flows: Sequence[dict[str, object]]) -> Iterator[Path]:
        """A directory with a running server that holds the flows."""
        self._asked += 1
        directory = self._directory / str(self._asked)
        directory.mkdir()
        run("ovsdb-tool", "create", f"{directory}/sb.db", _SCHEMA)
        try:
            run(
                "ovsdb-server", "--detach", "--no-chdir", f"--pidfile={directory}/sb.pid",
                f"--unixctl={directory}/sb.ctl", f"--log-file={directory}/sb.log",
                f"--remote=punix:{directory}/sb.sock", f"{directory}/sb.db",
            )  # fmt: skip
            _transact(directory / "sb.sock", [*_world(), *flows])
            yield directory
        finally:
            end_all(directory)


def _flow(
    table: int, match: str = "1", actions: str = "next;", priority: int = 1
) -> dict[str, object]:
    return _insert(
        "Logical_Flow", logical_datapath=_DATAPATH, pipeline="ingress", table_id=table,
        priority=priority, match=match, actions=actions,
    )  # fmt: skip


def _world() -> list[dict[str, object]]:
    names = {"name": "sw0", "logical-switch": "00000000-0000-0000-0000-000000000001"}
    return [
        {**_insert("Datapath_Binding", tunnel_key=1, external_ids=["map", list(names.items())]),
         "uuid-name": "dp"},
        *(_insert("Port_Binding", datapath=_DATAPATH, logical_port=name, tunnel_key=key, type="")
          for name, key in PORTS.items() if key < 32768),
        *(_insert("Port_Group", name=f"1_{name}", ports=["set", list(ports)])
          for name, ports in GROUPS.items()),
        *(_insert("Address_Set", name=name, addresses=["set", list(addresses)])
          for name, addresses in SETS.items()),
        *(_insert(table, name=name, code=code, type=kind)
          for table, options in _OPTIONS.items()
          for code, (name, kind) in enumerate(options.items())
          if kind not in _LATER_TYPES),
    ]  # fmt: skip


def _insert(table: str, **row: object) -> dict[str, object]:
    return {"op": "insert", "table": table, "row": row}


def _transact(remote: Path, operations: Sequence[object]) -> None:
    request = {"id": 0, "method": "transact", "params": ["OVN_Southbound", *operations]}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(remote))
        connection.sendall(json.dumps(request).encode())
        decoder, text = json.JSONDecoder(), ""
        while True:
            part = connection.recv(1 << 20)
            assert part, "the server hung up"
            text += part.decode()
            try:
                answer, _end = decoder.raw_decode(text)
                break
            except json.JSONDecodeError:
                continue
    assert answer["error"] is None, answer["error"]
    wrong = [item for item in answer["result"] if item is None or "error" in item]
    assert not wrong, wrong
