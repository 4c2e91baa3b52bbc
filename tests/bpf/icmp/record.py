# SPDX-License-Identifier: Apache-2.0
"""Record in ``answers-23.03.txt`` what a real ovn-controller answers to the cases.

Needs ovn-controller, ovs-vswitchd and ovsdb-server of the release that the file is named for;
starts them privately (dummy datapath, a database without ovn-northd, one logical flow a verb)::

    PYTHONPATH=src:tests/bpf python3 tests/bpf/icmp/record.py
"""

import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scapy.layers.l2 import Ether

from icmp.cases import VERBS, cases
from iovisor_ovn.abi.layout import Op

TARGET = Path(__file__).with_name("answers-23.03.txt")
# Silence for this long counts as no answer.
PATIENCE_S = 0.4
_OUT = 'outport = "p2"; output;'
_PREREQUISITE = {
    Op.GEN_ARP: "ip4", Op.GEN_ICMP4: "ip4", Op.GEN_ICMP4_ERROR: "ip4", Op.GEN_ND_NS: "ip6",
    Op.GEN_ICMP6: "ip6", Op.GEN_ICMP6_ERROR: "ip6", Op.GEN_ND_NA: "nd_ns",
    Op.GEN_ND_NA_ROUTER: "nd_ns", Op.GEN_TCP_RESET: "tcp", Op.GEN_SCTP_ABORT: "sctp",
    Op.GEN_REJECT: "ip",
}  # fmt: skip


