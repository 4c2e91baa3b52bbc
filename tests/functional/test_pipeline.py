# SPDX-License-Identifier: Apache-2.0
"""The pipeline between a real OVN central and a real machine, under random changes."""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import ovs.poller
import pytest

from iovisor_ovn.abi import STRUCTS, Limit
from iovisor_ovn.dataplane import mount, unmount
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.demo.places import Namespace, inside
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.mainlogic.southbound import COLUMNS, Row
from iovisor_ovn.ovsdb import Database
from support.central import Central, Release
from unit.mainlogic.contents import Contents, differences, read
from unit.mainlogic.fakes import FakeInterface, FakeMachine, RowChange, make_pipeline

pytestmark = [pytest.mark.needs_ovs, pytest.mark.needs_bpf, pytest.mark.needs_netns]

_PORTS = 8
_DEVICES = 6
_SB_WAIT_S = 30.0


class _Array:
    """Elements of a machine's array by index."""

    def __init__(self, machine: Machine, name: str) -> None:
        self._array = machine._arrays[name]
        self._size = STRUCTS[name[:-1]].size if name != "lists" else 4

    def __getitem__(self, index: int) -> bytes:
        at = index * self._array.stride
        return bytes(self._array.memory[at : at + self._size])


class _View:
    """A loaded machine, with the attributes of the fake that :func:`read` looks at."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.maps = machine.maps
        self.arrays = {name: _Array(machine, name)
                       for name in ("insns", "guards", "shapes", "slots", "lists")}  # fmt: skip

    @property
    def hooked(self) -> frozenset[int]:
        """Devices that run the program."""
        return self._machine.attached()

    @property
    def rows(self) -> dict[tuple[int, int], object]:
        """Rows as they were put into force."""
        return {
            (index, stage): kinds
            for index, stages in self._machine._rows.items()
            for stage, kinds in stages.items()
        }

    @property
    def datapaths(self) -> list[dict[str, int]]:
        """What datapaths are, by index."""
        names = ("key", "flags", "dnat_zone", "snat_zone")
        found = []
        for index in range(Limit.DATAPATHS):
            at = index * self._machine._dps.stride
            whole = STRUCTS["dp"].unpack(self._machine._dps.memory[at : at + STRUCTS["dp"].size])
            found.append({name: cast("int", whole[name]) for name in names})
        return found


class _Host:
    """A central, a Southbound connection, a machine in a namespace, devices."""

    def __init__(self, directory: Path, release: Release) -> None:
        self.central = Central(directory / "central", release)
        self.central.sbctl("chassis-add", "hv1", "geneve", "127.0.0.1")
        self.central.sbctl("chassis-add", "hv2", "geneve", "127.0.0.2")
        self.database = Database(self.central.sb, "OVN_Southbound", COLUMNS)
        self.namespace = Namespace(f"pipe-{os.getpid()}", directory)
        self.namespace.ip(*(f"link add v{n} type veth peer name w{n}" for n in range(_DEVICES)))
        listing = self.namespace.run("cat", *(f"/sys/class/net/v{n}/ifindex"
                                              for n in range(_DEVICES)))  # fmt: skip
        self.devices = [int(line) for line in listing.split()]
        self._pins = directory / "bpffs"
        self._bpffs = mount(self._pins)
        self.machine = Machine.load(self._bpffs.path)
        self.pipeline = Pipeline(self.machine)
        self.interfaces: dict[str, FakeInterface] = {}
        self.zones = {f"p{n}": n + 1 for n in range(_PORTS)}
        self.compiled = 0
        compile_flows = self.pipeline.flows.compile

        def counted() -> int:
            self.compiled = compile_flows()
            return self.compiled

        self.pipeline.flows.compile = counted  # type: ignore[method-assign]  # to count

    def close(self) -> None:
        """Remove all."""
        inside(self.namespace.name, lambda: self.pipeline.close(keep=False))
        self.database.close()
        self._bpffs.close()
        unmount(self._pins)
        self.namespace.remove()
        self.central.stop()

    def change(self, lines: str) -> None:
        """Change the Northbound database, wait for northd, and let the pipeline follow."""
        self.central.nb_lines(lines)
        self.follow()

    def follow(self) -> None:
        """Let the pipeline take all that northd has written by now."""
        self.central.nbctl("--wait=sb", "sync")
        wanted = int(self.central.nbctl("get", "nb_global", ".", "nb_cfg"))
        self._await(lambda: self._nb_cfg() >= wanted)
        self.update()

    def update(self) -> None:
        """One pass."""
        changes = [RowChange(c.table, c.kind, c.row) for c in self.database.changes()]
        inside(
            self.namespace.name,
            lambda: self.pipeline.update(changes, self.interfaces, self.zones, "hv1"),
        )

    def contents(self) -> Contents:
        """What the kernel's maps mean."""
        view = cast("FakeMachine", _View(self.machine))
        return inside(self.namespace.name, lambda: read(self.pipeline, view))

    def expected(self) -> Contents:
        """What maps mean that are filled from the rows as they are now."""
        pipeline, machine = make_pipeline(FakeMachine(slots=1 << 16, guards=1 << 16, shapes=4096))
        rows = [
            RowChange(name, "insert", cast("Row", row))
            for name, table in self.database.tables.items()
            for row in table.rows.values()
        ]
        pipeline.update(rows, self.interfaces, self.zones, "hv1")
        return read(pipeline, machine)

    def _nb_cfg(self) -> int:
        rows = self.database.tables["SB_Global"].rows if self.database.tables else {}
        return next((int(row.nb_cfg) for row in rows.values()), -1)

    def _await(self, done: Callable[[], bool]) -> None:
        deadline = ovs.timeval.msec() + _SB_WAIT_S * 1000
        while True:
            self.database.run()
            if done():
                return
            assert ovs.timeval.msec() < deadline, "the Southbound database does not follow"
            poller = ovs.poller.Poller()
            self.database.wait(poller)
            poller.timer_wait(1000)
            poller.block()


