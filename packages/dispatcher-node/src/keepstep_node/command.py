"""The command ``keepstep``: what it is given, and what it says to mistakes. Nothing is imported before it is needed."""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import Annotated, NoReturn

import typer

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

main = typer.Typer(
    name="keepstep",
    help="Durable workflows on your database.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Level(enum.StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@main.callback()
def _commands() -> None:
    """Durable workflows on your database."""


@main.command()
def worker(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:APP", help="The app: module:app, module:some.app or module:make_app()."
        ),
    ],
    *,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Instances in hand at the same time; by default as the app says."),
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Answer /livez and /readyz at this port; 0 takes a free one."),
    ] = None,
    health_host: Annotated[str, typer.Option(help="Answer them at this address.")] = "127.0.0.1",
    migrate: Annotated[
        bool, typer.Option(help="Bring the database's schema up to date at the start.")
    ] = True,
    log_level: Annotated[Level, typer.Option(help="Log this and what is worse, to stderr.")] = Level.INFO,
) -> None:
    """Run an app until SIGTERM or SIGINT, then drain. A second signal leaves at once.

    It exits with 0 after a drain, 1 when the database cannot be had at the start, 2 when there is no such app or the
    health port is taken, and 128 plus the signal's number when it was told twice.
    """
    from keepstep.errors import StoreError, UsageError  # noqa: PLC0415  # slow, and `--help` is not
    from keepstep_node.locate import NoAppError, locate  # noqa: PLC0415  # likewise
    from keepstep_node.loops import loop_factory  # noqa: PLC0415  # likewise
    from keepstep_node.worker import Worker  # noqa: PLC0415  # likewise

    try:
        app = locate(target)
    except NoAppError as error:  # what the app's own module raises is shown whole
        _end(str(error), 2)
    logging.basicConfig(level=log_level.upper(), format=FORMAT)  # unless the app's module has done so
    try:
        made = Worker(app, concurrency=concurrency, migrate=migrate)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(made.run(health_host=health_host, health_port=health_port))
    except UsageError as error:
        _end(str(error), 2)
    except StoreError as error:
        _end(f"the app cannot start: {error}", 1)


def _end(message: str, code: int) -> NoReturn:
    typer.echo(f"keepstep worker: {message}", err=True)
    raise typer.Exit(code)
