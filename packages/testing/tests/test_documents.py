"""What the how-to on conformance shows is a whole test file, and pytest runs it as it stands."""

import subprocess
import sys

import pytest

from tests.support.run_document import FENCE
from tests.support.sources import ROOT

BLOCKS = [each["code"] for each in FENCE.finditer((ROOT / "docs/how-to/conformance.md").read_text())]


@pytest.mark.parametrize("block", BLOCKS, ids=["store", "engine"])
def test_a_suite_runs_without_any_configuration(block, tmp_path):
    """A subclass with its one fixture is all that pytest needs: no conftest, no marker, no option."""
    (tmp_path / "test_mine.py").write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_mine.py"]
    command += ["-p", "no:schemathesis"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_suite_without_its_fixture_says_what_is_missing(tmp_path):
    """The error names the subclass, the fixture and what it has to give."""
    lines = ["from keepstep_testing.conformance.stores import StoreConformance"]
    lines += ["class TestNothing(StoreConformance):", "    pass"]
    (tmp_path / "test_mine.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    done = subprocess.run(
        [*command, "test_mine.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "TestNothing must override the fixture 'store'" in done.stdout
