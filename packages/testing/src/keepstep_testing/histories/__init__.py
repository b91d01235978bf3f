"""Recorded histories: taken out of a database, and replayed against today's code before it is deployed (A2, E10).

``export_histories`` writes what runs have recorded; ``replay_histories`` runs today's bodies over it, with the engine's
own loop and journal and without a database, and says which of them no longer fit.
"""

from keepstep_testing.histories.export import Payload, Redact, export_histories
from keepstep_testing.histories.file import FORMAT_VERSION, HistoryRecord, read_histories
from keepstep_testing.histories.replay import replay_histories
from keepstep_testing.histories.report import ReplayReport, Verdict

__all__ = [
    "FORMAT_VERSION",
    "HistoryRecord",
    "Payload",
    "Redact",
    "ReplayReport",
    "Verdict",
    "export_histories",
    "read_histories",
    "replay_histories",
]
