"""What a library author composes: schema, services, hooks, routes and workflows, mounted by a host (G2).

Definitions and their composition live here. What runs them (transactions, bindings, deliveries) does not.
"""

from keepstep.fragment.schema import table_name

__all__ = ["table_name"]
