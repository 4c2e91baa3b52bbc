# SPDX-License-Identifier: Apache-2.0
"""Programs in front of real devices: verdicts on real packets, exchange, loss of the device."""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Protocol

import pytest

from iovisor_ovn.dataplane import (
    Attachment,
    BpfFs,
    Direction,
    Hook,
    Map,
    Object,
    Program,
    attach,
    attach_egress,
    attach_ingress,
    attached,
    detach,
    has_tcx,
    restored_on_failure,
)
from iovisor_ovn.errors import AttachError, DeviceError

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

Enter = Callable[[str], AbstractContextManager[None]]
both_hooks = pytest.mark.parametrize("hook", list(Hook))

_PORT = 4242
_TC_ACT_SHOT = 2
_NOWHERE = 9999


class Wire(Protocol):
    """What the fixture ``wire`` gives."""

    near: str
    far: str
    ifindex: int
    address: str


@pytest.fixture
def sockets(wire: Wire, enter: Enter) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open a sender at the far end and a receiver at the near end of the wire."""
    with enter(wire.near):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind((wire.address, _PORT))
        receiver.settimeout(10)
    with enter(wire.far):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.connect((wire.address, _PORT))
    with closing(sender), closing(receiver):
        yield sender, receiver


class _Traffic:
    """Datagrams one by one, each received before the next is sent, so that no queue can drop."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self.sent = 0
        self._sender, self._receiver = sender, receiver
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def wait_for(self, number: int) -> None:
        """Wait until that many were sent."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.sent >= number, timeout=10)

    def stop(self) -> None:
        self._stopped = True
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            datagram = struct.pack("=I", self.sent)
            self._sender.send(datagram)
            assert self._receiver.recv(100) == datagram
            with self._changed:
                self.sent += 1
                self._changed.notify()


def _counted(shared: Map, slot: int = 0) -> int:
    value = shared.lookup(struct.pack("=I", slot))
    assert value is not None
    number: int = struct.unpack("=I", value)[0]
    return number


def _load(path: Path, shared: Map | None = None, **rodata: int) -> Object:
    with Object.open(path) as binding:
        binding.set_rodata(rodata)
        if shared is not None:
            binding.reuse({"shared": shared})
        return binding.load()


def _program_id(program: Program) -> int:
    return program.info().id


def test_this_kernel_decides_about_tcx() -> None:
    """The probe agrees with the kernel release (tcx came with 6.6)."""
    major, minor = (int(part) for part in os.uname().release.split(".")[:2])
    assert has_tcx() == ((major, minor) >= (6, 6))


def test_kernel_without_tcx_gets_a_filter(
    wire: Wire, enter: Enter, loaded: Object, pins: BpfFs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless told otherwise, the hook is what the kernel offers."""
    with enter(wire.near):
        monkeypatch.setattr(attach, "has_tcx", lambda: False)
        assert attach_ingress(loaded.programs["tally"], wire.ifindex, pins.path).hook is Hook.CLSACT
        assert detach(wire.ifindex, pins.path)
        monkeypatch.setattr(attach, "has_tcx", lambda: True)
        assert attach_ingress(loaded.programs["tally"], wire.ifindex, pins.path).hook is Hook.TCX


@both_hooks
def test_verdict_decides_about_real_packets(
    hook: Hook,
    wire: Wire,
    enter: Enter,
    sockets: tuple[socket.socket, socket.socket],
    binding_path: Path,
    pins: BpfFs,
) -> None:
    """Dropped datagrams never arrive, and those after the exchange of the program do."""
    sender, receiver = sockets
    drop = _load(binding_path, verdict=_TC_ACT_SHOT)
    allow = _load(binding_path, drop.maps["shared"])
    with enter(wire.near):
        attach_ingress(drop.programs["count"], wire.ifindex, pins.path, hook)
        sender.send(b"dropped")
        attach_ingress(allow.programs["count"], wire.ifindex, pins.path, hook)
        sender.send(b"allowed")
        assert receiver.recv(100) == b"allowed"
        assert _counted(drop.maps["shared"]) == 2
        assert detach(wire.ifindex, pins.path)
        sender.send(b"unseen")
        assert receiver.recv(100) == b"unseen"
    assert _counted(drop.maps["shared"]) == 2


