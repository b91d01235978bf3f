"""Beginnings: what create, batches and restart_or_create make, and how instances are found (E2, E6)."""

import pytest

from keepstep import InstanceAlreadyExistsError, InstanceNotFoundError, Status
from keepstep.errors import InstanceStateError
from keepstep_testing.conformance.engines.story import Story


class Beginnings:
    """Instances begin once, and are found."""

    async def test_a_workflow_runs_to_its_result(self, story: Story) -> None:
        """Steps run one after the other, each once; the result is what the body returns (A1, C2)."""
        instance = await story.create("STRAIGHT")
        assert await story.output(instance) == ["ONE", "TWO", "THREE"]
        assert story.calls == ["one", "two", "three"]
        steps = (await instance.history()).steps
        assert [each.key for each in steps] == ["do:one", "do:two", "do:one#2"]

    async def test_an_id_is_used_once(self, story: Story) -> None:
        """A second create is refused, or gives the instance that is there, also when it has ended (E2)."""
        binding = story.app.workflows["STRAIGHT"]
        for _ in range(2):
            await binding.create(id="same", if_exists="return")
            with pytest.raises(InstanceAlreadyExistsError):
                await binding.create(id="same")
            await story.output(await binding.get("same"))
        assert story.calls == ["one", "two", "three"]

    async def test_a_batch_leaves_out_what_exists(self, story: Story) -> None:
        """Existing and repeated ids are skipped; the others run (E2)."""
        binding = story.app.workflows["STRAIGHT"]
        await binding.create(id="a")
        created = await binding.create_batch([{"id": each} for each in ("a", "b", "c", "b")])
        assert sorted(each.id for each in created) == ["b", "c"]
        for each in created:
            await story.output(each)

    async def test_what_does_not_exist_is_not_found(self, story: Story) -> None:
        """Nothing but create makes an instance (E2, D7)."""
        with pytest.raises(InstanceNotFoundError):
            await story.app.workflows["WAITING"].get("nobody")

    async def test_restart_or_create_begins_what_is_not_running(self, story: Story) -> None:
        """A new instance, then its next run when it has ended, and a refusal while it lives (E6)."""
        binding = story.app.workflows["SLEEPING"]
        instance = await binding.restart_or_create("job")
        await story.waits(instance, "sleep:rest")
        with pytest.raises(InstanceStateError):
            await binding.restart_or_create("job")
        await instance.terminate()
        await binding.restart_or_create("job")
        assert (await instance.details()).run_number == 2

    async def test_a_listing_shows_each_instance_once(self, story: Story) -> None:
        """Pages neither skip nor repeat instances of one instant; a status selects (defect 15)."""
        binding = story.app.workflows["WAITING"]
        names = {f"i-{n}" for n in range(7)}
        for name in sorted(names):
            await story.waits(await binding.create(id=name), "wait:one")
        seen: list[str] = []
        cursor = None
        while True:
            page = await binding.list(limit=3, cursor=cursor)
            seen += [each.id for each in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        assert (len(seen), set(seen)) == (7, names)
        assert (await binding.list(status=Status.COMPLETE)).items == ()
