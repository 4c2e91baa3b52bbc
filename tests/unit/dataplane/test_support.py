# SPDX-License-Identifier: Apache-2.0
"""What is asked of the machine before the data plane starts."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from iovisor_ovn.dataplane import support
from iovisor_ovn.errors import KernelSupportError

_ALL = "CapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\nCapBnd:\t0000000000000000\n"
_NONE = "CapEff:\t0000000000000000\n"


def _pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, release: str, status: str) -> None:
    path = folder / "status"
    path.write_text(status)
    monkeypatch.setattr(support, "_STATUS", path)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.1.0-28-amd64", (6, 1)), ("6.18.44-fc-v595", (6, 18)), ("10.0", (10, 0))],
)
def test_release_is_read_as_numbers(release: str, expected: tuple[int, int]) -> None:
    """6.18 is later than 6.2, whatever distributions append."""
    assert support.kernel_release(release) == expected


def test_unreadable_release_is_an_error() -> None:
    """A release without numbers is named, not guessed."""
    with pytest.raises(KernelSupportError, match="'next'"):
        support.kernel_release("next")


def test_effective_capabilities_are_read() -> None:
    """Of the masks in the status text, the effective one counts, bit by bit."""
    assert support.capabilities("CapPrm:\tff\nCapEff:\t0000000000001002\n") == {1, 12}


def test_old_kernel_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The text holds what is needed and what is there."""
    _pretend(monkeypatch, tmp_path, "5.10.0-9", _ALL)
    with pytest.raises(KernelSupportError, match=r"6\.1 or later is needed, this is 5\.10\.0-9"):
        support.check_kernel()


def test_everything_missing_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An old kernel without privileges gives one error with both reasons."""
    _pretend(monkeypatch, tmp_path, "5.10.0", _NONE)
    with pytest.raises(KernelSupportError, match=r"5\.10.*CAP_NET_ADMIN, CAP_BPF, CAP_SYS_ADMIN"):
        support.check_kernel()


def test_admin_stands_for_the_narrower_privilege(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CAP_SYS_ADMIN (21) includes CAP_BPF; only CAP_NET_ADMIN is then missing."""
    _pretend(monkeypatch, tmp_path, "6.1.0", f"CapEff:\t{1 << 21:016x}\n")
    with pytest.raises(KernelSupportError, match=r"lacks CAP_NET_ADMIN \(run"):
        support.check_kernel()


@pytest.mark.parametrize(("value", "is_off"), [("0\n", True), ("1\n", False), ("2\n", False)])
def test_jit_that_is_off_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, is_off: bool
) -> None:
    """With the setting that turns it on."""
    setting = tmp_path / "bpf_jit_enable"
    setting.write_text(value)
    monkeypatch.setattr(support, "_JIT", setting)
    missing = support._missing_jit()
    assert ["net.core.bpf_jit_enable=1" in reason for reason in missing] == [True] * is_off


def test_jit_of_another_network_namespace_is_not_guessed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only the first one shows the setting."""
    monkeypatch.setattr(support, "_JIT", tmp_path / "none")
    assert support._missing_jit() == []
