"""The OpenAPI document says what the routes do: schemathesis sends what it allows, and what it does not (H)."""

import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel, Field

from keepstep import App, Fragment, Tx
from tests.support.served import served
from tests.support.shop import Shop, nothing, order

HERE = Path(__file__).parent
FUZZ = (
    "run",
    "--max-examples=8",  # of each phase, for each operation: about 20 seconds
    "--generation-deterministic",
    "--continue-on-failure",
    "--no-color",
)

words = Fragment("words")


class Word(BaseModel):
    """What is said."""

    text: str = Field(max_length=20)
    times: int = Field(ge=0, le=9)


@words.route("GET", "/{text}/said")
def say(tx: Tx, text: str, loud: bool = False) -> list[str]:
    """Say it."""
    return [text.upper() if loud else text]


@words.route("POST", "/said", kind="create")
def say_often(tx: Tx, word: Word) -> Word:
    """Say it often."""
    return word


def test_schemathesis_finds_nothing(tmp_path):
    """Whatever is sent, the answer has a status, a media type and a body that the document names."""
    Shop.broken = False
    workflows = {"ORDER": order, "NOTHING": nothing}
    app = App(f"sqlite:///{tmp_path}/fuzzed.db", workflows=workflows, fragments=[words], dispatcher=None)
    asgi = app.routes(authorize=lambda request, access: True, tick=True, wait_max="1ms")
    program = Path(sys.executable).with_name("schemathesis")
    with served(asgi) as address:
        command = [program, "--config-file", HERE / "schemathesis.toml", *FUZZ, f"{address}/openapi.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Tested: {len(asgi.operations) - 1}" in done.stdout  # all but the document itself
