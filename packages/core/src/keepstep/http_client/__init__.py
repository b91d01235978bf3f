"""The verbs over HTTP, for programs that do not reach the database: ``keepstep.client.Client``; needs ``keepstep[client]``.

The faces are those of an app (``Binding``, ``Instance``, their sync forms), the verbs too: they are checked here, and say
what they ask for as values. What is here turns these values into requests and answers into results, without I/O and
without colour: a *talk* is a generator that yields what is to be sent. Drivers of either colour send it.

    refusals.py      answers that refuse, as the errors that the verbs raise in an app
    exchange.py      one request: what is tried again, and when
    conversation.py  each verb as requests
    transport.py     httpx: sends, waits, drives talks; the only file that knows it
    client.py        what users hold
"""

from keepstep.http_client.client import Client, SyncSide

__all__ = ["Client", "SyncSide"]
