# SPDX-License-Identifier: Apache-2.0
"""One side of the comparison: a central of its own, a hypervisor, and the machines' ends.

Whether all that follows from a frame has come out is found by *fences*, not by waiting: a
neighbour solicitation that ordinary OVN answers in ovn-controller. Frames are handled in turn
by ovs-vswitchd and, those it passes up, by ovn-controller; so when a second fence that was sent
after the first one's answer is answered, everything is out that one trip to ovn-controller can
make of the frames before (and, but for a rare race, that two can).
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import Ether

from differential.ends import Ends
from differential.rpc import Database, Rpc
from differential.southbound import ready_ports
from iovisor_ovn.demo.central import Central
from iovisor_ovn.demo.processes import CommandFailed, read_pid, until
from iovisor_ovn.demo.releases import INSTALLED, Release
from support.hypervisor import Flavor, Hypervisor

__all__ = ["FENCE", "FENCE_LINES", "Outputs", "Side", "SideDiedError"]

#: Frames by port, in the order of their arrival.
Outputs = dict[str, list[bytes]]
#: The logical port of the fences.
FENCE = "fence"
_FENCE_S = 10.0
# Threads of ovs-vswitchd add to its counters once a second.
_COUNTED_S = 1.5
_GIVEN_UP = "datapath_drop_recirc_error"
_LOOK_S = 0.5
_MAC = "02:00:00:00:fe:02"
#: The network of the fences, in every topology.
FENCE_LINES = f"""
ls-add {FENCE} -- set Logical_Switch {FENCE} other_config:requested-tnl-key=9000
lsp-add {FENCE} {FENCE}
lsp-set-addresses {FENCE} "{_MAC} fd00:fe::2"
lr-add {FENCE}-router -- set Logical_Router {FENCE}-router options:requested-tnl-key=9001
lrp-add {FENCE}-router {FENCE}-lrp 02:00:00:00:fe:01 fd00:fe::1/64
lsp-add {FENCE} {FENCE}-lsp
lsp-set-type {FENCE}-lsp router
lsp-set-addresses {FENCE}-lsp router
lsp-set-options {FENCE}-lsp router-port={FENCE}-lrp
"""
_SOLICITATION = bytes(
    Ether(src=_MAC, dst="33:33:ff:00:00:01")
    / IPv6(src="fd00:fe::2", dst="ff02::1:ff00:1", hlim=255)
    / ICMPv6ND_NS(tgt="fd00:fe::1")
    / ICMPv6NDOptSrcLLAddr(lladdr=_MAC)
)
# The least that OVS allows; its default is above 1,000.
_LEAST_FRAGMENT_SIZE = "400"
# Random on each central otherwise, and part of logical flows.
_GLOBAL = (
    "options:mac_prefix=0a:00:00", "options:svc_monitor_mac=0a:00:00:00:00:01",
)  # fmt: skip


class SideDiedError(Exception):
    """A side no longer answers; ``last_words`` is the last line of its data path's log."""

    def __init__(self, flavor: Flavor, last_words: str) -> None:
        """Keep the parts."""
        super().__init__(f"{flavor} does not answer: {last_words}")
        self.flavor = flavor
        self.last_words = last_words


