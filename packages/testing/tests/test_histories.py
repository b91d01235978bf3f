"""The deploy gate: what was recorded, replayed with other code (A2, E10)."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from keepstep import App, NonRetryableError, workflow
from keepstep.errors import UsageError
from keepstep_testing.histories import export_histories, read_histories, replay_histories
from tests.support.lines import line_of


async def charge(order) -> str:
    """A step."""
    return f"charged {order}"


async def ship(order) -> str:
    """Another one."""
    return f"shipped {order}"


async def refuse(order) -> str:
    """One that fails for good."""
    raise NonRetryableError(f"no {order}")


def order(body):
    """A workflow of one name, whatever its body."""
    return workflow(name="order")(body)


@order
async def recorded(event, step):
    """The code that ran: charges, rests, ships, waits for a word."""
    await step.do("charge", charge, event.payload)
    if event.payload == "bad":
        await step.do("refuse", refuse, event.payload)
    await step.sleep("rest", "1h") if event.payload == "slow" else None
    await step.do("ship", ship, event.payload)
    if event.payload == "word":
        await step.wait_for_event("word", "word", timeout="1 day")
    return "done"


@order
async def swapped(event, step):
    """Ships before it charges."""
    await step.do("ship", ship, event.payload)
    await step.do("charge", charge, event.payload)  # too late
    return "done"


@order
async def renamed(event, step):
    """Bills instead of charging."""
    await step.do("bill", charge, event.payload)  # bills
    await step.do("ship", ship, event.payload)
    return "done"


@order
async def shorter(event, step):
    """Charges no more."""
    await step.do("ship", ship, event.payload)
    return "done"


@order
async def longer(event, step):
    """Thanks at the end."""
    await step.do("charge", charge, event.payload)
    await step.do("ship", ship, event.payload)
    await step.do("thank", ship, event.payload)  # thanks
    return "done"


@order
async def other_kind(event, step):
    """Charges in a transaction."""
    await step.transaction("charge", charge)  # in a transaction
    return "done"


@order
async def raising(event, step):
    """Reads what is not there."""
    text = await step.do("charge", charge, event.payload)
    await step.do("ship", ship, event.payload)
    return {}[text]  # is not there


@order
async def forgiving(event, step):
    """Does not mind a refusal."""
    await step.do("charge", charge, event.payload)
    try:
        await step.do("refuse", refuse, event.payload)
    except Exception:  # noqa: BLE001
        return "done"


@order
async def other_result(event, step):
    """Returns something else."""
    await step.do("charge", charge, event.payload)
    await step.do("ship", ship, event.payload)
    return "finished"


@asynccontextmanager
async def recording(url, path):
    """Runs the recorded code on params, each until it waits or ends, and exports what it has recorded."""
    app = App(url, workflows={"ORDER": recorded}, dispatcher=None)
    await app.migrate()

    async def exported(*params, **options):
        for each in params:
            await app.workflows.ORDER.create(id=f"o-{each}", params=each)
        await app.run_until_idle()
        assert await export_histories(app, path, **options) == len(params)
        return path

    exported.app = app
    yield exported
    await app.stop()


@pytest.fixture
async def export(database_url, tmp_path):
    """On each database."""
    async with recording(database_url, tmp_path / "histories.jsonl") as exported:
        yield exported


@pytest.fixture
async def record(tmp_path):
    """On one: what a replay finds does not depend on where the history was."""
    async with recording(f"sqlite:///{tmp_path}/keepstep.db", tmp_path / "histories.jsonl") as exported:
        yield exported


def replayed(path, code):
    """The one verdict of a file with one history."""
    (verdict,) = replay_histories(path, {"ORDER": code}).verdicts
    return verdict


async def test_the_code_that_recorded_fits(export):
    """Finished, sleeping, waiting and errored histories fit the code that made them, without a word (A2)."""
    path = await export("plain", "slow", "word", "bad")
    report = replay_histories(path, export.app)
    assert report.fits
    assert {each.history.run.status for each in report.verdicts} == {"complete", "waiting", "errored"}
    assert str(report) == "4 replayed, 0 do not fit, 0 with warnings"


async def test_what_operators_did_to_a_run_changes_nothing(export):
    """Paused, cancelled and terminated runs are replayed like any other (E3, E5)."""
    path = await export("word", "slow")
    words, slow = [await export.app.workflows.ORDER.get(f"o-{each}") for each in ("word", "slow")]
    for verb, status in (
        (words.pause, "paused"),
        (words.cancel, "cancelled"),
        (slow.terminate, "terminated"),
    ):
        await verb()
        await export.app.run_until_idle()
        await export_histories(export.app, path)
        report = replay_histories(path, export.app)
        assert report.fits, report
        assert status in {each.history.run.status for each in report.verdicts}


async def test_steps_that_changed_places_do_not_fit(record):
    """E10: the difference tells what the history has, what the code asked for, and at which line."""
    verdict = replayed(await record("plain"), swapped)
    assert not verdict.fits
    assert verdict.asked == ("do:ship", "do:charge")
    assert (verdict.place.file, verdict.place.line) == (__file__, line_of(__file__, "# too late"))
    told = str(verdict).splitlines()
    assert told[0] == "order 'o-plain', run 1 (complete): DOES NOT FIT"
    assert "'do:charge' is recorded as resolution 1 (completed)" in told[1]
    assert told[2] == "  the history has: do:charge (completed), do:ship (completed)"
    assert told[3] == "  the code asked for: do:ship, do:charge"
    assert told[4].endswith(f"test_histories.py:{line_of(__file__, '# too late')}, in swapped")
    assert told[5] == '    await step.do("charge", charge, event.payload)  # too late'


@pytest.mark.parametrize("params", ["plain", "slow", "word", "bad"])
async def test_a_renamed_step_does_not_fit(record, params):
    """The engine would do it again: the gate says so, whatever became of the run."""
    verdict = replayed(await record(params), renamed)
    assert not verdict.fits
    assert (
        "asks for 'do:bill', which the history does not have, and not for 'do:charge'" in verdict.difference
    )
    assert verdict.place.line == line_of(__file__, "# bills")


async def test_a_dropped_step_is_a_warning(record):
    """E10: what the code no longer asks for is reported and stops nothing."""
    verdict = replayed(await record("plain"), shorter)
    assert verdict.fits
    assert verdict.warnings == ("'do:charge', recorded (completed), is no longer asked for by the code",)


async def test_a_step_of_another_kind_does_not_fit(record):
    """E10: a transaction in the place of a step cannot take its result."""
    verdict = replayed(await record("plain"), other_kind)
    assert not verdict.fits
    assert "asks for 'transaction:charge' in its place" in verdict.difference
    assert verdict.place.line == line_of(__file__, "# in a transaction")


async def test_a_body_that_raises_does_not_fit(record):
    """A run that lived on would be errored by the deploy: the line that raises is named (C5)."""
    for params in ("plain", "word"):
        path = await record(params, limit=1)
        verdict = replay_histories(path, {"ORDER": raising}).verdicts[0]
        assert not verdict.fits
        assert verdict.difference.startswith("the body raises KeyError: 'charged ")
        assert verdict.place.line == line_of(__file__, "# is not there")


async def test_a_body_that_goes_on_is_a_warning(record):
    """A step more at the end fits every run that has not come so far; the line is named."""
    verdict = replayed(await record("plain"), longer)
    assert verdict.fits
    (warning,) = verdict.warnings
    assert warning.startswith("the recorded run is complete; the code goes on and waits for 'do:thank', at ")
    assert f":{line_of(__file__, '# thanks')}, in longer" in warning


async def test_ends_that_differ_are_warnings(record):
    """Another result, and a body that copes with what errored the recorded run."""
    verdict = replayed(await record("plain"), other_result)
    assert (verdict.fits, verdict.warnings) == (
        True,
        ('the body returns "finished", the recorded run "done"',),
    )


async def test_a_mended_body_fits_the_run_that_errored(record):
    """The deploy is there to mend it: a warning tells that it ends otherwise."""
    verdict = replayed(await record("bad"), forgiving)
    assert verdict.fits
    assert verdict.warnings == ("the body completes, where the recorded run is errored",)


async def test_a_workflow_that_is_gone_does_not_fit(record):
    """Its runs would stay unclaimed for ever (B2)."""

    @workflow(name="another")
    async def another(event, step): ...

    verdict = replayed(await record("plain"), another)
    assert verdict.difference == "the code has no workflow of the name 'order'; it has another"


async def test_payloads_are_redacted(export):
    """Params, results, events and errors go through the callable; the shape stays, so the history still fits (E10)."""
    app, seen = export.app, set()
    path = await export("plain", "bad", "word")
    await (await app.workflows.ORDER.get("o-word")).send_event("word", {"secret": 1})
    await app.run_until_idle()

    def redact(payload):
        seen.add((payload.what, payload.key))
        return payload.value if payload.what == "params" else "***"

    await export_histories(app, path, redact=redact)
    assert seen == {
        ("params", None),
        ("output", None),
        ("error", None),
        ("error", "do:refuse"),
        ("result", "do:charge"),
        ("result", "do:ship"),
        ("event", "wait:word"),
    }
    text = path.read_text()
    assert not [each for each in ("secret", "charged", "no bad", "done") if each in text]
    assert replay_histories(path, app).fits


async def test_a_file_is_written_as_a_whole_or_not_at_all(record, tmp_path):
    """A callable that gives what JSON cannot hold leaves the file that was there."""
    path = await record("plain")
    before = path.read_text()
    with pytest.raises(UsageError, match="redact must give JSON data for params of the run"):
        await export_histories(record.app, path, redact=lambda _: timedelta(1))
    assert path.read_text() == before
    assert [each.name for each in tmp_path.iterdir() if "part" in each.name] == []


async def test_an_export_follows_every_page(export, database_url):
    """Newest first, at most ``limit`` of each workflow, from an app, a URL or an open store."""
    path = await export(*(f"p{n}" for n in range(130)))
    assert len(list(read_histories(path))) == 130
    assert await export_histories(database_url, path, limit=120) == 120
    assert [each.run.instance_id for each in read_histories(path)][:2] == ["o-p129", "o-p128"]
    assert await export_histories(export.app._engine.store, path, "order", limit=1) == 1
    assert await export_histories(database_url, path, "unknown") == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no file of histories: its first line must be"),
        ('{"keepstep_histories": 2}', "has format 2, this code reads 1"),
        ('{"keepstep_histories": 1}\nnothing', "line 2: not a JSON object"),
        ('{"keepstep_histories": 1}\n{"workflow": "x"}', "'instance_id' is missing"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, text, told):
    """The file, the line and what is wrong with it."""
    path = tmp_path / "histories.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        replay_histories(path, {"ORDER": recorded})


def test_a_missing_database_is_no_new_one(tmp_path):
    """An export creates no database."""
    with pytest.raises(UsageError, match="there is no SQLite database"):
        asyncio.run(export_histories(f"sqlite:///{tmp_path}/no.db", tmp_path / "h.jsonl"))
    assert list(tmp_path.iterdir()) == []


async def test_what_a_line_holds(record):
    """The format that the how-to shows: payloads as JSON, what is NULL left out."""
    path = await record("word")
    head, line = path.read_text().splitlines()
    assert json.loads(head) == {"keepstep_histories": 1}
    found = json.loads(line)
    steps = found.pop("steps")
    assert {key: found[key] for key in ("workflow", "instance_id", "run_number", "status", "params")} == {
        "workflow": "order",
        "instance_id": "o-word",
        "run_number": 1,
        "status": "waiting",
        "params": "word",
    }
    assert [(each["key"], each.get("seq"), each.get("result")) for each in steps] == [
        ("do:charge", 1, "charged word"),
        ("do:ship", 2, "shipped word"),
        ("wait:word", None, None),
    ]
