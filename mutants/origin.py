"""Every judge checks first: the engine that it judges is the copy with the fault, not the installed one.

As a plugin of pytest it does so when it is loaded.
"""

from __future__ import annotations

import os
from pathlib import Path

import keepstep
from mutants.sandbox import WHERE


def check() -> None:
    """Refuse another engine.

    Raises:
        SystemExit: nothing would be proved.
    """
    expected, found = Path(os.environ[WHERE]), Path(keepstep.__file__).parent
    if expected != found:
        raise SystemExit(f"keepstep was imported from {found}, not from {expected}: nothing would be proved")


def pytest_configure() -> None:
    """Refuse another engine before the first test."""
    check()
