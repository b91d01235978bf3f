"""Composition: the fragments of one app, with everything that does not fit said before anything runs (G2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from keepstep.authoring.hooks import HookDefinition
from keepstep.authoring.registry import Registry, Stored
from keepstep.authoring.step import UNSET
from keepstep.errors import InvalidNameError, UsageError
from keepstep.fragment.definition import Fragment, FragmentInstance
from keepstep.fragment.mount import FragmentMount, Transactions
from keepstep.store.migrations import Line

AnyFragment: TypeAlias = Fragment[Any, Any] | FragmentInstance[Any, Any]


class Composition:
    """The mounted fragments of one app.

    Args:
        fragments: what the host wants mounted.
        own: the host's own workflows.
        transactions: the app's.
        reserved: names that are taken: the attributes of the app.
        stored: what a workflow under its name in the app is there.

    Attributes:
        mounts: by name.
        registry: all workflows, of the host and of the fragments, by stored name.
        hooks: all hooks, by stored name.
        lines: the schemas.

    Raises:
        UsageError: names that are taken, missing configuration, missing or ambiguous dependencies: all are listed.
    """

    def __init__(
        self,
        fragments: Iterable[AnyFragment],
        own: Registry,
        transactions: Transactions,
        reserved: Iterable[str] = (),
        stored: Stored = lambda definition: definition,
    ) -> None:
        self._stored = stored
        wanted = [_instance(each) for each in fragments]
        wrong: list[str] = []
        self.mounts: dict[str, FragmentMount] = {}
        taken = set(reserved)
        for each in wanted:
            if each.name in taken:
                wrong.append(f"{each!r}: the name {each.name!r} is taken; mount it under another one")
            else:
                taken.add(each.name)
                self._mount(each, transactions, wrong)
        for each in wanted:
            if each.name in self.mounts:
                wrong.extend(self._resolve(each, self.mounts[each.name]))
        if wrong:
            raise UsageError("these fragments cannot be composed: " + "; ".join(wrong))
        mounts = self.mounts.values()
        self.registry = own.joined(*(each.registry for each in mounts))
        self.hooks: Mapping[str, HookDefinition[Any]] = {
            name: hook for each in mounts for name, hook in each.hooks.items()
        }
        self.lines: tuple[Line, ...] = tuple(each.line for each in mounts if each.line is not None)

    def mount_of(self, fragment: AnyFragment) -> FragmentMount:
        """The mount of a fragment or of one of its instances.

        Raises:
            UsageError: it is not mounted, or under several names and it is not said which.
        """
        name = fragment.name
        of = fragment.fragment if isinstance(fragment, FragmentInstance) else fragment
        found = [each for each in self.mounts.values() if each.fragment is of]
        exact = [each for each in found if each.name == name]
        if isinstance(fragment, Fragment) and not exact and len(found) == 1:
            exact = found
        if not exact:
            mounted = ", ".join(each.name for each in found)
            raise UsageError(
                f"{fragment!r} is not mounted in this app"
                + (f"; it is mounted as {mounted}: ask for one of these" if mounted else "")
            )
        return exact[0]

    def _mount(self, each: FragmentInstance[Any, Any], transactions: Transactions, wrong: list[str]) -> None:
        try:
            config = _config(each)
            self.mounts[each.name] = FragmentMount(
                each.fragment, each.name, config, transactions, self._stored
            )
        except (UsageError, InvalidNameError) as error:
            wrong.append(f"{each!r}: {error}")

    def _resolve(self, each: FragmentInstance[Any, Any], mount: FragmentMount) -> Iterable[str]:
        chosen = {of.fragment: of for of in map(_instance, each.uses)}
        for fragment, instance in chosen.items():
            if fragment not in each.fragment.dependencies:
                yield f"{each!r} was given {instance!r}, which {each.fragment!r} does not use"
        for fragment in each.fragment.dependencies:
            found = self._candidates(fragment, chosen.get(fragment))
            if len(found) == 1:
                mount.uses[fragment] = found[0]
            else:
                yield self._unresolved(each, fragment, chosen.get(fragment), found)

    def _candidates(
        self, fragment: Fragment[Any, Any], chosen: FragmentInstance[Any, Any] | None
    ) -> list[FragmentMount]:
        found = [each for each in self.mounts.values() if each.fragment is fragment]
        wanted = chosen.name if chosen is not None else fragment.name
        exact = [each for each in found if each.name == wanted]
        return exact if chosen is not None or len(exact) == 1 else found

    def _unresolved(
        self,
        each: FragmentInstance[Any, Any],
        fragment: Fragment[Any, Any],
        chosen: FragmentInstance[Any, Any] | None,
        found: list[FragmentMount],
    ) -> str:
        missing = f"{each!r} uses {fragment if chosen is None else chosen!r}"
        if found:
            names = ", ".join(mount.name for mount in found)
            return f"{missing}, which is mounted as {names}: say which, instance(…, uses=[…])"
        same = self.mounts.get(fragment.name)
        if same is not None and same.fragment is not fragment:
            return f"{missing}, but another fragment is mounted as {fragment.name!r}"
        return f"{missing}, which is not mounted: add it to App(fragments=[…])"


def _instance(fragment: AnyFragment) -> FragmentInstance[Any, Any]:
    if isinstance(fragment, FragmentInstance):
        return fragment
    if isinstance(fragment, Fragment):  # pyright: ignore[reportUnnecessaryIsInstance]
        return fragment.instance()
    raise UsageError(f"a fragment is a Fragment or one of its instances, not {fragment!r}")


def _config(each: FragmentInstance[Any, Any]) -> Any:
    kind = each.fragment.config_type
    if each.config is not UNSET or kind is None:
        return None if kind is None else each.config
    try:
        return kind()
    except Exception as error:
        raise UsageError(
            f"it needs a configuration: {each.fragment.name}.instance({each.name!r}, config={kind.__name__}(…))"
        ) from error
