# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch's userspace conntrack as a judge: the same frames, the same verbs, its words.

A private ovs-vswitchd with dummy devices. Its flows do what OVN's would (look up, then perhaps
commit), and then write ct_state, ct_mark and ct_label over the Ethernet addresses of the
packet, which goes to a file.
"""

import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conntrack_packets import B4, B6, LABEL, MARK, N4, N6, PORTS, Via
from conntrack_rig import Seen, state_text

__all__ = ["OvsConntrack", "running_ovs"]

_DEADLINE_S = 10
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_PCAP_HEADER = 24
_PCAP_RECORD = struct.Struct("=4I")

# OpenFlow port of each way in; table 1 follows the lookup.
_PORTS = {Via.LOOK: 1, Via.COMMIT: 2, Via.MARK: 3, Via.NAT: 4, Via.ZONE2: 5}
_OUT = 9
# The verbs of NAT, one or two ct actions each, by IP version.
_NAT_RANGE = f"{PORTS[0]}-{PORTS[1]}"
_NATS: dict[Via, tuple[str, ...]] = {
    Via.UNNAT: ("zone=1,nat",),
    Via.SNAT: ("commit,zone=1,nat(src={n})",),
    Via.SNAT_PORTS: (f"commit,zone=1,nat(src={{np}}:{_NAT_RANGE})",),
    Via.DNAT: ("commit,zone=1,nat(dst={n})",),
    Via.DNAT_PORT: ("commit,zone=1,nat(dst={np}:8080)",),
    Via.DNAT_PORTS: (f"commit,zone=1,nat(dst={{np}}:{_NAT_RANGE})",),
    Via.UNNAT_THEN_SNAT: ("zone=2,nat", "commit,zone=1,nat(src={n})"),
    Via.DNAT_THEN_SNAT: ("commit,zone=2,nat(dst={b})", "commit,zone=1,nat(src={n})"),
    Via.UNNAT_TWICE: ("zone=1,nat", "zone=2,nat"),
    Via.ZERO: ("commit,zone=1,nat(src={zero})", "zone=1"),
    Via.SNAT_THEN_LOOK: ("commit,zone=1,nat(src={n})", "zone=1"),
}
_NAT_PORTS = {via: 10 + at for at, via in enumerate(_NATS)}
# A ct action without a table hides the words of the one before: they are written first.
_TELL = (
    "move:NXM_NX_CT_STATE[]->NXM_OF_ETH_DST[0..31],"
    "move:NXM_NX_CT_MARK[]->NXM_OF_ETH_SRC[0..31],"
    "move:NXM_NX_CT_LABEL[0..15]->NXM_OF_ETH_SRC[32..47]"
)
_SET = f"load:{MARK[0] >> 16:#x}->NXM_NX_CT_MARK[16..23],load:{LABEL[0]:#x}->NXM_NX_CT_LABEL[0..7]"
_FLOWS = (
    "table=0,priority=2,in_port=5,ip,actions=ct(table=1,zone=2)",
    "table=0,priority=2,in_port=5,ipv6,actions=ct(table=1,zone=2)",
    "table=0,priority=1,ip,actions=ct(table=1,zone=1)",
    "table=0,priority=1,ipv6,actions=ct(table=1,zone=1)",
    *(
        f"table=1,priority=1,in_port={port},{family},actions={actions}"
        for family in ("ip", "ipv6")
        for port, actions in (
            (1, f"{_TELL},output:{_OUT}"),
            (2, f"{_TELL},ct(commit,zone=1),output:{_OUT}"),
            (3, f"{_TELL},ct(commit,zone=1,exec({_SET})),output:{_OUT}"),
            (4, "ct(commit,table=3,zone=1,nat)"),
            (5, f"{_TELL},output:{_OUT}"),
        )
    ),
    f"table=3,actions={_TELL},output:{_OUT}",
)


def _nat_flows() -> Iterator[str]:
    """Table 0, then (for a second action) table 2, then the words are told."""
    for family, names in (
        ("ip", {"n": N4, "np": N4, "b": B4, "zero": "0.0.0.0"}),
        ("ipv6", {"n": N6, "np": f"[{N6}]", "b": B6, "zero": "::"}),
    ):
        for via, actions in _NATS.items():
            *first, last = (action.format_map(names) for action in actions)
            for table, action in ((0, first), (2, [last])) if first else ((0, [last]),):
                following = 2 if first and not table else 3
                yield (
                    f"table={table},priority=3,in_port={_NAT_PORTS[via]},{family},"
                    f"actions=ct({action[0]},table={following})"
                )


class OvsConntrack:
    """A running ovs-vswitchd; get one from :func:`running_ovs`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = os.environ | {
            "OVS_RUNDIR": str(directory), "OVS_DBDIR": str(directory),
            "OVS_LOGDIR": str(directory), "OVS_SYSCONFDIR": str(directory),
        }  # fmt: skip
        self._processes: list[subprocess.Popen[bytes]] = []
        self._read = _PCAP_HEADER

    def start(self) -> None:
        """Start the servers and set up the bridge."""
        self._run("ovsdb-tool", "create", "conf.db", _SCHEMA)
        self._spawn("ovsdb-server", "conf.db", "--remote=punix:db.sock", "--unixctl=db.ctl")
        self._wait_for("db.sock")
        self._vsctl("--no-wait", "init")
        self._spawn(
            "ovs-vswitchd", f"unix:{self._directory}/db.sock", "--disable-system",
            "--enable-dummy=override", f"--unixctl={self._directory}/switch.ctl",
        )  # fmt: skip
        self._wait_for("switch.ctl")
        arguments = ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy",
                     "fail_mode=secure"]  # fmt: skip
        for number in (*_PORTS.values(), *_NAT_PORTS.values(), _OUT):
            arguments += ["--", "add-port", "br0", f"p{number}", "--", "set", "interface",
                          f"p{number}", "type=dummy", f"ofport_request={number}"]  # fmt: skip
        out = self._directory / "out.pcap"
        self._vsctl(*arguments, "--", "set", "interface", f"p{_OUT}", f"options:tx_pcap={out}")
        flows = self._directory / "flows"
        flows.write_text("\n".join((*_FLOWS, *_nat_flows())) + "\n")
        self._run("ovs-ofctl", "add-flows", f"unix:{self._directory}/br0.mgmt", str(flows))
        self._appctl("time/stop")

    def stop(self) -> None:
        """End the servers."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait(_DEADLINE_S)

    def forget(self) -> None:
        """Empty the connection table."""
        self._appctl("dpctl/flush-conntrack")

    def wait(self, seconds: float) -> None:
        """Let time pass, as ovs-vswitchd sees it."""
        if seconds:
            self._appctl("time/warp", str(int(seconds * 1000)))

    def send(self, frame: bytes, via: Via) -> Seen:
        """Put a frame through; its ct words."""
        return self.translate(frame, via)[0]

    def translate(self, frame: bytes, via: Via) -> tuple[Seen, bytes]:
        """Put a frame through; its ct words, and what came out behind the Ethernet header."""
        port = _PORTS.get(via) or _NAT_PORTS[via]
        self._appctl("netdev-dummy/receive", f"p{port}", frame.hex())
        data = self._next_packet()
        (state,) = struct.unpack_from(">I", data, 2)
        label, mark = struct.unpack_from(">HI", data, 6)
        return Seen(state_text(state), mark, label), data[14:]

    def dump(self) -> str:
        """The connection table as OVS prints it."""
        return self._appctl("dpctl/dump-conntrack")

    def _next_packet(self) -> bytes:
        path = self._directory / "out.pcap"
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            if path.stat().st_size >= self._read + _PCAP_RECORD.size:
                data = path.read_bytes()[self._read :]
                size = _PCAP_RECORD.unpack_from(data)[2]
                if len(data) >= _PCAP_RECORD.size + size:
                    self._read += _PCAP_RECORD.size + size
                    return data[_PCAP_RECORD.size : _PCAP_RECORD.size + size]
            # Packets are handled in turn: one more request means that one more may be out.
            self._appctl("time/warp", "1")
        raise AssertionError("the packet did not come out of Open vSwitch")

    def _wait_for(self, name: str) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while not (self._directory / name).exists():
            assert time.monotonic() < deadline, f"{name} did not appear"
            for process in self._processes:
                assert process.poll() is None, f"{process.args!r} ended"
            os.sched_yield()

    def _spawn(self, *command: str) -> None:
        log = self._directory / f"{command[0]}.log"
        with log.open("wb") as output:
            self._processes.append(
                subprocess.Popen(
                    command, cwd=self._directory, env=self._environment,
                    stdout=output, stderr=output,
                )
            )  # fmt: skip

    def _vsctl(self, *arguments: str) -> None:
        self._run("ovs-vsctl", f"--db=unix:{self._directory}/db.sock", "-t5", *arguments)

    def _appctl(self, *arguments: str) -> str:
        return self._run("ovs-appctl", "-t", str(self._directory / "switch.ctl"), *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self._directory, env=self._environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
        return done.stdout


@contextmanager
def running_ovs(directory: Path) -> Iterator[OvsConntrack]:
    """Give a running Open vSwitch whose files are in ``directory``, and end it."""
    switch = OvsConntrack(directory)
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()
