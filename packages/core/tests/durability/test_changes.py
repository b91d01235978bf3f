"""The change feed and real processes: killed between commit and publication, killed while it feeds a sink (F3)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path(__file__).with_name("changes_program.py")
INSTANCES = 300


def start(database: str, file: Path, mode: str) -> subprocess.Popen[str]:
    """Start the program in a process of its own."""
    command = [sys.executable, str(PROGRAM), database, str(file), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_before_publication_and_while_it_feeds(database_url: str, tmp_path: Path) -> None:
    """F3: what was committed is published by whoever comes next; every line is there once, in order."""
    file = tmp_path / "changes.ndjson"
    committing = start(database_url, file, "commit")
    assert committing.stdout is not None
    assert committing.stdout.readline() == "ready\n"
    committing.kill()
    committing.communicate()
    assert not file.exists()
    feeding = start(database_url, file, "publish")
    deadline = time.monotonic() + 60
    while not file.exists() or file.stat().st_size < 2000:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    feeding.kill()
    feeding.communicate()
    assert start(database_url, file, "publish").communicate(timeout=60) == ("", None)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [each["pub_seq"] for each in lines] == list(range(1, 2 * INSTANCES + 1))
    assert len({each["id"] for each in lines}) == len(lines)
