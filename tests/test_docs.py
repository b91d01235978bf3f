"""What the documents say is true: their Python runs, their links lead somewhere, decisions are short."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.run_document import FENCE, program
from tests.support.sources import ROOT, text_files

DOCUMENTS = [path for path in text_files() if path.suffix == ".md"]
PROGRAMS = [
    path for path in DOCUMENTS if FENCE.search(path.read_text()) and program(path.read_text()).strip()
]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
DECISION_LINES_MAX = 60


def name(path):
    """The test's id: the document's path."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", PROGRAMS, ids=name)
def test_the_blocks_of_a_document_run(document, tmp_path):
    """All Python blocks of a document run, one after the other, in an empty folder."""
    command = [sys.executable, "-W", "error", "-m", "tests.support.run_document", document]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    """Each relative link names a file that is there."""
    broken = [
        target for target in LINK.findall(document.read_text()) if not (document.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("decision", sorted((ROOT / "docs/decisions").glob("[0-9]*.md")), ids=name)
def test_a_decision_is_short(decision):
    """Who reads a decision wants the reason, not the history."""
    assert len(decision.read_text().splitlines()) <= DECISION_LINES_MAX


def test_a_document_is_one_program_at_its_own_lines():
    """Blocks keep their line numbers; one that cannot run is left out and says why."""
    document = "# Title\n```python\nx = 1\n```\n```python no-run: needs an account\nbroken(\n```\n  ```python\n  y = 2\n  ```\n"
    assert program(document).splitlines() == ["", "", "x = 1", "", "", "", "", "", "y = 2"]
    with pytest.raises(AssertionError, match="says why"):
        program("```python no-run\n```\n")
