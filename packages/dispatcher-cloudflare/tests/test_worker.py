"""The Worker alone: its types are strict, its own tests pass, its lock file names no place to fetch from."""

import json
import os
import re
import subprocess

import pytest

from tests.support.sources import ROOT
from tests.support.workerd import WORKER, node

SHIPPED = ROOT / "packages/dispatcher-cloudflare/src/keepstep_cloudflare/worker"


def test_the_workers_own_tests_pass(built_worker):
    """Compiled by tsc in strict mode, then run by node's test runner."""
    tests = sorted(str(path.relative_to(WORKER)) for path in (WORKER / "test").glob("*.test.mjs"))
    environment = {**os.environ, "KEEPSTEP_WORKER_BUILT": str(built_worker)}
    command = [node(), "--test", "--test-reporter=tap", *tests]
    done = subprocess.run(
        command, cwd=WORKER, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE), done.stdout


def test_strict_means_strict():
    """Nothing loosens the type check."""
    options = json.loads((WORKER / "tsconfig.json").read_text())["compilerOptions"]
    assert options["strict"]
    assert not re.search(r"@ts-|: any\b|as any\b|<any\b", (SHIPPED / "src/index.ts").read_text())


def test_the_lock_pins_contents_and_names_no_registry():
    """Every package has a hash; where it comes from is the machine's own affair."""
    lock = json.loads((WORKER / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages["node_modules/miniflare"]["version"].startswith("4.20260426.")
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    wanted = json.loads((WORKER / "package.json").read_text())["devDependencies"]
    assert all(re.fullmatch(r"[\d.]+", version) for version in wanted.values()), "pinned, each"


def test_without_node_the_tests_say_what_to_install(monkeypatch):
    """A machine without Node fails, and its user knows what to do."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match=r"install Node\.js 20 or newer with npm"):
        node()
