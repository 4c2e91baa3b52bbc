# SPDX-License-Identifier: Apache-2.0
"""Rig for tests of the DHCP server: a datapath whose stage 0 is ``dhcp_server``, and its clients.

::

    server = serve(rig, settings)
    offer = server.ask(Client(1).discover())
    assert offer.kind == "offer"

A pool's number is used once, so tests do not see each other. Frames are built by Scapy and answers
are read by it: it knows the formats from elsewhere.
"""

import ctypes
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from iovisor_ovn.abi import Drop, Op, Temp, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.dataplane.dhcp import DhcpServers, DhcpSettings
from machine_rig import EGRESS, REDIRECT, SHOT, Rig, Run, load

__all__ = ["NETWORK", "SERVER_IP", "SERVER_MAC", "Answer", "Client", "Server", "serve", "settings"]

NETWORK = "10.9.0.0/24"
SERVER_IP = "10.9.0.1"
SERVER_MAC = "02:00:00:00:00:fe"
NOBODY = "0.0.0.0"  # no address to listen on
EVERYBODY = "255.255.255.255"
_NUMBERS = itertools.count()
_FRAME_MAX = 4096

Option = tuple[object, ...] | str


def settings(first: int = 10, last: int = 19, **more: Any) -> DhcpSettings:
    """Settings of a pool of a few addresses of the network."""
    values: dict[str, Any] = {
        "server": IPv4Interface(f"{SERVER_IP}/24"), "server_mac": SERVER_MAC,
        "first": IPv4Address(f"10.9.0.{first}"), "last": IPv4Address(f"10.9.0.{last}"),
    }  # fmt: skip
    return DhcpSettings(**(values | more))


