"""The bench: workloads of the public API beside the disk's limit and beside other engines. `make bench` runs it."""
