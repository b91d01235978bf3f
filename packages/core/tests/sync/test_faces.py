"""The sync faces are the async ones without `await`: made by this file, so that nobody keeps twins by hand.

`python packages/core/tests/sync/test_faces.py` writes them anew.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src" / "keepstep"
FACES = ("instance.py", "binding.py", "hooks.py", "changes.py")
HEAD = "# Made from client/{name} by tests/sync/test_faces.py: change that file.\n"
CHANGES = (
    (r"^# ruff: noqa: A002.*\n", r"\g<0>"),
    (r'^"""(.+): async, typed by (.+)\."""$', r'"""\1, for sync hosts: typed by \2."""'),
    (r"\basync def\b", "def"),
    (r"\bawait ", ""),
    (
        r"^from keepstep\.client\.instance import Instance\n",
        "from keepstep.sync.instance import SyncInstance\n",
    ),
    (r"^from keepstep\.client\.ports import Port\n", "from keepstep.sync.ports import SyncPort\n"),
    (r"\bInstance\b(?=[\[(\s]*[\[(])", "SyncInstance"),
    (r"\bBinding\b(?=[\[(]| \{)", "SyncBinding"),
    (r"<(Instance|Binding)\b", r"<Sync\1"),
    (r"\bport: Port\b", "port: SyncPort"),
    (r"^class (Hooks|Changes)\b", r"class Sync\1"),
)


def sync_face(name: str) -> str:
    """What the sync form of a face says."""
    text = (SOURCES / "client" / name).read_text()
    for pattern, replacement in CHANGES:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    text = HEAD.format(name=name) + text
    for command in (["check", "--fix-only", "--quiet", "--select=I,F401"], ["format", "--quiet"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(SOURCES / "sync" / name), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


@pytest.mark.parametrize("name", FACES)
def test_the_sync_face_is_the_async_one_without_await(name):
    """Sync hosts have the same verbs, options and documentation (G1)."""
    written = (SOURCES / "sync" / name).read_text()
    assert written == sync_face(name), f"run {Path(__file__).name} to write sync/{name} anew"


if __name__ == "__main__":
    for each in FACES:
        (SOURCES / "sync" / each).write_text(sync_face(each))
