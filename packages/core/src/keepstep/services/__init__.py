"""Use cases as transaction scripts (G1): given a transaction, they check, read, decide by the kernel, write, answer.

They know rows, plans and views. Bindings, handles, decoding to a user's types and wake-ups live above.
"""
