"""Which app a command means, and what is said to each way of getting it wrong."""

import sys

import pytest

from keepstep import App
from keepstep_node.locate import NoAppError, locate

MODULE = """
from keepstep import App, workflow, WorkflowEvent, WorkflowStep

@workflow(name="one")
async def one(event: WorkflowEvent[None], step: WorkflowStep) -> None: ...

def make(): return App("sqlite:///one.db", workflows={"ONE": one})
def make_nothing(): return None
def make_trouble(): raise LookupError("no such setting")

class Box: app = make()

app, number = Box.app, 7
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with modules, in which the command runs; nothing of it stays behind."""
    (tmp_path / "located.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "inner.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "target",
    ["located:app", "located:Box.app", "located:make()", "package.inner:app"],
)
def test_an_app_is_found_in_the_folder_that_the_command_runs_in(target):
    """A name, names with dots, or a function that makes it."""
    assert isinstance(locate(target), App)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("located", "names no app: give module:app"),
        ("located:", "names no app"),
        (":app", "names no app"),
        ("located:make(1)", r"names no app.* or module:make_app\(\)"),
        ("located:a b", "names no app"),
        ("nowhere:app", "there is no module 'nowhere'.* looked for in .* and among what is installed"),
        ("package.nowhere:app", r"there is no module 'package\.nowhere'"),
        ("located.py:app", "give a module's name, not a file's"),
        ("located:application", "the module located has no attribute 'application'"),
        ("located:Box.web", "the class Box has no attribute 'web'"),
        ("located:number", "is an object of type int, not a keepstep App; give module:app"),
        ("located:Box", "is the class Box, not a keepstep App"),
        ("located:make", r"is the function make, not a keepstep App; if it returns one: located:make\(\)"),
        ("located:make_nothing()", "is an object of type NoneType, not a keepstep App"),
        ("located:number()", r"number cannot be called, it is an object of type int; leave the \(\) off"),
    ],
)
def test_what_is_no_app_gets_an_answer(target, said):
    """What was given, what there is, and what to give."""
    with pytest.raises(NoAppError, match=said):
        locate(target)


def test_what_the_module_raises_is_shown_whole():
    """A mistake inside the app is not one of the command's argument."""
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        locate("broken:app")
    with pytest.raises(LookupError, match="no such setting"):
        locate("located:make_trouble()")
