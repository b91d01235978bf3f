"""The workflow loop: runs a body deterministically and replays its resolutions. Does no I/O, decides nothing."""
