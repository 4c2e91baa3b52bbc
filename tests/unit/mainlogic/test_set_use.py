# SPDX-License-Identifier: Apache-2.0
"""Which sets are still tested."""

from iovisor_ovn.abi import GuardKind
from iovisor_ovn.compiler.patterns import Guard, Pattern
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.compiler.tuples import entry_of
from iovisor_ovn.mainlogic.set_use import SetUse


def _names(sets: SetTable) -> set[str]:
    return {name for name, _number in sets.items()}


def test_literal_set_lives_as_long_as_a_flow_tests_it() -> None:
    """In the key or in a guard, and once for each flow however many patterns it has."""
    sets = SetTable()
    use = SetUse(sets, lambda _name: True)
    key, guard, other = (sets.set_id(name) for name in ("{1}", "{2}", "{3}"))
    patterns = [
        Pattern(dims=((2, key),)),
        Pattern(dims=((2, key),), guards=(Guard(GuardKind.NOT_IN_SET, 3, 0, guard),)),
        Pattern(guards=(Guard(GuardKind.NOT_EQUAL, 3, 1, other),)),
    ]
    for flow in ("a", "b"):
        use.note(flow, [entry_of(pattern) for pattern in patterns[:1]])
        use.note(flow, [entry_of(pattern) for pattern in patterns[1:]])
    assert use.forget_unused()
    assert _names(sets) == {"{1}", "{2}"}
    use.drop("a")
    assert not use.forget_unused()
    use.drop("b")
    use.drop("b")
    assert use.forget_unused()
    assert _names(sets) == set()
    assert not use.forget_unused()


def test_named_set_lives_as_long_as_its_row() -> None:
    """Tested or not; and when the row is gone, until no flow tests it."""
    rows = {"$a", "$b"}
    sets = SetTable()
    use = SetUse(sets, rows.__contains__)
    use.note("flow", [entry_of(Pattern(dims=((2, sets.set_id("$a")),)))])
    sets.set_id("$b")
    assert not use.forget_unused()
    rows.clear()
    for name in ("$a", "$b"):
        use.row_is_gone(name)
    assert use.forget_unused()
    assert _names(sets) == {"$a"}
    use.drop("flow")
    assert use.forget_unused()
    assert _names(sets) == set()
