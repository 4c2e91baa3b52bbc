# SPDX-License-Identifier: Apache-2.0
"""Two of the three judges: trees executed as they are read, and the image executed in Python."""

from iovisor_ovn.abi import Limit, Word
from iovisor_ovn.compiler.packet import masked_words, pieces
from iovisor_ovn.compiler.reference import Reference
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.language import evaluate
from judges.court import Court, Flow, ImageBench, compile_flow
from judges.direct import View
from judges.exhaustive import PACKETS, matches
from judges.packets import Fields
from judges.trial import hold_trial
from judges.world import SETS, context
from support.fuzzing import Fuzz


def test_trees_and_image_agree(fuzz: Fuzz) -> None:
    """Whatever the flows, their history and the packets."""
    hold_trial(fuzz, 25, lambda any_state: Court(ImageBench(), any_state=any_state))


def words_of(fields: Fields, datapath: int) -> list[int]:
    """Words of a packet with nothing but these fields."""
    words = [0] * Limit.WORDS
    words[Word.DATAPATH] = datapath
    for name, value in fields.items():
        place = pieces(name)
        assert place is not None
        for word, (_mask, bits) in masked_words(place, value, -1).items():
            words[word] |= bits
    return words


def test_every_small_match() -> None:
    """Thousands of matches, each in a datapath of its own, and every packet they can tell apart."""
    bench, sets, rows = ImageBench(), SetTable(), context(SETS)
    demands = []
    for number, text in enumerate(matches()):
        direct, patterns, program = compile_flow(Flow(0, 1, text, "next(1);"), sets)
        bench.image.add_flow(number, (number, 0), 1, patterns, program)
        demands.append((text, direct.demands[0]))
    assert len(demands) > 7000
    bench.apply()
    wrong = []
    for fields in PACKETS:
        view, words = View(fields), words_of(fields, 0)
        for number, (text, tree) in enumerate(demands):
            words[Word.DATAPATH] = number
            if evaluate(tree, view, rows) != _is_met(bench.reference, words):
                wrong.append((text, fields))
    assert wrong == []


def _is_met(reference: Reference, words: list[int]) -> bool:
    """Some flow is found; a stage that passes all packets on is not even looked at."""
    rows = reference.rows.get((words[Word.DATAPATH], 0))
    if rows is not None and not rows[0].works:
        return True
    return reference.classify(words, 0).program >= 0
