"""What `make types` reads: a folder that is not listed for the type checker is never checked, and nobody is told."""

import tomllib

from tests.support.sources import ROOT

TYPED = ("packages/*/src", "packages/*/tests/typing", "tests/typing")


def test_the_type_checker_reads_every_folder():
    """The sources and typing tests of every package are listed, and what is listed is there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["basedpyright"]["include"])
    typed = (path for pattern in TYPED for path in ROOT.glob(pattern) if any(path.rglob("*.py")))
    assert {path.relative_to(ROOT).as_posix() for path in typed} <= listed
    assert {each for each in listed if not (ROOT / each).is_dir()} == set()
