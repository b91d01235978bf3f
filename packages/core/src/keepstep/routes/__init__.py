"""The HTTP face of an app, an ASGI application made by :meth:`keepstep.App.routes`; it needs ``keepstep[http]``.

Requests become the verbs of ``keepstep.client``, in the engine's own transactions; errors become problem+json with the
code that they have in Python (H). Every operation is one entry of ``operations.py``, from which requests are routed and
the OpenAPI document is written. No verb, no SQL and no decision may live here.

    access.py      who may do what: the host's ``authorize`` (G3)
    incoming.py    bodies and queries: limits, JSON, models
    problems.py    errors as answers
    endpoints.py   what each operation does
    operations.py  the table of operations
    fragments.py   the routes of mounted fragments, as entries of that table
    openapi.py     the table as a document
    asgi.py        the application
"""

from keepstep.model.access import Kind
from keepstep.routes.access import Access
from keepstep.routes.asgi import RouteOptions, Routes

__all__ = ["Access", "Kind", "RouteOptions", "Routes"]
