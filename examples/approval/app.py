"""The app: which database, which workflows. Each process of the example makes one."""

from __future__ import annotations

from examples.approval.workflows import order_approval
from keepstep import App, Bindings


class Workflows(Bindings):
    """The workflows of this app, so that a type checker knows their params and results."""

    approval = order_approval


def make_app(database: str) -> App[Workflows]:
    """An app that advances its workflows while it runs."""
    return App(database, workflows=Workflows)


def make_client(database: str) -> App[Workflows]:
    """An app that sends and reads, and leaves the work to other processes."""
    return App(database, workflows=Workflows, dispatcher=None)
