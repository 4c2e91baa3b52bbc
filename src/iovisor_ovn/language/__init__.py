# SPDX-License-Identifier: Apache-2.0
"""OVN's match and action languages: texts become trees, trees become clauses or texts again.

::

    text ── lexer ── match_parser ── match (tree) ── normalize ── clauses
                  └─ action_parser ── actions (tree)

Nothing here knows of eBPF or OVSDB. Errors are :class:`iovisor_ovn.errors.LanguageError`.
"""

from iovisor_ovn.language.actions import *  # noqa: F403  every node is public
from iovisor_ovn.language.clauses import *  # noqa: F403
from iovisor_ovn.language.fields import *  # noqa: F403
from iovisor_ovn.language.match import *  # noqa: F403
