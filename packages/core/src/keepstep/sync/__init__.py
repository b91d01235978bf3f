"""The verbs for sync hosts: plain functions for Flask, Django, scripts, and for a host's own sync transaction (G1).

No verb is written here: the faces give the client's verbs a signature without ``await``, the ports run them.
"""
