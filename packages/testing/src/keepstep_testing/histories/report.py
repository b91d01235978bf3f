"""What a replay of recorded histories found: a verdict for each, and the words for them."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from pathlib import Path

from keepstep.model.commands import Place
from keepstep_testing.histories.file import HistoryRecord

_SHOWN_MAX = 12


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether today's code fits one history.

    Attributes:
        history: what was replayed.
        difference: how the code contradicts it, in words; None when it fits.
        asked: the keys that the code asked for, in order.
        place: the line at which the body stood when it contradicted.
        warnings: what is worth a look and stops no deploy.
    """

    history: HistoryRecord
    difference: str | None = None
    asked: tuple[str, ...] = ()
    place: Place | None = None
    warnings: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the code may go on with the history's run."""
        return self.difference is None

    def __str__(self) -> str:
        run = self.history.run
        state = "fits" if self.fits else "DOES NOT FIT"
        lines = [f"{run.workflow} {run.instance_id!r}, run {run.run_number} ({run.status}): {state}"]
        if self.difference is not None:
            lines.append(f"  {self.difference}")
            recorded = [f"{step.key} ({step.status})" for step in self.history.steps]
            lines.append(f"  the history has: {_listed(recorded)}")
            lines.append(f"  the code asked for: {_listed(self.asked)}")
            if self.place is not None:
                lines += _pointed(self.place)
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The verdicts on all histories of a file, in its order. As text, those that say something."""

    verdicts: tuple[Verdict, ...]

    @property
    def fits(self) -> bool:
        """Whether every history fits: ``assert report.fits, report``."""
        return not self.misfits

    @property
    def misfits(self) -> tuple[Verdict, ...]:
        """The verdicts on histories that the code contradicts."""
        return tuple(each for each in self.verdicts if not each.fits)

    def __str__(self) -> str:
        told = [str(each) for each in self.verdicts if not each.fits or each.warnings]
        warned = sum(1 for each in self.verdicts if each.warnings)
        counted = f"{len(self.verdicts)} replayed, {len(self.misfits)} do not fit, {warned} with warnings"
        return "\n".join([*told, counted])


def _listed(keys: list[str] | tuple[str, ...]) -> str:
    left_out = f"{len(keys) - _SHOWN_MAX} more, then " if len(keys) > _SHOWN_MAX else ""
    return left_out + (", ".join(keys[-_SHOWN_MAX:]) or "nothing")


def _pointed(place: Place) -> list[str]:
    line = linecache.getline(place.file, place.line).strip()
    folder = str(Path.cwd())
    file = place.file.removeprefix(folder).lstrip("/") if place.file.startswith(f"{folder}/") else place.file
    return [f"  at {file}:{place.line}, in {place.function}", *([f"    {line}"] if line else [])]
