"""The workflow loop: asyncio works on it, the outside does not, and the host does not notice."""

import asyncio
import contextvars
import logging
import os
import signal
import socket
import sys
import threading
from asyncio.events import _get_running_loop as running_loop
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from keepstep.authoring.definition import WorkflowDefinition, workflow
from keepstep.authoring.events import WorkflowEvent
from keepstep.authoring.step import WorkflowStep
from keepstep.errors import NondeterminismError
from keepstep.loop.eventloop import CALLBACKS_MAX, WorkflowLoop
from keepstep.model.commands import Raised, Returned
from tests.support.bodies import STARTED, Drive

Event = WorkflowEvent[Any]


async def plain(*args: Any) -> Any:
    """A step's callback; the loop never calls it."""


def body() -> Callable[[Callable[..., Any]], WorkflowDefinition[Any, Any]]:
    """``@workflow`` with a name."""
    return workflow(name="probe")


def result_of(run: Callable[..., Awaitable[Any]]) -> Any:
    """The outcome of a body that needs no resolution."""
    outcome = Drive(workflow(name="probe")(run)).outcome  # type: ignore[arg-type]
    return outcome.output if isinstance(outcome, Returned) else outcome


# asyncio on the loop


def test_primitives_work() -> None:
    """A1: Event, Lock, Semaphore, Condition, Queue and Barrier work between a body's tasks."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[Any]:
        said: list[Any] = []
        ready, lock, slots = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(2)
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        barrier, condition = asyncio.Barrier(2), asyncio.Condition()

        async def producer() -> None:
            for n in range(3):
                await queue.put(n)
            await barrier.wait()

        async def worker(name: str) -> None:
            await ready.wait()
            async with slots, lock:
                said.append(name)
                await step.do(name, plain)
            async with condition:
                condition.notify_all()

        async with asyncio.TaskGroup() as group:
            group.create_task(producer())
            for name in "abc":
                group.create_task(worker(name))
            said.append([await queue.get() for _ in range(3)])
            await barrier.wait()
            ready.set()
            async with condition:
                await condition.wait_for(lambda: "c" in said)
        return said

    drive = Drive(probe)
    for name in "abc":
        assert drive.open == [f"do:{name}"]
        drive.finish(f"do:{name}")
    assert drive.outcome == Returned('[[0,1,2],"a","b","c"]')
    assert drive.again().outcome == drive.outcome


def test_sets_of_tasks_have_one_order() -> None:
    """A2: what asyncio keeps in sets is walked in the same order in every replay, so keys stay the same."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[str]:
        order: list[str] = []

        async def branch(name: str) -> None:
            try:
                await step.do(name, plain)
            except asyncio.CancelledError:
                order.append(name)
                raise

        tasks = {asyncio.create_task(branch(str(n)), name=str(n)) for n in range(40)}
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        futures = {asyncio.get_running_loop().create_future() for _ in range(40)}
        order += [str(hash(future) % 97) for future in futures]
        await asyncio.gather(*pending, return_exceptions=True)
        return order

    def once() -> Any:
        padding = [object() for _ in range(os.getpid() % 7 + len(kept))]  # other addresses each time
        kept.append(padding)
        drive = Drive(probe)
        drive.finish("do:7")
        return drive.outcome

    kept: list[Any] = []
    assert len({str(once()) for _ in range(5)}) == 1


