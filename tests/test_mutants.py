"""The mutants are fresh: each can be made of the engine as it is, is another program, and stands on the page."""

import re
from collections import Counter

import pytest

from mutants import origin, report
from mutants.automatic import changes, sample
from mutants.catalogue import CATALOGUE, MUTANTS
from mutants.fault import CORE, ROOT, Edit, StaleError, mutated
from mutants.reasons import REASONS
from mutants.sandbox import sandbox

CHANGES = changes()
SEMANTICS = (ROOT / "docs/reference/semantics.md").read_text()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_can_be_made(name):
    """What it replaces is there exactly once, and what comes of it is Python."""
    texts = mutated(MUTANTS[name].edits)
    assert all(text != (ROOT / CORE / file).read_text() for file, text in texts.items())


def test_mutants_differ():
    """No two have one name or make one program."""
    every = [each for theme in CATALOGUE.values() for each in theme]
    assert [name for name, count in Counter(each.name for each in every).items() if count > 1] == []
    assert len({tuple(each.edits) for each in every}) == len(every)


def test_a_mutant_violates_a_rule():
    """Each rule that a mutant is said to violate is one of the semantics."""
    known = set(re.findall(r"^- \*\*([A-H]\d+)\*\*", SEMANTICS, re.MULTILINE))
    cited = {rule for each in MUTANTS.values() for rule in each.rules}
    assert sorted(cited - known) == []


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (Edit("kernel/takeover.py", "no such text", ""), "0 times"),
        (Edit("kernel/takeover.py", "import", ""), "times: import"),
        (Edit("kernel/nowhere.py", "x", "y"), "does not exist"),
        (Edit("kernel/takeover.py", "return None", "return return"), "does not compile"),
    ],
)
def test_a_stale_mutant_is_told(edit, why):
    """A mutant that cannot be made any more says so, instead of judging the engine as it is."""
    with pytest.raises(StaleError, match=why):
        mutated([edit])


def test_the_page_lists_the_catalogue():
    """docs/reference/mutants.md has the mutants of the catalogue, in its order."""
    assert report.names_on_page() == list(MUTANTS), "stale: run `make mutants`"


def test_changes_are_programs_of_their_own():
    """Each automatic mutant has its own name and differs from the engine."""
    assert len({each.name for each in CHANGES}) == len(CHANGES) > 900
    originals = {file: (ROOT / CORE / file).read_text() for file in {each.file for each in CHANGES}}
    assert [each.name for each in CHANGES if each.text == originals[each.file]] == []


def test_a_sample_is_repeatable():
    """A seed and a size name one sample of the engine as it is, and a larger one goes on from it."""
    assert sample(40, 7)[:20] == sample(20, 7) != sample(20, 8)


def test_reasons_are_about_changes_that_exist():
    """A reason for a survivor goes with its code."""
    assert report.known(REASONS, [each.name for each in CHANGES]) == []


def test_a_judge_sees_the_copy_with_its_fault_and_nothing_else():
    """The copy stands before the installed engine while it holds a mutant; the project's files stay as they are."""
    file = "kernel/takeover.py"
    program = [
        "-c",
        "from mutants import origin; origin.check(); from keepstep.kernel import takeover; print(hasattr(takeover, 'fault'))",
    ]
    before = (ROOT / CORE / file).read_text()
    with sandbox() as box:
        with box.holding({file: f"{before}\nfault = 1\n"}):
            assert box.run(program, 60).output.strip() == "True"
        assert box.run(program, 60).output.strip() == "False"
        assert box.run(["-c", "while True: pass"], 0.5).code is None
    assert (ROOT / CORE / file).read_text() == before


def test_a_judge_refuses_another_engine(monkeypatch, tmp_path):
    """An engine that is not the copy is not judged (a judge of the installed one would let every mutant live)."""
    monkeypatch.setenv("KEEPSTEP_MUTANT", str(tmp_path))
    with pytest.raises(SystemExit, match="nothing would be proved"):
        origin.check()
