"""What a node holds of credentials: for how long, and who hears of it."""

from __future__ import annotations

import asyncio

import pytest

from neptune.edge import keyring
from neptune.edge.keyring import REFRESH_SECONDS, Keyring, Keys
from neptune.edge.problems import Problem, Reason
from neptune.protocol import messages
from neptune.protocol.credentials import CredentialsTold
from tests.controllers.nodes import Still

OLD, NEW = {"token": "old"}, {"token": "new"}


class Ring(Keyring):
    """A keyring on a clock that stands; `asked` and `woken` are the uids that it called with."""

    def __init__(self) -> None:
        self.clock = Still()
        self.asked: list[str] = []
        self.woken: list[str] = []
        super().__init__(self.clock, self.asked.append, self.woken.append)

    def told(self, values: dict[str, str] | None = None, code: int = messages.OK) -> None:
        self.take(CredentialsTold("u1", "e", code, "" if values else "why not", values or {}))

    async def waited_for(self) -> asyncio.Task[Keys | Problem]:
        """Return a task that waits for the cloud."""
        waiter = asyncio.create_task(self.fetch("u1"))
        await asyncio.sleep(0)
        assert not waiter.done()
        return waiter


async def given(values: dict[str, str]) -> Ring:
    ring = Ring()
    waiter = await ring.waited_for()
    ring.told(values)
    assert await waiter == Keys(values, is_fresh=True)
    return ring


async def test_they_are_asked_for_when_they_are_needed_and_held_then() -> None:
    ring = await given(OLD)
    assert ring.held("u1") == Keys(OLD, is_fresh=False)
    assert (ring.asked, ring.woken) == (["u1"], [])


async def test_old_ones_are_used_while_the_cloud_is_asked_about_them() -> None:
    ring = await given(OLD)
    ring.clock.ahead += REFRESH_SECONDS
    assert ring.held("u1") == Keys(OLD, is_fresh=False)
    assert ring.asked == ["u1", "u1"]
    ring.told(NEW)
    assert ring.held("u1") == Keys(NEW, is_fresh=False)
    assert (ring.asked, ring.woken) == (["u1", "u1"], [])


async def test_a_refusal_ends_the_use_of_old_ones_and_wakes_their_dataset() -> None:
    ring = await given(OLD)
    ring.told(code=messages.NOT_FOUND)
    assert ring.woken == ["u1"]
    waiter = await ring.waited_for()
    ring.told(code=messages.NOT_FOUND)
    assert await waiter == Problem(Reason.CREDENTIALS_NOT_FOUND, "why not")


async def test_what_is_fetched_is_what_the_cloud_has_now_whatever_is_held() -> None:
    ring = await given(OLD)
    waiter = await ring.waited_for()
    ring.told(NEW)
    assert await waiter == Keys(NEW, is_fresh=True)


async def test_what_comes_after_all_patience_wakes_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "PATIENCE_SECONDS", 0.01)
    ring = Ring()
    found = await ring.fetch("u1")
    assert isinstance(found, Problem)
    assert found.reason is Reason.CREDENTIALS_UNAVAILABLE
    ring.told(NEW)
    assert ring.woken == ["u1"]
    assert ring.held("u1") == Keys(NEW, is_fresh=False)


async def test_nothing_is_held_of_a_dataset_that_is_gone_and_nobody_waits_for_it() -> None:
    ring = await given(OLD)
    waiter = await ring.waited_for()
    ring.forget("u1")
    assert isinstance(await waiter, Problem)
    assert ring.held("u1") is None


async def test_a_repr_shows_no_value() -> None:
    ring = await given(OLD)
    assert "old" not in repr([ring._held, ring.held("u1")])
