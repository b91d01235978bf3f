"""``python -m keepstep_cloudflare init DIR``: writes the Worker's project and says how to deploy it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from keepstep.errors import UsageError
from keepstep_cloudflare.project import write_project

TICK_URL = "https://app.example.com/keepstep/tick"
SET_URL = "Set TICK_URL in {folder}/wrangler.jsonc to the URL at which your app answers ticks.\n"
DEPLOY = """\
Wrote the Worker's project to {folder}.
{set_url}
Deploy it:

  cd {folder} && npm install
  npx wrangler deploy
  npx wrangler secret bulk .dev.vars

The app needs the two secrets of {folder}/.dev.vars as well, and the URL that `wrangler deploy` prints:

  CloudflareDispatcher(url, {shard!r}, schedule_secrets, tick_secrets, tick_url={tick_url!r})

.dev.vars is not to be committed: its .gitignore sees to that.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m keepstep_cloudflare", description=__doc__)
    init = parser.add_subparsers(required=True, metavar="init").add_parser(
        "init", help="write a Worker's project, with fresh secrets"
    )
    init.add_argument("folder", type=Path, metavar="DIR", help="where; no file is overwritten")
    init.add_argument("--tick-url", help="the URL at which the app answers ticks (default: to be set later)")
    init.add_argument("--name", default="keepstep-alarm", help="the Worker's name (default: %(default)s)")
    init.add_argument(
        "--shard",
        action="append",
        dest="shards",
        help="a shard that may be armed; repeatable (default: main)",
    )
    given = parser.parse_args(arguments)
    shards: list[str] = given.shards or ["main"]
    try:
        write_project(given.folder, name=given.name, tick_url=given.tick_url or TICK_URL, shards=shards)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    set_url = "" if given.tick_url else SET_URL.format(folder=given.folder)
    tick_url = given.tick_url or TICK_URL
    said = DEPLOY.format(folder=given.folder, set_url=set_url, tick_url=tick_url, shard=shards[0])
    sys.stdout.write(said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
