# SPDX-License-Identifier: Apache-2.0
"""Settings from external_ids."""

from pathlib import Path

import pytest

from iovisor_ovn.errors import ConfigError
from iovisor_ovn.mainlogic.options import override_from_file, read_options


def test_defaults_are_those_of_the_manual() -> None:
    """An empty map gives the documented defaults and no complete chassis."""
    found = read_options({}, "host")
    assert (found.bridge, found.hostname, found.chassis) == ("br-int", "host", "")
    assert not found.is_complete
    assert found.mirrored["ovn-enable-lflow-cache"] == "true"
    assert found.mirrored["ovn-monitor-all"] == "false"


def test_chassis_override_beats_the_general_setting() -> None:
    """``KEY-<chassis>`` wins over ``KEY``, that of another chassis does not."""
    found = read_options(
        {
            "system-id": "hv1",
            "ovn-bridge": "br-a",
            "ovn-bridge-hv1": "br-b",
            "ovn-encap-type": "geneve",
            "ovn-encap-ip-hv2": "1.2.3.4",
        },
        "host",
    )
    assert found.bridge == "br-b"
    assert found.encap_ips == ()


def test_name_from_outside_beats_system_id() -> None:
    """The command line's name is the chassis, and chooses the overrides."""
    found = read_options({"system-id": "hv1", "hostname": "a", "hostname-x": "b"}, "host", "x")
    assert (found.chassis, found.hostname) == ("x", "b")


def test_lists_are_sets_of_words() -> None:
    """Comma lists come sorted, each word once."""
    found = read_options({"ovn-encap-ip": "10.0.0.2, 10.0.0.1,10.0.0.2"}, "host")
    assert found.encap_ips == ("10.0.0.1", "10.0.0.2")


def test_bridge_mappings_are_pairs() -> None:
    """Physical networks map to bridges; what is no pair is left out."""
    found = read_options({"ovn-bridge-mappings": "a:br-a, b:br-b,odd"}, "host")
    assert found.bridge_mappings == {"a": "br-a", "b": "br-b"}
    assert found.ignored == ("ovn-bridge-mappings: 'odd' is no NETWORK:BRIDGE",)


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("700", 700), ("x", 5000), ("-1", 5000)])
def test_unusable_number_is_the_default(text: str, expected: int) -> None:
    """A probe interval that is no number does not stop the agent."""
    found = read_options({"ovn-remote-probe-interval": text}, "host")
    assert found.probe_interval_ms == expected


def test_override_file(tmp_path: Path) -> None:
    """The file's first line is the name; no file is none; an unreadable one is an error."""
    path = tmp_path / "system-id-override"
    assert override_from_file(path) is None
    path.write_text("hv9\n")
    assert override_from_file(path) == "hv9"
    path.write_text("")
    assert override_from_file(path) is None
    with pytest.raises(ConfigError):
        override_from_file(tmp_path)
