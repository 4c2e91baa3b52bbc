# SPDX-License-Identifier: Apache-2.0
"""What `iovisor-ovn show` gets."""

import json

from iovisor_ovn.abi import Drop
from iovisor_ovn.mainlogic.report import report
from unit.mainlogic.rig import Rig


def test_report_names_what_is_here_and_what_is_wrong() -> None:
    """Local datapaths, flows that are not executed, drops; ready for JSON."""
    rig = Rig()
    rig.datapath("far", 9)
    lr = rig.datapath("", 6, "logical-router")
    rig.port("lrp", 3, lr, kind="patch", peer="sw-lr")
    rig.port("sw-lr", 2, kind="patch", peer="lrp")
    rig.port("nested", 4, parent_port=["p0"], tag=[5])
    rig.flow("ip4", "reg0 = 1; next;")
    broken = rig.flow("ip4 &&", "next;")
    rig.flow("ip6", 'trigger_event(event = "empty_lb_backends", vip = "1.1.1.1", '
             'protocol = "tcp");')  # fmt: skip
    rig.update()
    rig.machine.drop_counts = {Drop.TTL: 3, Drop.POLICY: 5}
    rig.machine.unsupported_counts = {0: 12}
    found = report(rig.pipeline)
    assert json.loads(json.dumps(found)) == found
    assert found["flows"] == 3
    assert found["entries"] == rig.pipeline.image.entry_count
    assert found["programs"] == rig.pipeline.image.program_count
    names = [(d["name"], d["kind"], d["key"], d["ports"]) for d in found["datapaths"]]
    assert names == [(str(lr.uuid), "router", 6, 1), ("sw", "switch", 5, 3)]
    assert found["unsupported"] == [{"verb": "trigger_event", "flows": 1, "packets": 12}]
    (error,) = found["errors"]
    assert (error["flow"], error["source"]) == (str(broken.uuid), "ip4 &&")
    assert [(d["reason"], d["packets"]) for d in found["drops"]] == [("policy", 5), ("ttl", 3)]
    assert all(use["used"] <= use["capacity"] for use in found["maps"])
    assert {use["map"] for use in found["maps"]} >= {"slots", "insns", "lists", "entries40"}


def test_what_holds_a_datapath_is_named() -> None:
    """By datapath and word, with how many flows have it and how many changes wait."""
    rig = Rig()
    rig.flow("ip4", "next;")
    rig.update()
    rig.flow("ip4", "frobnicate(reg0);", priority=1)
    rig.flow("ip6", "reg0 = 1; frobnicate;", priority=2)
    rig.flow("ip6", "ct_quantum;", priority=3)
    rig.flow("ip6", "next;", priority=4)
    rig.update()
    found = report(rig.pipeline)
    assert found["held"] == [
        {"datapath": "sw", "missing": "ct_quantum", "flows": 1, "waiting": 4},
        {"datapath": "sw", "missing": "frobnicate", "flows": 2, "waiting": 4},
    ]
    assert json.loads(json.dumps(found)) == found


def test_empty_pipeline_has_a_report() -> None:
    """Before the first pass, too."""
    rig = Rig()
    rig.interfaces.clear()
    rig.update()
    found = report(rig.pipeline)
    assert found["datapaths"] == []
    assert [found[name] for name in ("errors", "unsupported", "held", "drops")] == [[], [], [], []]
