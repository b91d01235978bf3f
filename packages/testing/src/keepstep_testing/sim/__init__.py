"""The simulation: one seed, one thread, virtual time, the real engine on a real SQLite database (simulation.md)."""
