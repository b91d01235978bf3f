"""Faults on real processes and real databases, and the check of what they left behind. `make soak MINUTES=n` runs it."""
