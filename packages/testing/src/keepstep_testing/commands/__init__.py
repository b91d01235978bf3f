"""The commands of ``python -m keepstep_testing``: a module each, with ``NAME``, ``HELP``, ``add_arguments`` and ``run``."""
