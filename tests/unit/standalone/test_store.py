# SPDX-License-Identifier: Apache-2.0
"""What a chain's next process finds."""

from pathlib import Path

import pytest

from iovisor_ovn.standalone.store import Store


def test_next_process_finds_what_was_saved(tmp_path: Path) -> None:
    """Zones and pools; nothing else lies about."""
    path = tmp_path / "state.json"
    Store(path).save({"fw_dnat": "3"}, {"dhcp": 1})
    found = Store(path)
    assert (found.zones, found.pools) == ({"fw_dnat": "3"}, {"dhcp": 1})
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


def test_first_process_finds_nothing(tmp_path: Path) -> None:
    """And removing nothing is fine."""
    store = Store(tmp_path / "state.json")
    assert (store.zones, store.pools) == ({}, {})
    store.forget()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"zones": 3, "pools": {}}', '{"zones": {"a": "1"}}', "\x00"]
)
def test_damaged_file_holds_nothing(tmp_path: Path, content: str) -> None:
    """Neither half of it nor an error: the chain starts, connections begin anew."""
    path = tmp_path / "state.json"
    path.write_text(content)
    store = Store(path)
    assert (store.zones, store.pools) == ({}, {})
    store.save({"a": "1"}, {})
    assert Store(path).zones == {"a": "1"}


def test_directory_that_is_gone_is_no_error(tmp_path: Path) -> None:
    """The chain goes on; only its next process knows less."""
    store = Store(tmp_path / "gone" / "state.json")
    store.save({"a": "1"}, {})
    assert not (tmp_path / "gone").exists()
