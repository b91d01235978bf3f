"""What every dispatcher keeps, for the three that keepstep has and for yours: subclass the suites, provide the dispatcher.

:class:`DispatcherSuite` is about when it has things looked at, in virtual time; :class:`DispatchedAppSuite` is about apps
on it, in real time and on real databases.
"""

from keepstep_testing.conformance.dispatchers.agenda import Agenda
from keepstep_testing.conformance.dispatchers.apps import DispatchedAppSuite
from keepstep_testing.conformance.dispatchers.timing import DispatcherSuite
from keepstep_testing.conformance.dispatchers.virtual import Time

__all__ = ["Agenda", "DispatchedAppSuite", "DispatcherSuite", "Time"]
