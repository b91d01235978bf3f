"""What tests of the command line's options share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstep_testing import settings


@pytest.fixture
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test sets is gone after it; what it saves is in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    before = settings.current()
    yield
    settings.use(before)
