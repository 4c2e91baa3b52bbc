# SPDX-License-Identifier: Apache-2.0

"""The agent under the role ovn-controller over TLS, where one column too many spoils all."""

import socket
import struct
import subprocess
from pathlib import Path

import pytest

from functional.agent_rig import ended
from functional.test_agent_process import Host, host, pytestmark
from iovisor_ovn.demo.places import inside
from iovisor_ovn.demo.processes import until

__all__ = ["host", "pytestmark"]


def _openssl(directory: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)


def _certify(directory: Path, *names: str) -> None:
    """Make an authority (``ca.pem``), and key and certificate for each name."""
    directory.mkdir()
    _openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    for name in names:
        _openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        _openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem",
                 "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                 "-out", f"{name}.pem")  # fmt: skip


class _Secured:
    """A host whose Southbound server also listens with TLS and the role, inside its namespace."""

    def __init__(self, host: Host) -> None:
        self.files = host.directory / "tls"
        _certify(self.files, "server", "hv1", "hv9")
        host.ip("-n", host.name, "link", "set", "lo", "up")
        host.servers.stop("sb")
        host.servers.start(
            "sb", "--remote=db:OVN_Southbound,SB_Global,connections",
            f"--private-key={self.files}/server.key", f"--certificate={self.files}/server.pem",
            f"--ca-cert={self.files}/ca.pem", namespace=host.name,
        )  # fmt: skip
        host.servers.sb("set-connection", "role=ovn-controller", "pssl:0:127.0.0.1")

        def port() -> str:
            return host.servers.sb("--bare", "get", "connection", ".", "status").strip()

        until(lambda: "bound_port" in port(), "the TLS port")
        number = host.servers.sb("get", "connection", ".", "status:bound_port").strip().strip('"')
        host.servers.vs("--no-wait", "set", "open", ".",
                        f"external_ids:ovn-remote=ssl:127.0.0.1:{number}")  # fmt: skip

    def options(self, name: str) -> list[str]:
        """Options of an agent with the certificate of ``name``."""
        return [f"--private-key={self.files}/{name}.key", f"--certificate={self.files}/{name}.pem",
                f"--ca-cert={self.files}/ca.pem"]  # fmt: skip


@pytest.fixture
def secured(host: Host) -> _Secured:
    """Put the Southbound database behind TLS and the role."""
    return _Secured(host)


def _log(host: Host) -> str:
    return (host.directory / "agent.log").read_text()


def _send(host: Host, device: str, frame: bytes) -> None:
    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
            one.bind((device, 0))
            one.send(frame)

    inside(host.name, send)


def _arp_reply(mac: str, ip: str, target_mac: str, target_ip: str) -> bytes:
    octets = bytes.fromhex(mac.replace(":", ""))
    target = bytes.fromhex(target_mac.replace(":", ""))
    return (
        target + octets + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 2)
        + octets + socket.inet_aton(ip) + target + socket.inet_aton(target_ip)
    ).ljust(60, b"\0")  # fmt: skip


def test_all_that_the_agent_writes_is_permitted(host: Host, secured: _Secured) -> None:
    """Registration, claims, up, nb_cfg, MAC_Binding, FDB, release: no transaction is refused."""
    servers = host.servers
    servers.nb(
        "ls-add", "sw", "--", "lsp-add", "sw", "p1", "--",
        "lsp-set-addresses", "p1", "02:00:00:00:00:11 10.0.0.11", "unknown", "--",
        "lr-add", "r", "--", "lrp-add", "r", "r-sw", "02:00:00:00:00:01", "10.0.0.1/24", "--",
        "lsp-add", "sw", "sw-r", "--", "lsp-set-type", "sw-r", "router", "--",
        "lsp-set-addresses", "sw-r", "router", "--",
        "lsp-set-options", "sw-r", "router-port=r-sw",
    )  # fmt: skip
    assert host.start(*secured.options("hv1")).returncode == 0
    servers.vs("add-port", "br-int", "vm1", "--", "set", "interface", "vm1", "type=internal",
               "external_ids:iface-id=p1")  # fmt: skip
    servers.nb("wait-until", "logical_switch_port", "p1", "up=true")
    servers.nb("--wait=hv", "sync")
    host.ip("netns", "exec", host.name, "ip", "link", "set", "vm1", "up")
    _send(host, "vm1", _arp_reply("02:00:00:00:00:77", "10.0.0.77", "02:00:00:00:00:01",
                                  "10.0.0.1"))  # fmt: skip
    for table in ("mac_binding", "fdb"):
        until(lambda table=table: "02:00:00:00:00:77" in servers.sb("list", table), table)  # type: ignore[misc]
    servers.vs("set", "open", ".", "external_ids:ovn-encap-ip=127.0.0.2")
    until(lambda: servers.sb("--bare", "--columns=ip", "list", "encap").strip() == "127.0.0.2",
          "the new encap")  # fmt: skip
    with ended(host.pid):
        host.appctl("exit")
    assert host.chassis() == ""
    assert servers.chassis_of("p1") == ""
    assert "transaction_refused" not in _log(host)


def test_files_of_the_local_database_are_used(host: Host, secured: _Secured) -> None:
    """Without options, table SSL of the Open_vSwitch database counts, also when it comes late."""
    assert host.start().returncode == 0
    until(lambda: "tls_unusable" in _log(host), "the name of the fault")
    assert host.appctl("connection-status") == "not connected"
    host.servers.vs("set-ssl", f"{secured.files}/hv1.key", f"{secured.files}/hv1.pem",
                    f"{secured.files}/ca.pem")  # fmt: skip
    until(lambda: host.chassis() == "hv1", "the chassis", 30)


def test_certificate_of_another_is_refused_by_name(host: Host, secured: _Secured) -> None:
    """A certificate of another name than system-id: named in log and show, and nothing stops."""
    assert host.start(*secured.options("hv9")).returncode == 0
    until(lambda: "transaction_refused" in _log(host), "the refusal")
    assert host.chassis() == ""
    assert "RBAC rules" in host.run("show").stdout
    assert host.appctl("connection-status") == "connected"
