"""Mutants: faults put into the real engine, one at a time, to see that the simulation and the tests find each."""
