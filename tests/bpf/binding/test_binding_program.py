# SPDX-License-Identifier: Apache-2.0
"""Objects set up, loaded, refused, run, pinned and adopted."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from iovisor_ovn.dataplane import Adoption, BpfFs, Map, Object, remove_other_versions
from iovisor_ovn.errors import DataplaneError, ProgramLoadError

pytestmark = pytest.mark.needs_bpf

_KEY, _VALUE = struct.pack("=I", 1), struct.pack("=Q", 42)
_DECLARED = frozenset({
    "counters_of_every_cpu", "events", "flows", "jumps", "prefixes", "recent", "shared",
})  # fmt: skip


def _wide_half(binding: Object) -> int:
    return binding.programs["stamp"].test_run(bytes(64)).retval


def test_run_returns_frame_context_and_verdict(loaded: Object) -> None:
    """The program sees the mark, writes it into the frame, and its changes come back."""
    context = struct.pack("=3I", 0, 0, 7)  # len, pkt_type, mark
    frame = bytes(range(64))
    result = loaded.programs["stamp"].test_run(frame, context)
    assert result.data_out == frame[:14] + struct.pack("=I", 7) + frame[18:]
    assert struct.unpack_from("=I", result.ctx_out, 8) == (8,)
    assert result.retval == 0


def test_context_comes_back_without_one_going_in(loaded: Object) -> None:
    """A run that sets no context still shows what the program made of it."""
    result = loaded.programs["stamp"].test_run(bytes(64))
    assert struct.unpack_from("=I", result.ctx_out, 8) == (1,)


def test_frame_too_short_for_ethernet_is_an_error(loaded: Object) -> None:
    """The kernel's refusal names the program."""
    with pytest.raises(DataplaneError, match="run program stamp"):
        loaded.programs["stamp"].test_run(b"short")


def test_readonly_variables_reach_the_program(binding_path: Path) -> None:
    """A 64-bit variable set before the load is what the program reads."""
    with Object.open(binding_path) as binding:
        binding.set_rodata({"wide": 5 << 32, "verdict": -1, "slot": 255})
        assert _wide_half(binding.load()) == 5


@pytest.mark.parametrize(
    ("rodata", "reason"),
    [
        ({"nothing": 1}, "no read-only variable nothing"),
        ({"slot": 256}, "slot has 1 bytes: 256 does not fit"),
        ({"verdict": -(1 << 31) - 1}, "verdict has 4 bytes"),
    ],
)
def test_unusable_readonly_variable_is_refused(
    binding_path: Path, rodata: dict[str, int], reason: str
) -> None:
    """An unknown name or a number too big is an error, not a cut-off value."""
    with Object.open(binding_path) as binding, pytest.raises(DataplaneError, match=reason):
        binding.set_rodata(rodata)


def test_sizes_are_set_by_map_name(binding_path: Path) -> None:
    """A map is made with the size asked for; an unknown map is an error."""
    with Object.open(binding_path) as binding:
        binding.set_max_entries({"flows": 12})
        with pytest.raises(DataplaneError, match="declares no map nothing"):
            binding.set_max_entries({"nothing": 1})
        assert binding.load().maps["flows"].max_entries == 12


def test_declared_layouts_are_what_the_kernel_makes(loaded: Object) -> None:
    """Adoption compares declared with made, so they must agree for every kind of map."""
    declared = loaded.declared_maps()
    assert declared.keys() == _DECLARED
    assert declared == {name: loaded.maps[name].layout for name in declared}


def test_maps_and_programs_outlive_their_object(binding_path: Path) -> None:
    """Closing the object frees libbpf's memory, not what was loaded."""
    with Object.open(binding_path) as binding:
        binding.load()
    binding.maps["flows"].update(_KEY, _VALUE)
    assert binding.maps["flows"].lookup(_KEY) == _VALUE
    assert _wide_half(binding) == 0
    with pytest.raises(DataplaneError, match="was closed"):
        binding.load()


def test_optional_program_is_left_out(loaded: Object) -> None:
    """A program in a section that begins with a question mark is not loaded."""
    assert set(loaded.programs) == {"count", "stamp", "report", "tally"}


def test_verifier_refusal_names_program_and_reason(compiled: Callable[[str], Path]) -> None:
    """The error carries the right program of two and the verifier's own words."""
    with (
        Object.open(compiled("binding_refused")) as refused,
        pytest.raises(ProgramLoadError) as raised,
    ):
        refused.load()
    assert raised.value.program == "careless"
    assert "invalid access to packet" in raised.value.log


