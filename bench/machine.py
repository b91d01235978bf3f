"""What the figures were measured on: no host name."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path

import psycopg

SHOWN = ("SQLAlchemy", "asyncpg", "pydantic", "uvloop")


def about(server: str | None) -> dict[str, str]:
    """Names and values, for the report."""
    found = {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
    }
    if server is not None:
        with psycopg.connect(server) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        found["PostgreSQL"] = row[0] if row else "unknown"
    found["libraries"] = ", ".join(f"{name} {version(name)}" for name in SHOWN)
    found["load when it began"] = f"{os.getloadavg()[0]:.1f}"
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