@pytest.fixture
def host(release: Release) -> Iterator[_Host]:
    """A hypervisor's parts, with two switches and a router."""
    directory = Path(tempfile.mkdtemp(prefix="ivp-"))
    made = _Host(directory, release)
    made.change(
        """
        ls-add sw0
        ls-add sw1
        lr-add lr
        lrp-add lr lr-sw0 00:00:00:00:01:01 10.0.0.254/24 fd00::fe/64
        lrp-add lr lr-sw1 00:00:00:00:01:02 10.0.1.254/24
        lsp-add sw0 sw0-lr
        lsp-set-type sw0-lr router
        lsp-set-addresses sw0-lr router
        lsp-set-options sw0-lr router-port=lr-sw0
        lsp-add sw1 sw1-lr
        lsp-set-type sw1-lr router
        lsp-set-addresses sw1-lr router
        lsp-set-options sw1-lr router-port=lr-sw1
        """
    )
    yield made
    made.close()
    shutil.rmtree(directory, ignore_errors=True)


class _Changes:
    """Random changes of the Northbound and Southbound databases and of devices."""

    def __init__(self, host: _Host, chance: random.Random) -> None:
        self._host = host
        self._chance = chance
        self._count = 0
        self.kinds = (
            self.port, self.port, self.addresses, self.security, self.interface, self.interface,
            self.group, self.members, self.acl, self.acl, self.no_acls, self.address_set,
            self.balancer, self.nat, self.route, self.bind, self.neighbour, self.fdb,
            self.static_neighbour, self.second_router, self.template, self.nested,
        )  # fmt: skip

    def step(self) -> str:
        """Change something; returns what."""
        kind = self._chance.choice(self.kinds)
        kind()
        return kind.__name__

    def _port(self) -> str:
        return f"p{self._chance.randrange(_PORTS)}"

    def _here(self) -> set[str]:
        listed = self._host.central.nbctl("--bare", "--columns=name", "list", "logical_switch_port")
        return set(listed.split())

    def _some(self) -> str | None:
        ports = sorted(name for name in self._here() if name.startswith("p"))
        return self._chance.choice(ports) if ports else None

    def port(self) -> None:
        """Add a port, take one away, or put it on the other switch in one transaction."""
        name, switch = self._port(), f"sw{self._chance.randrange(2)}"
        # ovn-nbctl refuses an address that a port had which goes in the same transaction.
        self._count += 1
        address = f'"00:00:00:00:00:{self._count:02x} 10.0.{switch[2:]}.{self._count}"'
        add = f"lsp-add {switch} {name}\nlsp-set-addresses {name} {address}\n"
        if name not in self._here():
            self._host.change(add)
        elif self._chance.random() < 0.5:
            self._host.change(f"lsp-del {name}\n{add}")
        else:
            self._host.change(f"lsp-del {name}")

    def addresses(self) -> None:
        """Let a port have unknown addresses or dynamic ones."""
        if (name := self._some()) is not None:
            # Of its own: ovn-nbctl of 25.03 refuses an address that another port has.
            number = 0x70 + int(name.removeprefix("p"))
            own = f'"00:00:00:00:00:{number:02x} 10.0.0.{number}"'
            what = self._chance.choice(("unknown", "dynamic", own))
            self._host.change(f"lsp-set-addresses {name} {what}")

    def security(self) -> None:
        """Set or take away port security."""
        if (name := self._some()) is not None:
            what = self._chance.choice(("", '"00:00:00:00:00:11"',
                                        '"00:00:00:00:00:11 10.0.0.2 fd00::2"'))  # fmt: skip
            self._host.change(f"lsp-set-port-security {name} {what}")

    def interface(self) -> None:
        """Plug a device in, out, or into another port."""
        name = self._port()
        free = set(self._host.devices) - {i.ifindex for i in self._host.interfaces.values()}
        if name in self._host.interfaces and (not free or self._chance.random() < 0.4):
            del self._host.interfaces[name]
        elif free:
            self._host.interfaces[name] = FakeInterface(min(free))
        self._host.update()

    def group(self) -> None:
        """Make or remove a port group."""
        name = f"pg{self._chance.randrange(2)}"
        listed = self._host.central.nbctl("--bare", "--columns=name", "list", "port_group").split()
        ports = " ".join(sorted(p for p in self._here() if p[0] == "p"))
        self._host.change(f"pg-del {name}" if name in listed else f"pg-add {name} {ports}")

    def members(self) -> None:
        """Give a port group other ports."""
        listed = self._host.central.nbctl("--bare", "--columns=name", "list", "port_group").split()
        ports = [p for p in self._here() if p[0] == "p" and self._chance.random() < 0.5]
        if listed and ports:
            self._host.change(f"pg-set-ports {self._chance.choice(listed)} {' '.join(ports)}")

    def acl(self) -> None:
        """Add an access list entry that may name sets which are not there."""
        priority, n = self._chance.randrange(1000, 2000), self._chance.randrange(2)
        match = self._chance.choice((
            f"inport == @pg{n} && ip4", f"outport == @pg{n} && ip4.src == $as{n}",
            f"ip4.dst == $as{n} && tcp.dst == {{80, 443, 1000..1100}}", "icmp6",
            'inport == "p1"',
        ))  # fmt: skip
        action = self._chance.choice(("allow-related", "drop", "reject", "allow"))
        self._host.change(f"--may-exist acl-add sw{n} to-lport {priority} '{match}' {action}")

    def no_acls(self) -> None:
        """Remove the access lists of a switch."""
        self._host.change(f"acl-del sw{self._chance.randrange(2)}")

    def address_set(self) -> None:
        """Make, change or remove an address set."""
        name = f"as{self._chance.randrange(2)}"
        listed = self._host.central.nbctl("--bare", "--columns=name", "list", "address_set").split()
        host = f"10.9.0.{self._chance.randrange(250)}"
        if name not in listed:
            self._host.change(f"create address_set name={name} addresses='{host},10.8.0.0/16'")
        elif self._chance.random() < 0.3:
            self._host.change(f"destroy address_set {name}")
        else:
            self._host.change(f"add address_set {name} addresses {host}")

    def balancer(self) -> None:
        """Add or remove a load balancer, whose verb is not executed yet or is."""
        listed = self._host.central.nbctl("--bare", "--columns=name", "list", "load_balancer")
        if "lb" in listed.split():
            self._host.change("lb-del lb")
        else:
            self._host.change("lb-add lb 10.7.0.1:80 10.0.0.1:80,10.0.0.2:80\nls-lb-add sw0 lb")

    def nat(self) -> None:
        """Add or remove a translation."""
        if self._host.central.nbctl("lr-nat-list", "lr"):
            self._host.change("lr-nat-del lr")
        else:
            self._host.change("lr-nat-add lr snat 10.0.0.254 10.0.1.0/24")

    def route(self) -> None:
        """Add or remove a route."""
        if "10.5" in self._host.central.nbctl("lr-route-list", "lr"):
            self._host.change("lr-route-del lr")
        else:
            self._host.change("lr-route-add lr 10.5.0.0/16 10.0.0.7")

    def bind(self) -> None:
        """Bind a port to a chassis or to none."""
        if (name := self._some()) is not None:
            chassis = self._chance.choice(("hv1", "hv2", ""))
            self._host.central.sbctl("lsp-unbind", name)
            if chassis:
                self._host.central.sbctl("lsp-bind", name, chassis)
            self._host.follow()

    def _datapath(self, name: str) -> str:
        return self._host.central.sbctl(
            "--bare", "--columns=_uuid", "find", "datapath_binding", f"external_ids:name={name}"
        )

    def neighbour(self) -> None:
        """Learn or forget a neighbour of the router."""
        rows = self._host.central.sbctl("--bare", "--columns=_uuid", "list", "mac_binding").split()
        if rows:
            self._host.central.sbctl("destroy", "mac_binding", rows[0])
        else:
            self._host.central.sbctl(
                "create", "mac_binding", "logical_port=lr-sw0", 'ip="10.0.0.7"',
                'mac="00:00:00:00:00:99"', f"datapath={self._datapath('lr')}",
            )  # fmt: skip
        self._host.follow()

    def fdb(self) -> None:
        """Learn or forget a MAC address."""
        rows = self._host.central.sbctl("--bare", "--columns=_uuid", "list", "fdb").split()
        if rows:
            self._host.central.sbctl("destroy", "fdb", rows[0])
        else:
            uuid = self._datapath("sw0")
            key = self._host.central.sbctl("get", "datapath_binding", uuid, "tunnel_key")
            self._host.central.sbctl("create", "fdb", 'mac="00:00:00:00:00:98"', f"dp_key={key}",
                                     "port_key=1")  # fmt: skip
        self._host.follow()

    def static_neighbour(self) -> None:
        """Configure a neighbour, or take it away."""
        listed = self._host.central.nbctl("--bare", "--columns=_uuid", "list", "static_mac_binding")
        if listed:
            self._host.change(f"destroy static_mac_binding {listed.split()[0]}")
        else:
            self._host.change("static-mac-binding-add lr-sw0 10.0.0.7 00:00:00:00:00:97")

    def second_router(self) -> None:
        """Add or remove a router, by which more becomes local."""
        if "lr2" in self._host.central.nbctl("lr-list"):
            self._host.change("lr-del lr2\nlsp-del sw1-lr2")
        else:
            self._host.change(
                """
                lr-add lr2
                lrp-add lr2 lr2-sw1 00:00:00:00:02:01 10.0.1.253/24
                lsp-add sw1 sw1-lr2
                lsp-set-type sw1-lr2 router
                lsp-set-addresses sw1-lr2 router
                lsp-set-options sw1-lr2 router-port=lr2-sw1
                """
            )

    def template(self) -> None:
        """Set or take away this chassis' variables."""
        listed = self._host.central.nbctl("--bare", "--columns=_uuid", "list",
                                          "chassis_template_var")  # fmt: skip
        if listed:
            self._host.change(f"destroy chassis_template_var {listed}")
        else:
            self._host.change("create chassis_template_var chassis=hv1 variables='vip=10.6.0.1'")

    def nested(self) -> None:
        """Nest a port in another, or take it out."""
        name = "nested"
        if name in self._here():
            self._host.change(f"lsp-del {name}")
        else:
            self._host.change(f"lsp-add sw1 {name} {self._port()} 42")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixty_changes_end_where_a_fresh_start_does(host: _Host) -> None:
    """After each change the kernel's maps mean what a new pipeline would write."""
    seed = int(os.environ.get("PIPELINE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"PIPELINE_SEED={seed}")  # noqa: T201  shown when the test fails
    changes = _Changes(host, random.Random(seed))
    for n in range(4):
        host.interfaces[f"p{n}"] = FakeInterface(host.devices[n])
    host.update()
    for number in range(60):
        what = changes.step()
        wrong = differences(host.contents(), host.expected())
        assert wrong == [], f"after {what}, change {number}"


@pytest.mark.slow
def test_members_cost_no_entries(host: _Host) -> None:
    """A thousand addresses and a hundred ports are one entry; another address is one map write."""
    switch = host.central
    ports = " ".join(f"q{n}" for n in range(100))
    host.interfaces["q0"] = FakeInterface(host.devices[0])
    host.change("\n".join(f"lsp-add sw0 q{n}" for n in range(100)))
    addresses = ",".join(f"10.{n // 250}.{n % 250}.1" for n in range(10))
    host.change(
        f"""
        pg-add pg {ports}
        create address_set name=big addresses='{addresses}'
        acl-add pg from-lport 1001 'inport == @pg && ip4.dst == $big' allow-related
        acl-add pg to-lport 1002 'outport == @pg && ip4 && ip4.src != $big' drop
        """
    )
    few = host.pipeline.image.entry_count
    more = ",".join(f"10.{n // 250}.{n % 250}.1" for n in range(1000))
    host.change(f"set address_set big addresses='{more}'")
    assert host.pipeline.image.entry_count == few
    assert host.compiled == 0
    names = ("entries4", "entries8", "entries16", "entries40", "ports", "prefixes")
    before = {name: sorted(host.machine.maps[name].items()) for name in names}
    members = dict(host.machine.maps["members"].items())
    switch.nbctl("add", "address_set", "big", "addresses", "10.200.0.1")
    host.follow()
    assert host.compiled == 0
    assert before == {name: sorted(host.machine.maps[name].items()) for name in before}
    now = dict(host.machine.maps["members"].items())
    assert len(members) > 1000
    assert len(now.items() - members.items()) == 1
    assert members.items() <= now.items()
    assert differences(host.contents(), host.expected()) == []
