# SPDX-License-Identifier: Apache-2.0
"""Users' modules from file to kernel: settings, and everything that can be wrong with them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from iovisor_ovn.dataplane.module_source import compile_source, find_clang
from iovisor_ovn.dataplane.user_program import load_module
from iovisor_ovn.errors import UserModuleError

pytestmark = pytest.mark.needs_bpf

SOURCES = Path(__file__).parent / "modules"


def source(name: str) -> Path:
    """A module of the tests."""
    return SOURCES / f"{name}.bpf.c"


def reason(path: Path, **settings: int | str | bool) -> str:
    """Why a module is refused."""
    with pytest.raises(UserModuleError) as caught:
        load_module(path, settings)
    assert caught.value.program == str(path)
    return caught.value.reason


def test_settings_reach_the_program() -> None:
    """Each type, as the program reads it; what is not set keeps the program's own value."""
    settings: dict[str, int | str | bool] = {
        "negative": -2, "truth": True, "port_be": 80, "ip4": "10.0.0.1", "ip6": "fd00::1",
        "mac": "02:00:00:00:00:01", "text": "hello", "list": "1, 2",
    }  # fmt: skip
    with load_module(source("settings"), settings) as module:
        out = module.program.test_run(bytes(100)).data_out[14:]
    expected = (
        (7).to_bytes(2, "little") + b"\xfe\x01" + b"\x00\x50" + bytes(2) + b"\x0a\x00\x00\x01"
        + b"\xfd" + bytes(14) + b"\x01" + b"\x02\x00\x00\x00\x00\x01" + b"hello\0\0\0"
        + b"\x01\x00\x02\x00\x00\x00"
    )  # fmt: skip
    assert out[: len(expected)] == expected


def test_object_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """It needs no compiler."""
    compile_source(source("verdict"), tmp_path / "verdict.o")
    with load_module(tmp_path / "verdict.o", {"verdict": 0x101}) as module:
        assert module.program.test_run(bytes(60)).retval == 0x101


def test_unknown_setting_is_refused_with_the_nearest() -> None:
    """A constant that nothing can set from outside is no setting."""
    wanted = "it has no setting number_: did you mean number?"
    assert reason(source("settings"), number_=1) == wanted
    assert reason(source("settings"), no_setting=1).startswith(
        "it has no setting no_setting: there are: ip4, "
    )
    assert reason(source("refused"), rate=1) == "it has no setting rate: there are none"


def test_value_that_does_not_fit_names_the_setting() -> None:
    """Bytes of a variable are not more than it has."""
    assert reason(source("settings"), number=70000) == "setting number: 70000 is not in 0 to 65535"


def test_compilers_message_is_shown() -> None:
    """File, line and what is wrong."""
    text = reason(source("broken"))
    assert text.startswith("it does not compile:\n")
    assert "broken.bpf.c:7:9: error: use of undeclared identifier 'no_such_name'" in text


def test_end_of_the_verifiers_log_is_shown() -> None:
    """With the source line that it refuses."""
    text = reason(source("refused"))
    assert text.startswith("the verifier refuses reads_too_far; the end of its log:\n")
    assert "skb->data; @ refused.bpf.c:" in text
    assert "invalid access to packet" in text


def test_program_beyond_the_verifiers_patience_is_refused() -> None:
    """The log's end says so, however long it is."""
    assert "BPF program is too large" in reason(source("huge"))


def test_object_without_a_module_is_refused() -> None:
    """The sections that are there show what was meant."""
    assert reason(source("plain")) == ("it defines no IOMODULE(); sections of its programs: tc")


def test_object_of_another_sdk_is_refused() -> None:
    """Before it can misunderstand what it is given."""
    assert reason(source("old")) == (
        "it was built against version 99 of iovisor_ovn/module.h, this is version 1: "
        "compile it again"
    )


def test_files_that_are_no_programs_are_refused(tmp_path: Path) -> None:
    """Missing, and not what they seem."""
    assert reason(tmp_path / "none.o") == "there is no such file"
    (tmp_path / "text.o").write_text("no ELF")
    assert "cannot open BPF object" in reason(tmp_path / "text.o")


def test_object_without_type_information_is_refused(tmp_path: Path) -> None:
    """Settings cannot be found in it."""
    compile_source(source("verdict"), tmp_path / "verdict.o")
    stripped = tmp_path / "stripped.o"
    objcopy = shutil.which("llvm-objcopy-19") or shutil.which("llvm-objcopy")
    assert objcopy is not None
    subprocess.run(
        [objcopy, "--remove-section=.BTF", "--remove-section=.BTF.ext",
         "--remove-section=.rel.BTF.ext", "--remove-section=.rel.BTF",
         str(tmp_path / "verdict.o"), str(stripped)], check=True,
    )  # fmt: skip
    assert "has no type information: compile it with -g" in reason(stripped)


def test_lack_of_a_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Source needs one, and the message says what to do."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_clang() is None
    assert reason(source("verdict")).startswith("there is no clang here")
