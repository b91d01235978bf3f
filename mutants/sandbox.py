"""A copy of the engine in which a fault is made, and the process that judges it. The project's own files stay as they are."""

from __future__ import annotations

import compileall
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mutants.fault import CORE, ROOT

PACKAGES = (CORE, Path("packages/testing/src/keepstep_testing"))
WHERE = "KEEPSTEP_MUTANT"
"""The environment variable that tells a judge from which folder ``keepstep`` has to come."""
_LATER_NS = 10**10


class Outcome(NamedTuple):
    """How a judge ended.

    Attributes:
        code: its exit code; None = it was stopped because its time was over.
        output: what it printed.
        seconds: of the processor's time, its children's too.
    """

    code: int | None
    output: str
    seconds: float


class Sandbox:
    """See the module's head; made by :func:`sandbox`."""

    def __init__(self, folder: Path) -> None:
        self._sources = [folder / str(number) for number in range(len(PACKAGES))]
        for package, source in zip(PACKAGES, self._sources, strict=True):
            shutil.copytree(ROOT / package, source / package.name)
            compileall.compile_dir(str(source), quiet=2)

    @property
    def core(self) -> Path:
        """The copy of the package ``keepstep``."""
        return self._sources[0] / CORE.name

    @contextmanager
    def holding(self, texts: Mapping[str, str]) -> Generator[None, None, None]:
        """Put these texts in place of the files, until the end of the block."""
        kept = {self.core / file: (self.core / file).read_text() for file in texts}
        stamps = {path: path.stat().st_mtime_ns for path in kept}
        try:
            for file, text in texts.items():
                _write(self.core / file, text, stamps[self.core / file] + _LATER_NS)
            yield
        finally:
            for path, text in kept.items():
                _write(path, text, stamps[path])

    def run(self, command: Sequence[str], seconds: float) -> Outcome:
        """Run a Python program with the copy in front of everything, for so long at most, in the background's priority."""
        paths = os.pathsep.join(map(str, [*self._sources, ROOT]))
        environment = {
            **os.environ,
            "PYTHONPATH": paths,
            "PYTHONDONTWRITEBYTECODE": "1",
            WHERE: str(self.core),
        }
        before = _spent()
        with subprocess.Popen(
            ["nice", "-n", "5", sys.executable, *command],  # noqa: S607
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as child:
            try:
                output, _ = child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                output, _ = child.communicate()
                return Outcome(None, output, _spent() - before)
        return Outcome(child.returncode, output, _spent() - before)


@contextmanager
def sandbox() -> Generator[Sandbox, None, None]:
    """A copy that is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="keepstep-mutants-") as folder:
        yield Sandbox(Path(folder))


def _spent() -> float:
    """Seconds of the processor's time that judges have taken so far; of all of them, where several judge at a time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write(path: Path, text: str, stamp_ns: int) -> None:
    """With a time of its own: what was compiled of another text is not taken for this one's."""
    path.write_text(text)
    os.utime(path, ns=(stamp_ns, stamp_ns))
