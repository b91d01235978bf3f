"""Dispatchers for processes of your own: they wake runners inside a process that stays up."""

from keepstep_node.polling import PollingDispatcher

__all__ = ["PollingDispatcher"]
