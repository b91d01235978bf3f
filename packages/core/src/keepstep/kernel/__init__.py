"""Decisions: pure functions from what was read and what happened to a plan. No I/O, no clock, no randomness."""
