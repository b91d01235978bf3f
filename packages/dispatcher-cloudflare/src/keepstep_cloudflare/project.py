"""The Worker's project, as somebody deploys it: files of this package, filled in, and fresh secrets. No network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from keepstep.errors import UsageError
from keepstep_cloudflare.shards import checked_shard
from keepstep_cloudflare.signatures import new_secret

SECRETS = ".dev.vars"
FILES = {
    "src/index.ts": "src/index.ts",
    "wrangler.jsonc": "wrangler.jsonc",
    "package.json": "package.json",
    "gitignore": ".gitignore",  # without its dot it hides nothing from the package's own build
}
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def write_project(folder: Path, *, name: str, tick_url: str, shards: Sequence[str]) -> list[Path]:
    """Write a project that ``wrangler`` can deploy; its two secrets are in ``.dev.vars``, which git ignores.

    Args:
        folder: where; made if it is missing. No file is overwritten.
        name: the Worker's name.
        tick_url: where the app answers ticks.
        shards: the shards that may be armed.

    Returns:
        The files that were written.

    Raises:
        UsageError: a value that cannot be used, or a file that is there already; nothing has been written.
    """
    texts = _texts(name=name, tick_url=tick_url, shards=shards)
    there = [target for target in texts if (folder / target).exists()]
    if there:
        raise UsageError(f"{folder} has {', '.join(there)} already; nothing was written")
    for target, text in texts.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600 if target == SECRETS else 0o644)
        path.write_text(text, encoding="utf-8")
    return [folder / target for target in texts]


def _texts(*, name: str, tick_url: str, shards: Sequence[str]) -> dict[str, str]:
    if not NAME.fullmatch(name):
        raise UsageError(f"a Worker's name is 1 to 63 of a-z 0-9 and inner hyphens, not {name!r}")
    if not tick_url.startswith(("https://", "http://")):
        raise UsageError(f"the tick URL must be the https://… at which the app answers, not {tick_url!r}")
    if not shards:
        raise UsageError("at least one shard is needed")
    values = {"name": name, "tick_url": tick_url, "shards": [checked_shard(shard) for shard in shards]}
    template = files("keepstep_cloudflare") / "worker"
    texts = {
        target: _filled(template.joinpath(source).read_text("utf-8"), values)
        for source, target in FILES.items()
    }
    texts[SECRETS] = f"SCHEDULE_SECRETS={new_secret()}\nTICK_SECRETS={new_secret()}\n"
    return texts


def _filled(text: str, values: Mapping[str, object]) -> str:
    """The template with each ``{{value}}`` as JSON."""
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", json.dumps(value))
    return text
