"""One run as a page: a row a moment, a column an actor; one file that needs nothing else, for ``--sim-trace=html``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from keepstep_testing.runs import FAILURES, MISHAP
from keepstep_testing.settings import current
from keepstep_testing.sim.trace import Line, text_of

_STYLE = """
:root { color-scheme: light dark; font: 13px/1.5 system-ui, sans-serif }
body { margin: 1.5rem }
pre { white-space: pre-wrap; border-left: 3px solid #c33; padding-left: 1rem }
table { border-collapse: collapse; width: 100% }
th { position: sticky; top: 0; background: Canvas; text-align: left; border-bottom: 2px solid }
td { vertical-align: top; border-bottom: 1px solid #8883; padding: 1px .6rem; font-family: ui-monospace, monospace }
td.time { text-align: right; white-space: nowrap; opacity: .7 }
td.jump { border-top: 2px dashed #888 }
td small { opacity: .75; overflow-wrap: anywhere }
tr.struck td { background: #c334 }
nav label { margin-right: 1rem }
"""
_SCRIPT = """
for (const box of document.querySelectorAll("nav input"))
  box.onchange = () => document.querySelectorAll(`tr[data-actor="${box.value}"]`)
    .forEach(row => row.hidden = !box.checked)
"""
JUMP_US = 1_000_000
"""Time that passes at once is marked from here on."""


def page_of(title: str, told: str, lines: Sequence[Line]) -> str:
    """The page.

    Args:
        title: of the test and its seed.
        told: what failed, and how to play it again.
        lines: the trace; moments at which a mishap struck are marked.
    """
    actors = list(dict.fromkeys(actor for _, actor, _, _, _ in lines))
    boxes = "".join(
        f'<label><input type="checkbox" value="{escape(each)}" checked> {escape(each)}</label>'
        for each in actors
    )
    heads = "".join(f"<th>{escape(each)}</th>" for each in ("time, s", *actors))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><pre>{escape(told)}</pre><nav>{boxes}</nav>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(_rows(lines, actors))}</tbody></table>"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def show(name: str, told: str, lines: Sequence[Line]) -> str:
    """What to tell of a failing run: its trace, or where the page with it is, as ``--sim-trace`` says."""
    if current().trace != "html":
        return text_of(lines)
    FAILURES.mkdir(exist_ok=True)
    path = FAILURES / f"{re.sub(r'[^A-Za-z0-9_-]', '-', name)}.html"
    path.write_text(page_of(name, told, lines), encoding="utf-8")
    return f"what happened is shown in {path}"


def _rows(lines: Sequence[Line], actors: Sequence[str]) -> Iterator[str]:
    before = lines[0][0] if lines else 0
    for us, actor, label, facts, remark in lines:
        jump = " jump" if us - before >= JUMP_US else ""
        before = us
        cells = [f'<td class="time{jump}">{us / 1e6:.6f}</td>']
        told = f"{facts} {remark}".strip()
        seen = f"{escape(label)}<br><small>{escape(told)}</small>" if told else escape(label)
        cells += [f"<td>{seen}</td>" if each == actor else "<td></td>" for each in actors]
        mark = ' class="struck"' if label == MISHAP else ""
        yield f'<tr data-actor="{escape(actor)}"{mark}>{"".join(cells)}</tr>'
