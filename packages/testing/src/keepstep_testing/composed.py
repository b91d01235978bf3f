"""What a simulated app is composed of: the user's workflows, fragments with their tables, tables of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import MetaData

from keepstep import Fragment
from keepstep.authoring.definition import WorkflowDefinition, definition_of
from keepstep.authoring.registry import Bindings
from keepstep.client.bound import Workflow
from keepstep.client.mounted import Mounted
from keepstep.fragment.composition import AnyFragment
from keepstep.fragment.definition import FragmentInstance

if TYPE_CHECKING:
    from keepstep_testing.enactment import Enactment
    from keepstep_testing.fleet import Fleet

C = TypeVar("C")
W = TypeVar("W", bound=Bindings)


class Composed:
    """The verbs of a simulation that say what is in its app.

    Attributes:
        fragments: what is mounted in the app.
        fleet: the processes that serve.
    """

    fleet: Fleet
    _enactment: Enactment | None

    def __init__(self) -> None:
        self.fragments: list[AnyFragment] = []
        self._definitions: dict[str, WorkflowDefinition[Any, Any]] = {}
        self._tables: list[MetaData] = []

    @property
    def enactment(self) -> Enactment:
        """What runs it, made when it is first asked for."""
        raise NotImplementedError

    @property
    def client_app(self) -> Any:
        """The app that the test is a client of."""
        raise NotImplementedError

    def register(self, *workflows: Workflow[Any, Any]) -> None:
        """Make workflows known that others start; those that the test starts are known by themselves."""
        before = len(self._definitions)
        for each in workflows:
            definition = definition_of(each)
            self._definitions[definition.name] = definition
        if len(self._definitions) != before:
            self._anew()

    def mount(self, *fragments: AnyFragment) -> None:
        """Have fragments mounted in the app that is simulated, with their tables, hooks and workflows (G1, G2).

        Args:
            fragments: as ``App(fragments=[…])`` takes them: a fragment, or an instance of it under another name.

        Raises:
            UsageError: they cannot be composed.
        """
        self.fragments += fragments
        self._anew()
        self.enactment.apply(self.client_app._lines)  # noqa: SLF001  # its schema

    def fragment(self, fragment: Fragment[C, W] | FragmentInstance[C, W]) -> Mounted[C, W]:
        """A mounted fragment as a client has it: ``await sim.fragment(billing).call(open_invoice, "o-1", 40)``.

        Raises:
            UsageError: it is not mounted.
        """
        self.fleet.ensure()
        return self.client_app.fragment(fragment)

    def tables(self, *metadata: MetaData) -> None:
        """Have tables of the user's own in the database, for ``step.transaction`` (C8)."""
        if self._enactment is None:
            self._tables += metadata
        else:
            self._enactment.add_tables(metadata)

    def _anew(self) -> None:
        """Who runs by now is replaced by one with the workflows and fragments that are known now."""
        if self._enactment is None:
            return
        if self.fleet.servers:
            self.fleet.replace()
        self._enactment.test.app = None

    @property
    def workflows(self) -> dict[str, WorkflowDefinition[Any, Any]]:
        """The known workflows, by keys."""
        return {f"w{n}": each for n, each in enumerate(self._definitions.values())}

    def definition(self, workflow: str) -> WorkflowDefinition[Any, Any]:
        """A workflow by its stored name, of a fragment too."""
        return self.client_app._composition.registry.by_name(workflow)  # noqa: SLF001  # all that is composed
