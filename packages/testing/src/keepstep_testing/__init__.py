"""keepstep_testing: simulation, scenarios and conformance suites for workflows and stores."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keepstep_testing.boundaries import at, crash_everywhere
    from keepstep_testing.effects import Call, Effect
    from keepstep_testing.enactment import StuckError
    from keepstep_testing.exploring import Exploration, explore, sim_test
    from keepstep_testing.machine import DurableMachine
    from keepstep_testing.scenario import ScenarioError, run_scenario
    from keepstep_testing.simulation import Simulation
    from keepstep_testing.verdict import DurabilityError, Ended

__all__ = [
    "Call",
    "DurabilityError",
    "DurableMachine",
    "Effect",
    "Ended",
    "Exploration",
    "ScenarioError",
    "Simulation",
    "StuckError",
    "at",
    "crash_everywhere",
    "explore",
    "run_scenario",
    "sim_test",
]

_HOMES = {
    "Call": "effects",
    "DurabilityError": "verdict",
    "DurableMachine": "machine",
    "Effect": "effects",
    "Ended": "verdict",
    "Exploration": "exploring",
    "ScenarioError": "scenario",
    "Simulation": "simulation",
    "StuckError": "enactment",
    "at": "boundaries",
    "crash_everywhere": "boundaries",
    "explore": "exploring",
    "run_scenario": "scenario",
    "sim_test": "exploring",
}
"""In which module each name lives. They are imported when they are asked for: pytest loads this package every time."""


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