@dataclass(frozen=True, slots=True)
class Client:
    """A DHCP client; ``client_id`` is the value of option 61."""

    number: int
    client_id: bytes | None = None

    @property
    def mac(self) -> str:
        """Its Ethernet address."""
        return self.raw_mac.hex(":")

    @property
    def raw_mac(self) -> bytes:
        """The same, as it lies in frames."""
        return b"\x02\xc0" + self.number.to_bytes(4)

    def message(
        self, kind: str, options: Iterable[Option] = (), *, source: str = NOBODY,
        target: str = EVERYBODY, eth_dst: str = "ff:ff:ff:ff:ff:ff", eth_src: str = "",
        **fields: Any,
    ) -> Packet:  # fmt: skip
        """A message of a kind, ``fields`` being those of BOOTP."""
        values: dict[str, Any] = {"chaddr": self.raw_mac, "xid": 0x1000 + self.number} | fields
        own = [("client_id", self.client_id)] if self.client_id is not None else []
        return (
            Ether(dst=eth_dst, src=eth_src or self.mac)
            / IP(src=source, dst=target)
            / UDP(sport=68, dport=67)
            / BOOTP(**values)
            / DHCP(options=[("message-type", kind), *own, *options, "end"])
        )

    def discover(self, *options: Option, **more: Any) -> Packet:
        """DISCOVER."""
        return self.message("discover", options, **more)

    def select(self, ip: str, *options: Option, server: str = SERVER_IP, **more: Any) -> Packet:
        """REQUEST of an address that was offered."""
        asked = (("server_id", server), ("requested_addr", ip), *options)
        return self.message("request", asked, **more)

    def reboot(self, ip: str, **more: Any) -> Packet:
        """REQUEST of an address known from before (INIT-REBOOT)."""
        return self.message("request", (("requested_addr", ip),), **more)

    def renew(self, ip: str, **more: Any) -> Packet:
        """REQUEST of one's own address, to the server."""
        return self.message(
            "request", source=ip, target=SERVER_IP, eth_dst=SERVER_MAC, ciaddr=ip, **more
        )

    def rebind(self, ip: str, **more: Any) -> Packet:
        """REQUEST of one's own address, to anybody."""
        return self.message("request", source=ip, ciaddr=ip, **more)

    def release(self, ip: str) -> Packet:
        """RELEASE."""
        return self.message(
            "release", (("server_id", SERVER_IP),), source=ip, target=SERVER_IP,
            eth_dst=SERVER_MAC, ciaddr=ip,
        )  # fmt: skip

    def decline(self, ip: str) -> Packet:
        """DECLINE."""
        return self.message("decline", (("server_id", SERVER_IP), ("requested_addr", ip)))


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a message; without a reply ``frame`` is ``None``."""

    frame: Packet | None
    drops: dict[Drop, int]

    @property
    def kind(self) -> str:
        """Type of the reply, or what the silence was counted as."""
        if self.frame is None:
            return ", ".join(reason.name for reason in self.drops) or "nothing"
        return _KINDS[self.option("message-type")]  # type: ignore[index]  # an int

    @property
    def ip(self) -> str:
        """The address that the client is given."""
        assert self.frame is not None, self.drops
        return str(self.frame[BOOTP].yiaddr)

    def option(self, name: str) -> object:
        """Value of an option, several as a tuple; None without it."""
        assert self.frame is not None, self.drops
        for option in self.frame[DHCP].options:
            if isinstance(option, tuple) and option[0] == name:
                return option[1] if len(option) == 2 else option[1:]
        return None


_KINDS = {2: "offer", 5: "ack", 6: "nak"}


class Server:
    """A DHCP server on the first wire of a rig."""

    def __init__(self, rig: Rig, servers: DhcpServers, given: DhcpSettings) -> None:
        """Use :func:`serve`."""
        self.pool = next(_NUMBERS)
        self.servers = servers
        self._rig = rig
        self.put(given)
        dp = rig.datapath()
        dp.bind(1, rig.wires[0])
        body = (
            Insn(Op.MOVE, Word.OUTPORT, Word.INPORT, x=0xFFFFFFFF), load(Word.FLAGS, 1, 1),
            Insn(Op.OUTPUT), Insn(Op.END),
        )  # fmt: skip
        program = (
            load(Temp.POOL, self.pool),
            Insn(Op.GENERATE, Op.GEN_DHCP_SERVER, x=len(body) + 1),
            *body,
            Insn(Op.END),
        )
        dp.flow(0, program)
        dp.flow(EGRESS, (Insn(Op.DELIVER),))
        rig.apply()

    def put(self, given: DhcpSettings) -> None:
        """Change the settings."""
        self.servers.put(self.pool, given)

    def forget(self) -> None:
        """Take all leases away, as if they had never been."""
        leases = self._rig.machine.maps["dhcp_leases"]
        keys = [key for key, _value in leases.items() if key[:4] == self.pool.to_bytes(4, "little")]
        leases.delete_many(b"".join(keys))

    def run(self, frame: Packet | bytes, **more: Any) -> Run:
        """Let a frame come in."""
        return self._rig.run(bytes(frame), self._rig.wires[0], **more)

    def ask(self, frame: Packet | bytes, **more: Any) -> Answer:
        """The answer to a frame, as Scapy reads it."""
        out = self.run(frame, **more)
        if out.verdict == SHOT:
            return Answer(None, out.drops)
        assert out.verdict == REDIRECT
        return Answer(Ether(out.frame), out.drops)

    def quick_run(self, frame: bytes) -> tuple[int, bytes]:
        """Verdict, and the frame as it left; from any thread."""
        context = bytearray(192)
        context[40:44] = self._rig.wires[0].ifindex.to_bytes(4, "little")
        verdict, out, _mark = self._rig._test_run("ingress", frame, bytes(context), 0)
        return verdict, out

    def repeater(self, frame: bytes) -> Callable[[], None]:
        """A function that lets the frame come in again, with next to no work around it."""
        context = bytearray(192)
        context[40:44] = self._rig.wires[0].ifindex.to_bytes(4, "little")
        source = ctypes.create_string_buffer(frame, len(frame))
        given = ctypes.create_string_buffer(bytes(context), len(context))
        target = ctypes.create_string_buffer(_FRAME_MAX)
        opts = libbpf.TestRunOpts(
            sz=ctypes.sizeof(libbpf.TestRunOpts), repeat=1, data_out=ctypes.addressof(target),
            data_in=ctypes.addressof(source), data_size_in=len(frame),
            ctx_in=ctypes.addressof(given), ctx_size_in=len(context),
        )  # fmt: skip
        fd = self._rig.machine._programs["ingress"].fd
        kept = (source, given, target)

        def again() -> None:
            assert kept
            opts.data_size_out = _FRAME_MAX
            result = libbpf.call("bpf_prog_test_run_opts", fd, ctypes.byref(opts))
            libbpf.check(result, "run ingress")

        return again

    def quick(self, frame: bytes) -> str:
        """The address in the reply to a frame, empty without one; from any thread."""
        verdict, out = self.quick_run(frame)
        return str(Ether(out)[BOOTP].yiaddr) if verdict == REDIRECT else ""

    def lease(self, client: Client) -> str:
        """Give a client an address, all the way; the address."""
        ip = self.ask(client.discover()).ip
        assert self.ask(client.select(ip)).kind == "ack"
        return ip


def serve(rig: Rig, given: DhcpSettings | None = None) -> Server:
    """A new server with an empty pool; its datapath takes the first wire over."""
    return Server(rig, DhcpServers(rig.machine.maps), given or settings())
