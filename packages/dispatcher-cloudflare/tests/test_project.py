"""`python -m keepstep_cloudflare init`: a project that can be deployed, and secrets that cannot be committed."""

import json
import re
import subprocess
import sys

import pytest

from keepstep_cloudflare import Shards
from keepstep_cloudflare.__main__ import main
from keepstep_cloudflare.signatures import Keyring
from tests.support.sources import ROOT

URL = "https://shop.test/keepstep/tick"


def jsonc(path):
    """A JSON file with comments."""
    return json.loads(re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE))


def test_init_writes_a_project_and_says_how_to_deploy_it(tmp_path):
    """The command as it is documented, in a process of its own."""
    folder = tmp_path / "worker"
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "keepstep_cloudflare",
        "init",
        str(folder),
        "--tick-url",
        URL,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    for said in (f"cd {folder} && npm install", "npx wrangler deploy", "npx wrangler secret bulk .dev.vars"):
        assert f"\n  {said}\n" in done.stdout
    assert "whsec_" not in done.stdout + done.stderr
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == [".dev.vars", ".gitignore", "package.json", "src/index.ts", "wrangler.jsonc"]


def test_the_project_is_filled_in(tmp_path):
    """Names, URL and shards are where the Worker reads them."""
    shards = ["--shard", "orders", "--shard", "mail"]
    assert main(["init", str(tmp_path), "--tick-url", URL, "--name", "shop-alarm", *shards]) == 0
    config = jsonc(tmp_path / "wrangler.jsonc")
    assert config["vars"] == {"TICK_URL": URL, "SHARDS": ["orders", "mail"]}
    assert config["name"] == json.loads((tmp_path / "package.json").read_text())["name"] == "shop-alarm"
    assert config["migrations"] == [{"tag": "v1", "new_sqlite_classes": ["Shard"]}]
    assert (tmp_path / config["main"]).read_bytes() == (
        ROOT / "packages/dispatcher-cloudflare/src/keepstep_cloudflare/worker/src/index.ts"
    ).read_bytes()
    assert not re.search(r"\{\{\w", "".join(path.read_text() for path in tmp_path.rglob("*.json*")))


def test_secrets_are_fresh_private_and_ignored(tmp_path):
    """Each project has its own two; git is told to leave them alone."""
    for name in ("one", "two"):
        assert main(["init", str(tmp_path / name)]) == 0
    secrets = [
        dict(line.split("=", 1) for line in (tmp_path / name / ".dev.vars").read_text().splitlines())
        for name in ("one", "two")
    ]
    assert len({secret for each in secrets for secret in each.values()}) == 4
    for name, secret in secrets[0].items():
        assert name in {"SCHEDULE_SECRETS", "TICK_SECRETS"}
        Keyring(secret)
    assert ".dev.vars" in (tmp_path / "one/.gitignore").read_text().splitlines()
    assert (tmp_path / "one/.dev.vars").stat().st_mode & 0o077 == 0


def test_nothing_is_overwritten(tmp_path, capsys):
    """A second init changes no file, above all no secret."""
    assert main(["init", str(tmp_path)]) == 0
    before = (tmp_path / ".dev.vars").read_text()
    assert main(["init", str(tmp_path)]) == 2
    assert ".dev.vars" in capsys.readouterr().err
    assert (tmp_path / ".dev.vars").read_text() == before


@pytest.mark.parametrize(
    "arguments", [["--name", "Shop Alarm"], ["--shard", "a/b"], ["--tick-url", "shop.test/tick"]]
)
def test_what_cannot_be_deployed_is_refused_before_anything_is_written(tmp_path, arguments, capsys):
    """One line on standard error, exit code 2, an empty folder."""
    assert main(["init", str(tmp_path / "worker"), *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "worker").exists()


def test_the_wheel_has_the_workers_files(tmp_path):
    """What init copies is installed with the package."""
    [uv] = ROOT.glob(".tools/uv-*/bin/uv")
    package = ROOT / "packages/dispatcher-cloudflare"
    build = [uv, "build", "--offline", "--quiet", "--wheel", "--out-dir", tmp_path, package]
    subprocess.run(build, check=True, timeout=60, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    for name in ("src/index.ts", "wrangler.jsonc", "package.json", "gitignore"):
        assert f"keepstep_cloudflare/worker/{name} " in listing


def test_a_shard_of_a_workflow_is_the_same_everywhere():
    """The hash is part of the contract: processes and releases agree on it."""
    shards = Shards("part", 4)
    assert shards.names == ("part-0", "part-1", "part-2", "part-3")
    names = ["order-approval", "billing", "mail", "report"]
    assert [shards.of(name) for name in names] == ["part-3", "part-3", "part-3", "part-0"]
    assert sorted(name for shard in shards.names for name in shards.workflows(shard, names)) == sorted(names)
