"""Loaded first by every judge: the engine that it judges is the copy with the fault, not the installed one."""

from __future__ import annotations

import os
from pathlib import Path

import keepstep
from mutants.sandbox import WHERE

_expected, _found = Path(os.environ[WHERE]), Path(keepstep.__file__).parent
if _expected != _found:
    raise SystemExit(f"keepstep was imported from {_found}, not from {_expected}: nothing would be proved")
