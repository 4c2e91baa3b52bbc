# SPDX-License-Identifier: Apache-2.0
"""The control socket: what ``ovn-appctl -t ovn-controller COMMAND`` may ask.

Names and reply formats are those of ovn-controller(8), because scripts read them; ``iovisor/show``
is our own and replies with JSON.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import ovs.poller
import ovs.unixctl
import ovs.unixctl.server
import ovs.vlog
from ovs.unixctl.server import UnixctlConnection

from iovisor_ovn import __version__
from iovisor_ovn.errors import ConfigError
from iovisor_ovn.mainlogic.controller import Controller

__all__ = ["Control", "open_control"]

_log = ovs.vlog.Vlog("control")


_RUNS = ("recompute", "compute", "cancel")
_NOT_OFFERED = {
    "inject-pkt": "not supported; send the packet from the port's device, or ask ovn-trace(8)",
    "debug/pause": "not supported; end the agent with SIGTERM, traffic goes on",
    "debug/resume": "not supported; the agent never pauses",
}


@dataclass(slots=True)
class Control:
    """The socket, and what it was told."""

    server: ovs.unixctl.server.UnixctlServer
    is_exiting: bool = False
    keep: bool = False
    _waiting: list[UnixctlConnection] = field(default_factory=list)

    def ask_exit(self, connection: UnixctlConnection, *, keep: bool) -> None:
        """End; the answer is given when all is done, so that whoever asks may rely on it."""
        self.is_exiting = True
        self.keep = keep
        self._waiting.append(connection)
        _log.info(f"exit_asked keep={keep}")

    def finish(self) -> None:
        """Answer those who wait for the end, and close."""
        for connection in self._waiting:
            connection.reply(None)
        self.server.run()
        self.server.close()


def open_control(
    path: str | None, controller: Controller, describe: Callable[[], Mapping[str, object]]
) -> Control:
    """Listen at ``path``, by default PROGRAM.PID.ctl in the run directory.

    ``describe`` returns what the data plane holds.  ConfigError when the socket cannot be made.
    """
    # The package keeps the first command of a name: ours before its own "version".
    _register("version", 0, lambda: f"iovisor-ovn {__version__}\n")
    error, server = ovs.unixctl.server.UnixctlServer.create(path)
    if error:
        raise ConfigError(f"control socket {path or 'at its usual place'}: error {error}")
    control = Control(server)
    ovs.unixctl.command_register("exit", "[--restart]", 0, 1, _on_exit, control)
    _register("connection-status", 0, lambda: _connection_status(controller))
    _register("ct-zone-list", 0, lambda: _zone_list(controller))
    _register("recompute", 0, lambda: controller.recompute())  # noqa: PLW0108 - reply is None
    _register("inc-engine/recompute", 0, lambda: controller.recompute())  # noqa: PLW0108
    _register("inc-engine/show-stats", 0, lambda: _engine_statistics(controller))
    _register("inc-engine/clear-stats", 0, controller.statistics.clear)
    _register("lflow-cache/flush", 0, lambda: controller.recompute())  # noqa: PLW0108
    _register("lflow-cache/show-stats", 0, lambda: _cache_statistics(describe()))
    _register("sb-cluster-state-reset", 0, lambda: _reset_cluster_state(controller))
    _register("group-table-list", 0, lambda: "")  # there is no OpenFlow, hence no group or meter
    _register("meter-table-list", 0, lambda: "")
    for name, instead in _NOT_OFFERED.items():
        _refuse(name, instead)
    _register("list-commands", 0, _list_commands)
    _register("debug/status", 0, lambda: "running")
    _register("iovisor/show", 0, lambda: _show(controller, describe))
    return control


def _register(name: str, most: int, answer: Callable[[], str | None]) -> None:
    ovs.unixctl.command_register(
        name, "", 0, most, lambda connection, _arguments, _aux: connection.reply(answer()), None
    )


def _refuse(name: str, instead: str) -> None:
    ovs.unixctl.command_register(
        name, "", 0, 1,
        lambda connection, _arguments, _aux: connection.reply_error(f"{name}: {instead}"), None,
    )  # fmt: skip


def _engine_statistics(controller: Controller) -> str:
    counts = controller.statistics
    return "".join(
        f"Node: {node}\n" + "".join(f"- {what}: {counts[node, what]:>12}\n" for what in _RUNS)
        for node in ("pipeline",)
    )


def _cache_statistics(described: Mapping[str, object]) -> str:
    cached = described["cached"]
    assert isinstance(cached, dict)
    lines = {"total": sum(cached.values()), **{f"cache-{name}": n for name, n in cached.items()}}
    return "Enabled: true\n" + "".join(f"{name:<16}: {n}\n" for name, n in lines.items())


def _reset_cluster_state(controller: Controller) -> None:
    if controller.southbound is not None:
        controller.southbound.reset_cluster_state()


def _on_exit(connection: UnixctlConnection, arguments: list[str], control: Control) -> None:
    if arguments and arguments[0] != "--restart":
        connection.reply_error(f"unknown argument {arguments[0]}")
        return
    control.ask_exit(connection, keep=bool(arguments))


def _connection_status(controller: Controller) -> str:
    southbound = controller.southbound
    return "connected" if southbound is not None and southbound.connected else "not connected"


def _zone_list(controller: Controller) -> str:
    zones = controller.zones.current
    return "".join(f"{user} {zones[user]}\n" for user in sorted(zones))


def _list_commands() -> str:
    lines = ["The available commands are:\n"]
    for name, command in sorted(ovs.unixctl.commands.items()):
        lines.append(f"  {name:<23} {command.usage}".rstrip() + "\n")
    return "".join(lines)


def _show(controller: Controller, describe: Callable[[], Mapping[str, object]]) -> str:
    bindings = controller.bindings
    ports = []
    for name in sorted(bindings.claimed | bindings.held.keys()):
        interface = bindings.held.get(name)
        port = bindings.ports.by_name[name]
        ports.append(
            {
                "port": name,
                "interface": interface.name if interface is not None else "",
                "ifindex": interface.ifindex if interface is not None else 0,
                "chassis": port.chassis,
                "up": port.is_up,
                "zone": controller.zones.current.get(name, 0),
            }
        )
    return json.dumps(
        {
            "chassis": controller.options.chassis,
            "southbound": {
                "remote": controller.options.remote,
                "status": _connection_status(controller),
            },
            "problems": controller.problems(),
            "nb_cfg": controller.live_nb_cfg,
            "ports": ports,
            **describe(),
        }
    )
