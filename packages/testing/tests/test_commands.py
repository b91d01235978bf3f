"""``python -m keepstep_testing``: the deploy gate as commands, in the folder of a program."""

import asyncio
import subprocess
import sys

import pytest

from keepstep_testing.__main__ import main

PROGRAM = """
from keepstep import App, workflow

async def work(order) -> str:
    return "done"

@workflow(name="order")
async def order(event, step):
    await step.do("{first}", work, event.payload)
    await step.do("{second}", work, event.payload)
    return "done"

app = App({url!r}, workflows={{"ORDER": order}}, dispatcher=None)
workflows = {{"ORDER": order}}

def redact(payload):
    return "***"

async def main():
    await app.migrate()
    await app.workflows.ORDER.create(id="o-1", params="secret")
    await app.run_until_idle()
    await app.stop()

if __name__ == "__main__":
    import asyncio
    asyncio.run(main())
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command in the program's folder; gives the exit code, and both outputs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "modules", sys.modules.copy())

    def run_(*arguments):
        sys.modules.pop("shop", None)
        code = main(arguments)
        return code, *capsys.readouterr()

    return run_


def write(tmp_path, url, first="charge", second="ship"):
    """The program, with its two steps in this order."""
    (tmp_path / "shop.py").write_text(PROGRAM.format(url=url, first=first, second=second))
    for each in tmp_path.glob("__pycache__/*"):
        each.unlink()


def test_a_deploy_that_does_not_fit_is_refused(run, tmp_path, database_url):
    """Export from the code that runs, replay with the code to deploy: exit code 1, the steps and the line (E10)."""
    write(tmp_path, database_url)
    program = {"__name__": "program"}
    exec((tmp_path / "shop.py").read_text(), program)  # ours
    asyncio.run(program["main"]())
    export = ("export", database_url, "h.jsonl", "--app", "shop:app")
    assert run(*export, "--redact", "shop:redact") == (0, "1 histories written to h.jsonl\n", "")
    assert "secret" not in (tmp_path / "h.jsonl").read_text()
    assert run(*export) == (0, "1 histories written to h.jsonl\n", "")
    replay = ("replay", "h.jsonl", "--app")
    assert run(*replay, "shop:workflows") == (0, "1 replayed, 0 do not fit, 0 with warnings\n", "")
    write(tmp_path, database_url, first="ship", second="charge")
    code, out, err = run(*replay, "shop:app")
    assert (code, err) == (1, "")
    assert out.splitlines()[0] == "order 'o-1', run 1 (complete): DOES NOT FIT"
    assert "  the code asked for: do:ship, do:charge" in out
    assert '  at shop.py:10, in order\n    await step.do("charge", work, event.payload)\n' in out


def test_the_package_is_a_program(tmp_path):
    """``python -m`` gives the command's exit code; what is wrong is one line, not a traceback."""
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "keepstep_testing",
        "replay",
        "no.jsonl",
        "--app",
        "no:app",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    told = "the module 'no' of 'no:app' cannot be imported: ModuleNotFoundError: No module named 'no'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("shop", "'shop' must name a module and something in it, like shop.main:app"),
        ("nothing:app", "cannot be imported: ModuleNotFoundError: No module named 'nothing'"),
        ("shop:order.app", "the module 'shop' has no 'order.app'"),
        ("shop:redact", "is function: name an App, a Bindings class or a dict of workflows"),
    ],
)
def test_a_target_that_is_wrong_is_told(run, tmp_path, target, told):
    """One line on the error output and exit code 2, no traceback."""
    write(tmp_path, f"sqlite:///{tmp_path}/none.db")
    code, out, err = run("replay", "h.jsonl", "--app", target)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_a_workflow_that_the_app_does_not_have_is_told(run, tmp_path):
    """A misspelt name would export nothing, and a gate that replays nothing is open."""
    write(tmp_path, f"sqlite:///{tmp_path}/none.db")
    export = ("export", f"sqlite:///{tmp_path}/none.db", "h.jsonl", "--app", "shop:app")
    code, _, err = run(*export, "--workflow", "oder")
    assert (code, err) == (2, "'shop:app' has no workflow 'oder'; it has order\n")
