"""I/O: the runner, claims, group commit, leases, step execution, optimistic ticks. Decides nothing itself."""