class Side:
    """Runs from construction until its directory is swept."""

    def __init__(
        self,
        directory: Path,
        name: str,
        flavor: Flavor,
        ports: Sequence[str],
        release: Release = INSTALLED,
    ) -> None:
        """Start everything in ``directory``; ``name`` opens the names of namespaces."""
        self.flavor = flavor
        self.central = Central(directory / "central", release)
        self.central.nbctl("set", "NB_Global", ".", *_GLOBAL)
        self.hypervisor = Hypervisor(
            directory / "hypervisor", "judged", self.central.sb, flavor, name, release
        )
        self.hypervisor.start()
        self.ends = Ends(self.hypervisor, [*ports, FENCE])
        self.nb = Database(directory / "central/nb.sock", "OVN_Northbound")
        self.sb = Database(directory / "central/sb.sock", "OVN_Southbound")
        self._outputs: Outputs = defaultdict(list)
        self._answers = 0
        self._switch = None
        if flavor == "ovn":
            self._switch = Rpc(directory / "hypervisor/ovs-vswitchd.ctl")
            self._given_up = 0
            for version in ("v4", "v6"):
                self._switch.call("dpctl/ipf-set-min-frag", version, _LEAST_FRAGMENT_SIZE)

    def sync(self) -> None:
        """Wait until the Northbound database is in force, for packets seen before too.

        SideDiedError when that does not come to pass.
        """
        try:
            self.central.sync()
        except CommandFailed as failed:
            raise SideDiedError(self.flavor, self._last_words()) from failed
        if self._switch is not None:
            # Its data path keeps what it derived from older flows until it gets round to it.
            self._switch.call("revalidator/purge")

    def has_ready(self, ports: set[str]) -> bool:
        """Return whether exactly these of the bindable ports are bound and up."""
        return ready_ports(self.sb) == ports

    def forget(self) -> None:
        """Empty the connection table where that does not follow from ports going away."""
        if self._switch is not None:
            self._switch.call("dpctl/flush-conntrack")

    def gave_up(self) -> bool:
        """Return whether OVS dropped a packet since the last call as it came round too often."""
        if self._switch is None:
            return False
        known, deadline = self._given_up, time.monotonic() + _COUNTED_S
        while self._given_up == known and time.monotonic() < deadline:
            self._given_up = int(self._switch.call("coverage/read-counter", _GIVEN_UP))
            self.collect(0.05)
        return self._given_up > known

    def send(self, port: str, frame: bytes) -> None:
        """Send a frame as the machine at ``port``."""
        self.ends.send(port, frame)

    def send_fence(self) -> None:
        """Send a fence; :meth:`await_fence` waits for its answer."""
        self.ends.send(FENCE, _SOLICITATION)

    def await_fence(self) -> None:
        """Collect outputs until a fence is answered; SideDiedError when none is."""
        deadline = time.monotonic() + _FENCE_S
        while not self._answers:
            left = deadline - time.monotonic()
            if left < 0 or not self._is_running():
                raise SideDiedError(self.flavor, self._last_words())
            self.collect(min(left, _LOOK_S))
        self._answers -= 1

    def collect(self, timeout_s: float) -> None:
        """Collect what has arrived; wait for the first frame up to ``timeout_s``."""
        for port, frame in self.ends.hear(timeout_s):
            if port == FENCE:
                self._answers += 1
            else:
                self._outputs[port].append(frame)

    def count(self) -> int:
        """Return how many outputs :meth:`take` would give."""
        return sum(map(len, self._outputs.values()))

    def take(self) -> Outputs:
        """Return the outputs collected since the last call."""
        outputs, self._outputs = self._outputs, defaultdict(list)
        return dict(outputs)

    def start_fences(self) -> None:
        """Wait until fences work; needs FENCE_LINES in force."""

        def answered() -> bool:
            self.send_fence()
            self.collect(0.2)
            return self._answers > 0

        until(answered, f"{self.flavor}: the first fence")
        self.collect(0.2)
        self._answers = 0

    def _is_running(self) -> bool:
        directory = self.hypervisor.directory
        return self._switch is None or read_pid(directory / "ovs-vswitchd.pid") is not None

    def _last_words(self) -> str:
        log = self.hypervisor.log
        if self._switch is not None:
            log = log.with_name("ovs-vswitchd.log")
        return log.read_text(errors="replace").rstrip().rpartition("\n")[2]

    def disconnect(self) -> None:
        """Close what this process holds; sweeping the directory ends the rest."""
        for connection in (self.nb, self.sb, self._switch):
            if connection is not None:
                connection.close()
        self.ends.close()
