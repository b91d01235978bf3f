"""The physical limit: raw batched commits and flushes on the very database that the workloads use.

The rows are as wide as a step's (about 190 bytes); the transactions are as durable as ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from bench.workload import Bed, Sample

SIZES = (1, 100, 1_000)
RESULT = "x" * 150
COLUMNS = "run_id BIGINT NOT NULL, seq INTEGER NOT NULL, at BIGINT NOT NULL, result TEXT NOT NULL"
TABLE = f"CREATE TABLE raw_step ({COLUMNS}, PRIMARY KEY (run_id, seq))"
UNNEST = "INSERT INTO raw_step SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::text[])"


async def measure(bed: Bed) -> list[Sample]:
    """One sample: rows per second by rows per commit, and flushes per second."""
    seconds = 0.1 if bed.quick else 1.0
    if bed.dialect == "sqlite":
        path = bed.url.removeprefix("sqlite:///")
        return [flushes(Path(path).parent, seconds) | sqlite_rows(path, seconds)]
    return [await postgres_rows(bed.url, seconds)]


def flushes(folder: Path, seconds: float) -> Sample:
    """``fdatasync`` after each of many small writes to a file that has its length already."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(bytes(16 * 1024 * 1024))
        file.flush()
        os.fsync(file.fileno())
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            os.pwrite(file.fileno(), b"x" * 400, 400 * (count % 40_000))
            os.fdatasync(file.fileno())
            count += 1
    return {"flushes/s": count / seconds}


def sqlite_rows(path: str, seconds: float) -> Sample:
    """``executemany`` of n rows a commit, write-ahead log, synchronous=FULL."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute(TABLE)

        def group(first: int, size: int) -> None:
            rows = [(first + number, 1, first, RESULT) for number in range(size)]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO raw_step VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")

        return {
            f"rows/s, {size} a commit": _rate(group, size, number, seconds)
            for number, size in enumerate(SIZES)
        }


def _rate(group: Callable[[int, int], None], size: int, number: int, seconds: float) -> float:
    first = written = number * 1_000_000_000
    end = (started := time.perf_counter()) + seconds
    while time.perf_counter() < end:
        group(written, size)
        written += size
    return (written - first) / (time.perf_counter() - started)


async def postgres_rows(url: str, seconds: float) -> Sample:
    """UNNEST of n rows a commit on one connection; single rows also on 16 connections."""
    connections = [await asyncpg.connect(url) for _ in range(16)]
    await connections[0].execute(TABLE)
    sample: Sample = {}
    for number, size in enumerate(SIZES):
        sample[f"rows/s, {size} a commit"] = await _pg_rate(connections[:1], size, number, seconds)
    sample["rows/s, 1 a commit, 16 connections"] = await _pg_rate(connections, 1, len(SIZES), seconds)
    for connection in connections:
        await connection.close()
    return sample


async def _pg_rate(connections: list[asyncpg.Connection], size: int, number: int, seconds: float) -> float:
    inserts = [(await connection.prepare(UNNEST)).fetch for connection in connections]
    end = (started := time.perf_counter()) + seconds

    async def lane(lane_number: int, fetch: Callable[..., Awaitable[object]]) -> int:
        first = written = (number * 100 + lane_number) * 1_000_000_000
        while time.perf_counter() < end:
            ids = list(range(written, written + size))
            await fetch(ids, [1] * size, [written] * size, [RESULT] * size)
            written += size
        return written - first

    written = await asyncio.gather(*(lane(index, insert) for index, insert in enumerate(inserts)))
    return sum(written) / (time.perf_counter() - started)
