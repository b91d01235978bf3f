"""The change feed: what an app publishes of its instances' changes, and where it goes (F3).

``App(…, changes=ChangeFeed(sinks=[…]))`` publishes; ``await app.changes(after=…)`` reads. The events are a closed union,
:data:`Change`; each has a stable ``id`` and a dense ``pub_seq``.
"""

from keepstep.authoring.feed import ChangeFeed, Sink
from keepstep.changes.callback import Callback
from keepstep.changes.ndjson import NdjsonFile
from keepstep.changes.webhook import Webhook
from keepstep.model.change import (
    Change,
    ChangeKind,
    EventReceived,
    InstanceCancelled,
    InstanceCompleted,
    InstanceCreated,
    InstanceErrored,
    InstancePaused,
    InstanceRestarted,
    InstanceResumed,
    InstanceTerminated,
    StepCompleted,
    TimerFired,
)
from keepstep.model.outcome import SinkView

__all__ = [
    "Callback",
    "Change",
    "ChangeFeed",
    "ChangeKind",
    "EventReceived",
    "InstanceCancelled",
    "InstanceCompleted",
    "InstanceCreated",
    "InstanceErrored",
    "InstancePaused",
    "InstanceRestarted",
    "InstanceResumed",
    "InstanceTerminated",
    "NdjsonFile",
    "Sink",
    "SinkView",
    "StepCompleted",
    "TimerFired",
    "Webhook",
]
