"""A process of its own that advances runs until it is told to stop, or killed. ``python -m soak.program --help``."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import resource
import signal
import sys
from pathlib import Path
from types import FrameType

from keepstep import App, RunnerOptions
from keepstep.engine.stopping import where
from keepstep_node import PollingDispatcher
from soak.processes import STACKS_END
from soak.workflows import WORKFLOWS, Outside, instance_id


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", help="its URL")
    parser.add_argument("effects", type=Path, help="the file to which steps append their effects")
    parser.add_argument("--lease", default="30 seconds")
    parser.add_argument("--drain", default="10 seconds")
    parser.add_argument("--concurrency", type=int, default=1024)
    parser.add_argument("--cache", type=int, default=10_000, help="suspended bodies kept in memory")
    parser.add_argument("--pause-ms", type=int, default=0, help="how long asynchronous steps take")
    parser.add_argument(
        "--create", nargs=3, metavar=("KIND", "FIRST", "COUNT"), help="begin instances, eagerly"
    )
    return parser.parse_args()


def tell_stacks(loop: asyncio.AbstractEventLoop) -> None:
    """Have SIGUSR1 print where every thread stands, then where every task waits; also when the loop stands still."""

    def tell_tasks(_number: int, _frame: FrameType | None) -> None:
        for task in asyncio.all_tasks(loop):
            print(where(task), file=sys.stderr)
        print(STACKS_END, file=sys.stderr, flush=True)

    signal.signal(signal.SIGUSR1, tell_tasks)
    faulthandler.register(signal.SIGUSR1, chain=True)


async def main(given: argparse.Namespace) -> None:
    """Run until SIGTERM; then drain."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    tell_stacks(asyncio.get_running_loop())
    options = RunnerOptions(
        lease=given.lease, drain=given.drain, concurrency=given.concurrency, cache=given.cache
    )
    app = App(
        given.database,
        workflows=WORKFLOWS,
        runner=options,
        dispatcher=PollingDispatcher(interval="100ms", idle_max="500ms"),
    )
    async with app.running(migrate=False):
        print("running", flush=True)
        if given.create is not None:
            await create(app, given.create[0], int(given.create[1]), int(given.create[2]))
        await told.wait()
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}", flush=True)


async def create(app: App[object], kind: str, first: int, count: int) -> None:
    """Begin instances that do not exist yet, as this runner's own: its next commits create and claim them."""
    binding = app.binding(WORKFLOWS[kind.upper()])
    for begin in range(first, first + count, 100):
        numbers = range(begin, min(begin + 100, first + count))
        await binding.create_batch({"id": instance_id(kind, n), "params": n} for n in numbers)
    print("created", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    read = arguments()
    Outside.open(read.effects, read.pause_ms)
    asyncio.run(main(read))