class Chassis:
    """A private database, ovs-vswitchd and ovn-controller with a port a verb (in) and p2 (out)."""

    def __init__(self, directory: Path) -> None:
        """Start all, with a port for each verb."""
        self.dir = directory
        names = ("OVS_RUNDIR", "OVN_RUNDIR", "OVS_LOGDIR", "OVN_LOGDIR", "OVS_DBDIR",
                 "OVN_DBDIR", "OVS_SYSCONFDIR")  # fmt: skip
        self.env = {**os.environ, **dict.fromkeys(names, str(directory))}
        for name, schema in (
            ("conf", "/usr/share/openvswitch/vswitch.ovsschema"),
            ("sb", "/usr/share/ovn/ovn-sb.ovsschema"),
        ):
            self.run("ovsdb-tool", "create", f"{directory}/{name}.db", schema)
            self.run("ovsdb-server", "--detach", "--no-chdir",
                     f"--pidfile={directory}/{name}.pid",
                     f"--log-file={directory}/{name}.log", f"--unixctl={directory}/{name}.ctl",
                     f"--remote=punix:{directory}/{name}.sock",
                     f"{directory}/{name}.db")  # fmt: skip
        self.vsctl("init")
        ids = {"system-id": "hv1", "ovn-remote": f"unix:{directory}/sb.sock",
               "ovn-encap-type": "geneve", "ovn-encap-ip": "127.0.0.1"}  # fmt: skip
        self.vsctl("set", "open", ".", *(f"external_ids:{key}={ids[key]}" for key in ids))
        self.run("ovs-vswitchd", "--enable-dummy=override", "--disable-system", "--detach",
                 "--no-chdir", f"--pidfile={directory}/vs.pid", f"--log-file={directory}/vs.log",
                 f"--unixctl={directory}/vs.ctl", f"unix:{directory}/conf.sock")  # fmt: skip
        self.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy",
                   "fail-mode=secure")  # fmt: skip
        self.datapath = self.sbctl(
            "create", "Datapath_Binding", "tunnel_key=1", "external_ids:name=sw0"
        )
        self.ports = {verb: f"v{int(verb)}" for verb in VERBS}
        for index, port in enumerate([*self.ports.values(), "p2"], 1):
            self.add_port(port, index)
        self.flow("egress", "1", "output;")
        for verb, text in VERBS.items():
            match = f'inport == "{self.ports[verb]}" && {_PREREQUISITE[verb]}'
            self.flow("ingress", match, f"{text} {{ {_OUT} }};")
        self.run("ovn-controller", "--detach", "--no-chdir", f"--pidfile={directory}/oc.pid",
                 f"--log-file={directory}/oc.log", f"unix:{directory}/conf.sock")  # fmt: skip
        self.seen = 0

    def run(self, *command: str) -> str:
        """Output of a command, which must succeed."""
        done = subprocess.run(command, env=self.env, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def vsctl(self, *arguments: str) -> None:
        """Change the Open_vSwitch database."""
        self.run("ovs-vsctl", f"--db=unix:{self.dir}/conf.sock", "--no-wait", *arguments)

    def sbctl(self, *arguments: str) -> str:
        """Change the southbound database."""
        return self.run("ovn-sbctl", f"--db=unix:{self.dir}/sb.sock", *arguments)

    def add_port(self, port: str, number: int) -> None:
        """Add a logical port and its dummy device."""
        self.vsctl("add-port", "br-int", port, "--", "set", "interface", port, "type=dummy",
                   f"external_ids:iface-id={port}",
                   f"options:tx_pcap={self.dir}/{port}.pcap")  # fmt: skip
        self.sbctl("create", "Port_Binding", f"logical_port={port}", f"datapath={self.datapath}",
                   f"tunnel_key={number}", "mac=unknown")  # fmt: skip

    def flow(self, pipeline: str, match: str, actions: str) -> None:
        """Add a logical flow of the first stage."""
        quoted = [text.replace('"', '\\"') for text in (match, actions)]
        self.sbctl("create", "Logical_Flow", f"logical_datapath={self.datapath}",
                   f"pipeline={pipeline}", "table_id=0", "priority=100",
                   f'match="{quoted[0]}"', f'actions="{quoted[1]}"')  # fmt: skip

    def wait(self) -> None:
        """Return when ovn-controller has installed the flows of every verb."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            flows = subprocess.run(
                ["ovs-ofctl", "dump-flows", f"unix:{self.dir}/br-int.mgmt"],
                env=self.env, check=False, capture_output=True, text=True,
            ).stdout  # fmt: skip
            if flows.count("controller(userdata=") >= len(VERBS):
                return
            time.sleep(0.2)
        raise TimeoutError("ovn-controller installs no flows")

    def ask(self, verb: Op, frame: bytes) -> bytes:
        """Inject a frame into the verb's port; what leaves p2, b"" for nothing."""
        self.run("ovs-appctl", "-t", f"{self.dir}/vs.ctl", "netdev-dummy/receive",
                 self.ports[verb], frame.hex())  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            packets = _pcap(self.dir / "p2.pcap")
            if len(packets) > self.seen:
                self.seen = len(packets)
                return packets[-1]
            time.sleep(0.01)
        return b""

    def stop(self) -> None:
        """End the daemons that were started."""
        for name in ("oc", "vs", "sb", "conf"):
            pid = self.dir / f"{name}.pid"
            if pid.exists():
                os.kill(int(pid.read_text()), 15)


def _pcap(path: Path) -> list[bytes]:
    data = path.read_bytes()
    packets, at = [], 24
    while at + 16 <= len(data):
        size = struct.unpack_from("=I", data, at + 8)[0]
        packets.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return packets


def main() -> int:
    """Record all cases."""
    lines = [
        "# What ovn-controller 23.03.1 answers: written by record.py, read by test_icmp.py.",
        "# name | opcode | frame | answer, - for none",
    ]
    with tempfile.TemporaryDirectory() as directory:
        chassis = Chassis(Path(directory))
        try:
            chassis.wait()
            for name, verb, packet in cases():
                frame = bytes(Ether(bytes(packet)))
                answer = chassis.ask(verb, frame)
                lines.append(f"{name} | {verb.name} | {frame.hex()} | {answer.hex() or '-'}")
        finally:
            chassis.stop()
    TARGET.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
