"""The workloads of ``performance.md``, one a module, each with the same skeleton: workflows, rounds, ``WORKLOAD``."""

from __future__ import annotations

from bench.workload import Workload
from bench.workloads import (
    bloat,
    slow_flush,
    w01_no_step,
    w02_ten_steps,
    w03_sequence,
    w04_event,
    w05_sleep,
    w06_parked,
    w07_kill,
    w08_replay,
    w09_big_tables,
    w10_long_run,
    w11_processes,
    wake,
)

WORKLOADS: dict[str, Workload] = {
    module.WORKLOAD.name: module.WORKLOAD
    for module in (
        w01_no_step,
        w02_ten_steps,
        w03_sequence,
        w04_event,
        w05_sleep,
        w06_parked,
        w07_kill,
        w08_replay,
        w09_big_tables,
        w10_long_run,
        w11_processes,
        slow_flush,
        bloat,
        wake,
    )
}