@both_hooks
def test_program_is_exchanged_without_a_gap(
    hook: Hook,
    wire: Wire,
    enter: Enter,
    sockets: tuple[socket.socket, socket.socket],
    binding_path: Path,
    pins: BpfFs,
) -> None:
    """While two programs take turns under traffic, every datagram meets one of them."""
    first = _load(binding_path, slot=0)
    second = _load(binding_path, first.maps["shared"], slot=1)
    traffic = _Traffic(*sockets)
    with enter(wire.near):
        attach_ingress(first.programs["count"], wire.ifindex, pins.path, hook)
        traffic.start()
        try:
            for _turn in range(100):
                for binding in (second, first):
                    attach_ingress(binding.programs["count"], wire.ifindex, pins.path, hook)
                    # Without this, an idle sender could sleep through all the turns.
                    traffic.wait_for(traffic.sent + 2)
        finally:
            traffic.stop()
    by_program = [_counted(first.maps["shared"], slot) for slot in (0, 1)]
    assert sum(by_program) == traffic.sent
    assert min(by_program) > 0


@both_hooks
def test_attachments_are_listed_until_detached(
    hook: Hook, wire: Wire, enter: Enter, loaded: Object, pins: BpfFs
) -> None:
    """The list names device, hook and program; a second detach finds nothing."""
    program = loaded.programs["tally"]
    with enter(wire.near):
        assert attached(pins.path) == []
        made = attach_ingress(program, wire.ifindex, pins.path, hook)
        assert made == Attachment(wire.ifindex, hook, _program_id(program))
        assert attached(pins.path) == [made]
        assert detach(wire.ifindex, pins.path)
        assert attached(pins.path) == []
        assert not detach(wire.ifindex, pins.path)


@both_hooks
def test_owners_leave_each_other_alone(
    hook: Hook, wire: Wire, enter: Enter, loaded: Object, pins: BpfFs
) -> None:
    """Whoever has other pins sees other attachments, and takes away its own only."""
    one, other = pins.path / "one", pins.path / "other"
    count, tally = loaded.programs["count"], loaded.programs["tally"]
    with enter(wire.near):
        first = attach_ingress(tally, wire.ifindex, one, hook)
        assert attached(other) == []
        assert not detach(wire.ifindex, other)
        second = attach_ingress(count, wire.ifindex, other, hook)
        assert (attached(one), attached(other)) == ([first], [second])
        assert detach(wire.ifindex, one)
        assert (attached(one), attached(other)) == ([], [second])


@both_hooks
def test_takeover_that_fails_puts_back_what_was_there(
    hook: Hook, wire: Wire, enter: Enter, shell: Callable[..., str], loaded: Object, pins: BpfFs
) -> None:
    """Exchanged programs, devices that came and devices that went, in both directions."""
    count, tally = loaded.programs["count"], loaded.programs["tally"]
    with enter(wire.near):
        shell("ip", "link", "add", "fresh", "type", "veth")
        fresh = socket.if_nametoindex("fresh")
        attach_ingress(count, wire.ifindex, pins.path, hook)
        attach_egress(count, wire.ifindex, pins.path, hook)
        before = attached(pins.path)
        with pytest.raises(DeviceError), restored_on_failure(pins.path):  # noqa: PT012 - what is undone
            attach_ingress(tally, wire.ifindex, pins.path, hook)
            detach(wire.ifindex, pins.path, [Direction.EGRESS])
            attach_ingress(tally, fresh, pins.path, hook)
            attach_ingress(tally, _NOWHERE, pins.path, hook)
        assert attached(pins.path) == before


@both_hooks
def test_both_directions_have_attachments_of_their_own(
    hook: Hook, wire: Wire, enter: Enter, loaded: Object, pins: BpfFs
) -> None:
    """Each is exchanged and detached alone, or both at once."""
    count, tally = loaded.programs["count"], loaded.programs["tally"]
    with enter(wire.near):
        inward = attach_ingress(tally, wire.ifindex, pins.path, hook)
        outward = attach_egress(tally, wire.ifindex, pins.path, hook)
        assert outward == Attachment(wire.ifindex, hook, _program_id(tally), Direction.EGRESS)
        assert attached(pins.path) == [inward, outward]
        outward = attach_egress(count, wire.ifindex, pins.path, hook)
        assert attached(pins.path) == [inward, outward]
        assert outward.program_id == _program_id(count)
        assert detach(wire.ifindex, pins.path, [Direction.EGRESS])
        assert attached(pins.path) == [inward]
        assert not detach(wire.ifindex, pins.path, [Direction.EGRESS])
        attach_egress(count, wire.ifindex, pins.path, hook)
        assert detach(wire.ifindex, pins.path)
        assert attached(pins.path) == []


