# SPDX-License-Identifier: Apache-2.0
"""Two of the three judges: trees executed as they are read, and the image executed in Python."""

from judges.court import Court, ImageBench
from judges.trial import hold_trial
from support.fuzzing import Fuzz


def test_trees_and_image_agree(fuzz: Fuzz) -> None:
    """Whatever the flows, their history and the packets."""
    hold_trial(fuzz, 25, lambda any_state: Court(ImageBench(), any_state=any_state))
