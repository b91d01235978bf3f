"""Why automatic mutants survive, by their names: what nobody can notice, or what is not the engine's promise."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "store/rescue.py RAISE_EPOCHS: `1` → `2`": "the same to everybody: an epoch has to be another one, not the next",
}