@both_hooks
def test_egress_program_decides_about_what_is_sent(
    hook: Hook, wire: Wire, enter: Enter, binding_path: Path, pins: BpfFs
) -> None:
    """It sees what the device sends, and not what it receives."""
    loaded = _load(binding_path, verdict=_TC_ACT_SHOT)
    with enter(wire.near):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind((wire.address, _PORT))
        receiver.settimeout(10)
        attach_egress(loaded.programs["count"], wire.ifindex, pins.path, hook)
    with enter(wire.far):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind(("", _PORT))
        sender.connect((wire.address, _PORT))
    with closing(sender), closing(receiver):
        sender.send(b"inward")
        data, address = receiver.recvfrom(100)
        assert (data, _counted(loaded.maps["shared"])) == (b"inward", 0)
        receiver.sendto(b"outward", address)
        assert _counted(loaded.maps["shared"]) == 1
        with enter(wire.near):
            assert detach(wire.ifindex, pins.path)
        receiver.sendto(b"unseen", address)
        assert sender.recv(100) == b"unseen"
    assert _counted(loaded.maps["shared"]) == 1


@both_hooks
def test_missing_device_is_named(
    hook: Hook, wire: Wire, enter: Enter, loaded: Object, pins: BpfFs
) -> None:
    """A device that is not in this namespace is an error with its number."""
    with enter(wire.near), pytest.raises(DeviceError, match=str(_NOWHERE)):
        attach_ingress(loaded.programs["tally"], _NOWHERE, pins.path, hook)


@both_hooks
def test_number_given_to_a_new_device_is_attached_anew(
    hook: Hook,
    wire: Wire,
    enter: Enter,
    shell: Callable[..., str],
    loaded: Object,
    pins: BpfFs,
) -> None:
    """A pin left by a vanished device is no obstacle to a new device with its number."""
    program = loaded.programs["tally"]
    with enter(wire.near):
        attach_ingress(program, wire.ifindex, pins.path, hook)
        shell("ip", "link", "del", "near")
        shell("ip", "link", "add", "again", "index", str(wire.ifindex), "type", "veth")
        assert [entry.ifindex for entry in attached(pins.path)] == []
        attach_ingress(program, wire.ifindex, pins.path, hook)
        shell("ip", "link", "del", "again")
        shell("ip", "link", "add", "third", "index", str(wire.ifindex), "type", "veth")
        made = attach_ingress(program, wire.ifindex, pins.path, hook)
        assert attached(pins.path) == [made]


def test_vanished_device_leaves_the_list_and_its_pin(
    wire: Wire, enter: Enter, shell: Callable[..., str], loaded: Object, pins: BpfFs
) -> None:
    """The list forgets a device that is gone, and so does the bpffs."""
    with enter(wire.near):
        attach_ingress(loaded.programs["tally"], wire.ifindex, pins.path, Hook.TCX)
        pin = pins.path / "links" / str(wire.ifindex)
        assert pin.exists()
        shell("ip", "link", "del", "near")
        assert not detach(wire.ifindex, pins.path)
        assert not pin.exists()


def test_link_of_another_namespace_is_not_ours(
    wire: Wire,
    enter: Enter,
    namespace: Callable[[], str],
    shell: Callable[..., str],
    loaded: Object,
    pins: BpfFs,
) -> None:
    """The same number in another namespace is another device: not listed there, attached anew."""
    program = loaded.programs["tally"]
    with enter(wire.near):
        attach_ingress(program, wire.ifindex, pins.path, Hook.TCX)
    with enter(namespace()):
        shell("ip", "link", "add", "like", "index", str(wire.ifindex), "type", "veth",
              "peer", "index", str(_NOWHERE))  # fmt: skip
        assert attached(pins.path) == []
        made = attach_ingress(program, wire.ifindex, pins.path, Hook.TCX)
        assert attached(pins.path) == [made]


def test_pin_that_is_no_link_is_refused(
    wire: Wire, enter: Enter, loaded: Object, pins: BpfFs
) -> None:
    """A map where the link should be is an error, and is left alone."""
    pin = pins.path / "links" / str(wire.ifindex)
    pin.parent.mkdir()
    loaded.maps["flows"].pin(pin)
    with enter(wire.near), pytest.raises(AttachError, match="no tcx link"):
        attach_ingress(loaded.programs["tally"], wire.ifindex, pins.path, Hook.TCX)
    assert pin.exists()
