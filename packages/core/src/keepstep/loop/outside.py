"""What a workflow body may not ask of its event loop: everything that reaches outside it (A3). Refusals only."""

from __future__ import annotations

import asyncio
from typing import Any

from keepstep.errors import NondeterminismError


def refused(name: str, what: str) -> NondeterminismError:
    """The error for ``loop.<name>``, which ``what`` describes; it says what to do instead."""
    return NondeterminismError(
        f"the workflow body {what} (loop.{name}): a replay could not repeat that. "
        "Move it into a function and call that with `await step.do('a name', fn)`"
    )


def _refuse(name: str, what: str) -> Any:
    def method(_self: object, *_args: object, **_kwargs: object) -> Any:
        raise refused(name, what)

    method.__name__ = method.__qualname__ = name
    return method


class Outside(asyncio.AbstractEventLoop):
    """The part of the loop's interface that is refused, each method at its call."""

    __slots__ = ()

    run_forever = _refuse("run_forever", "runs an event loop")
    run_until_complete = _refuse("run_until_complete", "runs an event loop")
    stop = _refuse("stop", "stops the event loop")

    run_in_executor = _refuse("run_in_executor", "uses a thread or process pool")
    set_default_executor = _refuse("set_default_executor", "sets a thread pool")

    getaddrinfo = _refuse("getaddrinfo", "looks up a host")
    getnameinfo = _refuse("getnameinfo", "looks up a host")
    create_connection = _refuse("create_connection", "opens a network connection")
    create_server = _refuse("create_server", "opens a network server")
    create_unix_connection = _refuse("create_unix_connection", "opens a socket")
    create_unix_server = _refuse("create_unix_server", "opens a socket")
    create_datagram_endpoint = _refuse("create_datagram_endpoint", "opens a socket")
    connect_accepted_socket = _refuse("connect_accepted_socket", "uses a socket")
    start_tls = _refuse("start_tls", "uses a network connection")
    sendfile = _refuse("sendfile", "sends a file")

    connect_read_pipe = _refuse("connect_read_pipe", "reads a pipe or file")
    connect_write_pipe = _refuse("connect_write_pipe", "writes a pipe or file")
    subprocess_exec = _refuse("subprocess_exec", "starts a process")
    subprocess_shell = _refuse("subprocess_shell", "starts a process")

    add_reader = _refuse("add_reader", "watches a file or socket")
    remove_reader = _refuse("remove_reader", "watches a file or socket")
    add_writer = _refuse("add_writer", "watches a file or socket")
    remove_writer = _refuse("remove_writer", "watches a file or socket")

    sock_recv = _refuse("sock_recv", "uses a socket")
    sock_recv_into = _refuse("sock_recv_into", "uses a socket")
    sock_recvfrom = _refuse("sock_recvfrom", "uses a socket")
    sock_recvfrom_into = _refuse("sock_recvfrom_into", "uses a socket")
    sock_sendall = _refuse("sock_sendall", "uses a socket")
    sock_sendto = _refuse("sock_sendto", "uses a socket")
    sock_sendfile = _refuse("sock_sendfile", "uses a socket")
    sock_connect = _refuse("sock_connect", "uses a socket")
    sock_accept = _refuse("sock_accept", "uses a socket")

    add_signal_handler = _refuse("add_signal_handler", "handles a signal")
    remove_signal_handler = _refuse("remove_signal_handler", "handles a signal")