def test_task_names_and_current_task() -> None:
    """A1: tasks are named alike in every replay, and a body sees its own."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[str]:
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        assert main is not None
        assert main.get_loop() is loop
        task = asyncio.create_task(asyncio.sleep(0))
        assert asyncio.all_tasks() == {main, task}
        await task
        assert loop.is_running()
        assert not loop.is_closed()
        assert not loop.get_debug()
        return [main.get_name(), task.get_name()]

    assert Drive(probe).outcome == Returned('["i-1","task-2"]')


def test_as_completed_takes_tasks_and_refuses_coroutines() -> None:
    """A2: as_completed starts coroutines in the order of their addresses, so it must be given tasks."""

    @body()
    async def good(event: Event, step: WorkflowStep) -> list[int]:
        tasks = [asyncio.create_task(step.do("x", plain)) for _ in range(3)]
        return [await each for each in asyncio.as_completed(tasks)]

    @body()
    async def bad(event: Event, step: WorkflowStep) -> None:
        for each in asyncio.as_completed([step.do("x", plain) for _ in range(3)]):
            await each

    drive = Drive(good)
    assert drive.open == ["do:x", "do:x#2", "do:x#3"]
    for n, key in enumerate(["do:x#2", "do:x#3", "do:x"]):
        drive.finish(key, n)
    assert drive.outcome == Returned("[0,1,2]")
    outcome = Drive(bad).outcome
    assert isinstance(outcome, Raised)
    assert outcome.error.code == "NONDETERMINISM"
    assert "asyncio.create_task(c)" in outcome.error.message


def test_calls_run_in_order_with_their_context() -> None:
    """A1: call_soon is first in, first out; a handle can be cancelled; a call keeps its context."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def probe(event: Event, step: WorkflowStep) -> list[str]:
        said: list[str] = []
        loop = asyncio.get_running_loop()
        variable.set("set")
        loop.call_soon(lambda: said.append(variable.get()))
        loop.call_soon(lambda: said.append(variable.get()), context=contextvars.Context())
        loop.call_soon_threadsafe(said.append, "threadsafe")
        loop.call_soon(said.append, "never").cancel()
        loop.call_at(loop.time() - 5, said.append, "past")
        late = loop.call_later(5, said.append, "late")
        assert (late.when(), late.cancelled()) == (loop.time() + 5, False)
        late.cancel()
        assert late.cancelled()
        loop.call_later(float("inf"), said.append, "never")
        await asyncio.sleep(0)
        return said

    assert result_of(probe) == '["set","none","threadsafe","past"]'


def test_body_has_a_context_of_its_own() -> None:
    """A3: variables of whoever advances the body are not visible in it, nor its own outside."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def probe(event: Event, step: WorkflowStep) -> str:
        found = variable.get()
        variable.set("body")
        return found

    variable.set("host")
    assert result_of(probe) == '"none"'
    assert variable.get() == "host"


def test_dropped_generator_is_closed_on_the_loop() -> None:
    """A1: an async generator that a body leaves half-way is closed on the workflow loop, its steps included."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                await step.do("closed", plain)

        async for _ in numbers():
            break
        await step.do("a", plain)
        await asyncio.get_running_loop().shutdown_asyncgens()
        await asyncio.get_running_loop().shutdown_default_executor()

    drive = Drive(probe)
    assert sorted(drive.open) == ["do:a", "do:closed"]
    drive.finish("do:closed")
    drive.finish("do:a")
    assert drive.outcome == Returned("null")


# What is refused