def test_unreadable_object_is_an_error_with_its_path(tmp_path: Path) -> None:
    """Neither a missing file nor one that is no ELF file ends in anything else."""
    with pytest.raises(DataplaneError, match=r"missing\.o"):
        Object.open(tmp_path / "missing.o")
    (tmp_path / "text.o").write_text("no object")
    with pytest.raises(DataplaneError, match=r"text\.o"):
        Object.open(tmp_path / "text.o")


def test_verified_instructions_are_known(loaded: Object) -> None:
    """The verifier's count for the larger program is the larger one."""
    programs = loaded.programs
    small, large = (programs[name].info().verified_instructions for name in ("stamp", "count"))
    assert 0 < small < large


def test_reused_map_is_the_same_map(binding_path: Path, loaded: Object) -> None:
    """Two loads share a map that the second reuses."""
    with Object.open(binding_path) as second:
        second.reuse({"flows": loaded.maps["flows"]})
        second.load()
    loaded.maps["flows"].update(_KEY, _VALUE)
    assert second.maps["flows"].lookup(_KEY) == _VALUE


def test_first_start_makes_and_pins_every_map(binding_path: Path, pins: BpfFs) -> None:
    """With nothing pinned everything is new, and pinned afterwards under the version."""
    with Object.open(binding_path) as binding:
        adoption = binding.adopt_or_create(pins.path, 3)
    assert adoption == Adoption(adopted=frozenset(), created=_DECLARED)
    assert {pin.name for pin in (pins.path / "v3" / "maps").iterdir()} == _DECLARED


def test_next_start_finds_contents(binding_path: Path, pins: BpfFs) -> None:
    """The second load of the same version works on the first one's entries."""
    with Object.open(binding_path) as first:
        first.adopt_or_create(pins.path, 3)
    first.maps["flows"].update(_KEY, _VALUE)
    with Object.open(binding_path) as second:
        adoption = second.adopt_or_create(pins.path, 3)
    assert adoption == Adoption(adopted=_DECLARED, created=frozenset())
    assert second.maps["flows"].lookup(_KEY) == _VALUE


def test_only_named_maps_outlive_the_load(binding_path: Path, pins: BpfFs) -> None:
    """Maps that are not named belong to one load: neither pinned nor found by the next."""
    for expected in (None, _VALUE):
        with Object.open(binding_path) as binding:
            binding.adopt_or_create(pins.path, 3, names={"flows"})
        assert binding.maps["flows"].lookup(_KEY) == expected
        assert binding.maps["recent"].items() == []
        binding.maps["flows"].update(_KEY, _VALUE)
        binding.maps["recent"].update(_KEY, _KEY)
    assert [pin.name for pin in (pins.path / "v3" / "maps").iterdir()] == ["flows"]


def test_half_pinned_state_is_completed(binding_path: Path, pins: BpfFs) -> None:
    """An agent that died while pinning left some maps: these are kept, the rest made."""
    with Object.open(binding_path) as first:
        first.adopt_or_create(pins.path, 3)
    first.maps["flows"].update(_KEY, _VALUE)
    (pins.path / "v3" / "maps" / "shared").unlink()
    with Object.open(binding_path) as second:
        adoption = second.adopt_or_create(pins.path, 3)
    assert adoption.created == {"shared"}
    assert second.maps["flows"].lookup(_KEY) == _VALUE


def test_other_layout_of_same_version_is_refused(binding_path: Path, pins: BpfFs) -> None:
    """A changed size is named with both numbers, and the pinned contents stay."""
    with Object.open(binding_path) as first:
        first.adopt_or_create(pins.path, 3)
    first.maps["flows"].update(_KEY, _VALUE)
    with Object.open(binding_path) as second:
        second.set_max_entries({"flows": 2000})
        with pytest.raises(DataplaneError, match=r"map flows .*max_entries: 2000, 1000"):
            second.adopt_or_create(pins.path, 3)
    assert Map.open_pin(pins.path / "v3" / "maps" / "flows").lookup(_KEY) == _VALUE


def test_other_version_begins_anew_beside_the_old(binding_path: Path, pins: BpfFs) -> None:
    """A new ABI version never meets old contents, and the old pins go when asked to."""
    with Object.open(binding_path) as old:
        old.adopt_or_create(pins.path, 3)
    old.maps["flows"].update(_KEY, _VALUE)
    with Object.open(binding_path) as new:
        assert new.adopt_or_create(pins.path, 4).adopted == frozenset()
    assert new.maps["flows"].lookup(_KEY) is None
    assert remove_other_versions(pins.path, 4) == ["v3"]
    assert not (pins.path / "v3").exists()
    assert (pins.path / "v4" / "maps" / "flows").exists()
