"""Why automatic mutants survive, by their names: what nobody can notice, or what is not the engine's promise."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "kernel/settle.py _event_text: dumps(…) without `ensure_ascii=False`": "the same text once it is read",
    "engine/committer.py Committer.drop: without `self._open = False`": (
        "a second bolt: what is still written under a lease that was given up is refused by its epoch in the database"
    ),
    "engine/committer.py _middle: `2 * place - len(group)` → `(2 * place + len(group))`": (
        "a group that cannot be committed is cut elsewhere: more tries, and the same plan loses alone"
    ),
    "store/rescue.py RAISE_EPOCHS: `1` → `2`": "the same to everybody: an epoch has to be another one, not the next",
}