REFUSED: dict[str, Callable[[asyncio.AbstractEventLoop], Any]] = {
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "to_thread": lambda loop: asyncio.to_thread(print),
    "create_connection": lambda loop: loop.create_connection(asyncio.Protocol, "localhost", 80),
    "open_connection": lambda loop: asyncio.open_connection("localhost", 80),
    "start_server": lambda loop: asyncio.start_server(print, "localhost", 80),
    "open_unix_connection": lambda loop: asyncio.open_unix_connection("/x"),
    "getaddrinfo": lambda loop: loop.getaddrinfo("localhost", 80),
    "getnameinfo": lambda loop: loop.getnameinfo(("127.0.0.1", 80)),
    "create_datagram_endpoint": lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol),
    "create_subprocess_exec": lambda loop: asyncio.create_subprocess_exec("true"),
    "create_subprocess_shell": lambda loop: asyncio.create_subprocess_shell("true"),
    "connect_read_pipe": lambda loop: loop.connect_read_pipe(asyncio.Protocol, sys.stdin),
    "sock_recv": lambda loop: loop.sock_recv(socket.socket.__new__(socket.socket), 1),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "remove_writer": lambda loop: loop.remove_writer(0),
    "add_signal_handler": lambda loop: loop.add_signal_handler(signal.SIGTERM, print),
    "set_default_executor": lambda loop: loop.set_default_executor(None),  # type: ignore[arg-type]
    "set_task_factory": lambda loop: loop.set_task_factory(lambda *_: None),  # type: ignore[arg-type, return-value]
    "run_forever": lambda loop: loop.run_forever(),
    "run_until_complete": lambda loop: loop.run_until_complete(asyncio.Future(loop=loop)),
    "stop": lambda loop: loop.stop(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_outside_is_refused_by_name(name: str) -> None:
    """A3: what reaches outside raises at the call and says what to wrap in step.do."""

    async def probe(event: Event, step: WorkflowStep) -> str:
        with pytest.raises(NondeterminismError, match=r"\(loop\.\w+\): a replay.*step\.do\("):
            await REFUSED[name](asyncio.get_running_loop())
        return "refused"

    assert result_of(probe) == '"refused"'


def test_every_method_of_the_interface_is_decided() -> None:
    """A3: no method of asyncio's loop interface is left to the base's NotImplementedError."""
    undecided = {
        name
        for name, method in vars(asyncio.AbstractEventLoop).items()
        if callable(method) and not name.startswith("__") and getattr(WorkflowLoop, name) is method
    }
    assert undecided <= {"_timer_handle_cancelled"}


def test_outside_may_not_call_in() -> None:
    """A3: an object of the body that is used from outside it is refused there, where the mistake is."""
    kept: dict[str, Any] = {}

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        kept.update(loop=asyncio.get_running_loop(), event=asyncio.Event(), step=step)
        waiter = asyncio.create_task(kept["event"].wait())
        await step.do("a", plain)
        await waiter

    drive = Drive(probe)
    with pytest.raises(NondeterminismError, match="from outside the body"):
        kept["event"].set()
    with pytest.raises(NondeterminismError, match="create_task"):
        kept["loop"].create_task(plain())
    with pytest.raises(NondeterminismError, match="call_at"):
        kept["loop"].call_later(5, print)
    with pytest.raises(NondeterminismError, match=r"step\.do\('b'\) was called outside the workflow body"):
        kept["step"].do("b", plain)
    with pytest.raises(NondeterminismError, match="the sleep 's' was called outside"):
        kept["step"].sleep("s", "1h")
    caught: list[BaseException] = []

    def other_thread() -> None:
        try:
            kept["loop"].call_soon_threadsafe(print)
        except NondeterminismError as error:
            caught.append(error)

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert "another thread" in drive.body.warnings[0]
    drive.body.close()


def test_endless_body_is_stopped() -> None:
    """A2: a body that never waits for anything durable is stopped, and told so."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        await step.do("a", plain)
        while True:  # noqa: ASYNC110 - the mistake itself
            await asyncio.sleep(0)

    drive = Drive(probe)
    drive.finish("do:a")
    assert isinstance(drive.outcome, Raised)
    assert drive.outcome.error.code == "NONDETERMINISM"
    assert f"{CALLBACKS_MAX:,}" in drive.outcome.error.message
    assert drive.again().outcome == drive.outcome


def test_deadlocked_body_says_so() -> None:
    """E1: a body that waits for nothing that can come is visible, and can be cancelled."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        await asyncio.Event().wait()

    drive = Drive(probe)
    assert drive.open == []
    assert "waits for nothing" in drive.body.warnings[0]
    drive.cancel()
    assert drive.outcome is not None
    assert drive.body.warnings == []


def test_callback_errors_are_not_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    """A1: an error that no await raises is logged and becomes a warning of the instance, or goes to the body's handler."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[str]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        assert loop.get_exception_handler() is None
        loop.call_soon(int, "x")
        await asyncio.sleep(0)
        loop.set_exception_handler(lambda _, context: seen.append(context["message"]))
        loop.call_soon(int, "y")
        await asyncio.sleep(0)
        loop.set_exception_handler(lambda _, context: 1 / 0)
        loop.call_soon(int, "z")
        await asyncio.sleep(0)
        return seen

    with caplog.at_level(logging.ERROR, "keepstep.loop"):
        drive = Drive(probe)
    assert drive.outcome == Returned('["int raised in the workflow body"]')
    assert [warning.partition(":")[0] for warning in drive.body.warnings] == [
        "int raised in the workflow body",
        "the body's exception handler raised",
    ]
    assert len(caplog.records) == 2


def test_system_exit_of_a_body_does_not_end_the_runner() -> None:
    """C5: a body that exits has raised; the process goes on."""

    async def probe(event: Event, step: WorkflowStep) -> None:
        sys.exit(3)

    outcome = result_of(probe)
    assert isinstance(outcome, Raised)
    assert outcome.error.name == "SystemExit"


def test_interrupt_reaches_the_host() -> None:
    """A1: Ctrl-C during an activation is the host's; the body is dropped, not failed."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Drive(probe)
    assert running_loop() is None


# The host


@pytest.fixture(params=["asyncio", "debug"])
def host(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Runs an async function on a host's loop."""
    return lambda main: asyncio.run(main(), debug=request.param == "debug")


def test_activation_inside_a_host_task(host: Callable[..., Any]) -> None:
    """A1: a body is advanced inside a running task of the host, which finds everything as it was."""
    said: list[Any] = []

    @body()
    async def probe(event: Event, step: WorkflowStep) -> str:
        async def branch() -> asyncio.Task[Any] | None:
            await step.do("a", plain)
            return asyncio.current_task()

        async with asyncio.timeout(5):
            tasks = [asyncio.create_task(branch()), asyncio.create_task(branch())]
            found = await asyncio.gather(*tasks)
        assert found == tasks
        loop = asyncio.get_running_loop()
        said.append(loop)
        assert loop.time() == STARTED / 1000 + 2
        return "done"

    async def main() -> None:
        loop, task, hooks = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()
        drive = Drive(probe)
        for key in ("do:a", "do:a#2"):
            assert (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()) == (
                loop,
                task,
                hooks,
            )
            drive.finish(key)
        assert drive.outcome == Returned('"done"')
        drive.body.close()
        assert (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()) == (
            loop,
            task,
            hooks,
        )
        assert said[0] is not loop
        assert asyncio.all_tasks() == {task}
        await asyncio.sleep(0)  # the host's own task can be suspended and woken
        async with asyncio.timeout(5):
            await asyncio.create_task(asyncio.sleep(0))

    host(main)


def test_activation_restores_after_an_error() -> None:
    """A1: whatever an activation raises, the thread's state is put back."""

    def fail() -> None:
        raise ValueError("work failed")

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        with pytest.raises(ValueError, match="work failed"):
            WorkflowLoop().activate(fail)
        assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
        await asyncio.sleep(0)

    asyncio.run(main())


def test_body_of_a_body() -> None:
    """A1: a workflow loop can be activated while another one is: hosts nest."""

    async def inner(event: Event, step: WorkflowStep) -> str:
        return type(asyncio.get_running_loop()).__name__

    async def outer(event: Event, step: WorkflowStep) -> list[Any]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        found = result_of(inner)
        await asyncio.sleep(0)
        return [found, loop is asyncio.get_running_loop(), task is asyncio.current_task()]

    assert result_of(outer) == '["\\"WorkflowLoop\\"",true,true]'


def test_host_generators_stay_with_the_host() -> None:
    """A1: an async generator of the host that is half-way through stays on the host's loop."""
    closed: list[asyncio.AbstractEventLoop] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(asyncio.get_running_loop())

    async def probe(event: Event, step: WorkflowStep) -> None:
        kept.clear()  # its last reference goes while the body runs

    kept: list[Any] = []

    async def main() -> None:
        kept.append(numbers())
        await anext(kept[0])
        result_of(probe)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert closed == [asyncio.get_running_loop()]

    asyncio.run(main())
