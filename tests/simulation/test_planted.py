"""Each guard of the product is taken away in turn, and the simulation has to notice within some schedules.

A guard that nobody would miss is one that can go; a simulation that misses none proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from neptune.api import Dataset
from neptune.controllers.dataset import upstream
from neptune.controllers.dataset.downstream import Downstream
from neptune.controllers.dataset.upstream import Upstream
from neptune.controllers.reports import Report, settle
from neptune.controllers.tasks import FederatedTasks, reconciler, setup
from neptune.controllers.tasks.reconciler import TaskReconciler
from neptune.edge.agent import Agent
from neptune.edge.store import Saved
from neptune.edge.tasks.ledger import Ledger
from neptune.protocol import messages
from neptune.protocol.cloud import CloudLink
from neptune.protocol.desired import Assembly, DesiredState
from neptune.protocol.node import NodeLink
from neptune.protocol.presence import PresenceTable
from neptune.protocol.status import Outbox
from neptune.runtime.watch import WatchCore
from neptune.testing.simulation import simulate
from neptune.testing.simulation.profiles import (
    ANY,
    CLOUDS,
    CRASHES,
    DISORDER,
    LINKS,
    MANY,
    OWNERS,
    PARTS,
    SERVERS,
    TASKS,
    Profile,
)

#: Schedules within which a missing guard has to show. Under its profile one in a dozen or more shows it, wherever the
#: draws fall: a hundred that all miss it are no bad luck.
ENOUGH = 100

Planted = AbstractContextManager[object]


def the_verdict_goes_out_before_the_write() -> Planted:
    write = Upstream._write

    async def early(self: Upstream, ctx: Any, dataset: Dataset, report: Any) -> tuple[int, str]:
        if taken := self.mailbox.peek(dataset.key):
            settle(self._link, taken, messages.OK)
        return await write(self, ctx, dataset, report)

    return patch.object(Upstream, "_write", early)


def a_push_of_any_epoch_is_taken() -> Planted:
    update, received = DesiredState.update, NodeLink.received

    def blind(self: DesiredState, header: Any, message: Any) -> Any:
        epoch = header.cloud_epoch if self.epoch is None else self.epoch
        return update(self, replace(header, cloud_epoch=epoch), message)

    def obedient(self: NodeLink, message: Any, now: float, timestamp: int) -> Any:
        self.cloud_epoch = 0
        return received(self, message, now, timestamp)

    return _both(patch.object(DesiredState, "update", blind), patch.object(NodeLink, "received", obedient))


def a_part_of_an_answer_is_taken_for_all() -> Planted:
    return patch.object(Assembly, "add", lambda _self, _header, part: [part])


def a_mass_is_forgotten_and_a_cloud_that_knows_nothing_answers() -> Planted:
    never = property(lambda _self: True, lambda _self, _value: None)
    return _both(
        patch.object(CloudLink, "is_ready", never),
        patch("neptune.protocol.desired.MASS_DELETE", 10**6),
    )


def a_report_of_another_generation_is_written() -> Planted:
    return _without_objection(messages.CONFLICT)


def a_report_for_the_object_of_another_node_is_written() -> Planted:
    return _without_objection(messages.FORBIDDEN)


def statuses_do_not_survive_a_crash() -> Planted:
    make = Agent._make_link
    return patch.object(
        Agent, "_make_link", lambda self, saved, epoch: make(self, Saved(saved.epoch, saved.objects, {}), epoch)
    )


def nothing_is_asked_after_a_reconnect() -> Planted:
    connected = NodeLink.connected

    def lazy(self: NodeLink, connection: int, now: float, timestamp: int) -> Any:
        if connection == 1:
            return connected(self, connection, now, timestamp)
        self.connection, self.live = connection, True
        return []

    return patch.object(NodeLink, "connected", lazy)


def an_older_push_undoes_a_newer_one() -> Planted:
    return patch.object(DesiredState, "_is_news", lambda _self, _uid, _seq: True)


def nothing_is_stored() -> Planted:
    async def forget(self: Agent, change: Any = None, results: Any = None) -> None:
        """Do nothing."""

    return patch.object(Agent, "_save", forget)


def the_former_owner_is_not_told() -> Planted:
    release = Downstream._release_former_owner

    def silent(self: Downstream, key: Any, dataset: Any) -> Any:
        sent = self._sent.get(key)
        if sent and (dataset is None or (sent.node, sent.uid) != (dataset.spec.node_name, dataset.metadata.uid)):
            del self._sent[key]
        return release(self, key, dataset)

    return patch.object(Downstream, "_release_former_owner", silent)


def an_older_report_undoes_a_newer_one() -> Planted:
    return patch.object(Report, "is_older", lambda _self, _other: False)


def a_report_is_sent_once() -> Planted:
    due = Outbox.due

    def once(self: Outbox, now: float) -> Any:
        reports = due(self, now)
        for each in reports:
            self._entries[each.uid].due = float("inf")
        return reports

    return _both(patch.object(Outbox, "due", once), patch.object(Outbox, "hurry", lambda _self: None))


def a_server_that_went_back_is_not_noticed() -> Planted:
    return patch.object(WatchCore, "is_at", lambda self, _version: setattr(self, "doubtful", False))


def an_answer_speaks_for_all_buckets() -> Planted:
    drop = DesiredState.drop_absent
    return patch.object(DesiredState, "drop_absent", lambda self, seq, listed, _buckets=None: drop(self, seq, listed))


def any_will_counts() -> Planted:
    gone = PresenceTable.gone
    return patch.object(
        PresenceTable, "gone", lambda self, node, _epoch, _connection, now: gone(self, node, 2**60, 99, now)
    )


def the_verdict_on_work_goes_out_before_the_write() -> Planted:
    write = TaskReconciler._write

    async def early(self: TaskReconciler, ctx: Any, task: Any, view: Any, reports: Any) -> int:
        for report in reports:
            settle(self._link, report, messages.OK)
        return await write(self, ctx, task, view, reports)

    return patch.object(TaskReconciler, "_write", early)


def a_report_of_work_is_removed_and_not_stored() -> Planted:
    async def keep(_self: Agent, _results: Any) -> bool:
        return True

    return patch.object(Agent, "_keep", keep)


def a_failed_task_changes_its_model() -> Planted:
    of_complete = FederatedTasks.outcome

    def outcome(self: FederatedTasks, task: Any) -> Any:
        if task.status.phase != "Failed":
            return of_complete(self, task)
        [*_, failed] = [row for row in task.status.participants if row.state == "Failed"]
        return {task.spec.model.name: failed.metrics}

    return patch.object(FederatedTasks, "outcome", outcome)


def a_model_is_written_after_its_task() -> Planted:
    async def write(self: TaskReconciler, ctx: Any, task: Any, view: Any, _reports: Any) -> int:
        self.kind.show(task, view, self._clock.now())
        await ctx.client.status.patch(task)
        await self._write_models(ctx, task)
        return messages.OK

    return patch.object(TaskReconciler, "_write", write)


def a_report_of_an_older_generation_of_work_is_taken() -> Planted:
    objection = reconciler.objection

    def mild(placed: Any, report: Report) -> tuple[int, str]:
        found = objection(placed, report)
        return (messages.OK, "") if found[0] == messages.CONFLICT else found

    return _both(patch.object(reconciler, "objection", mild), patch.object(setup, "objection", mild))


def an_agent_takes_its_own_word_for_newer_than_the_last_of_a_worker() -> Planted:
    return patch.object(Ledger, "say", Ledger._put)


def _without_objection(code: int) -> Planted:
    objection = upstream._objection

    def mild(report: Report, dataset: Dataset | None) -> tuple[int, str]:
        found = objection(report, dataset)
        return (messages.OK, "") if found[0] == code else found

    return patch.object(upstream, "_objection", mild)


class _both:  # a word of the little language above
    def __init__(self, *planted: Any) -> None:
        self._planted = planted

    def __enter__(self) -> None:
        for each in self._planted:
            each.__enter__()

    def __exit__(self, *exc: object) -> None:
        for each in self._planted:
            each.__exit__(*exc)


@pytest.mark.parametrize(
    ("plant", "profile"),
    [
        (the_verdict_goes_out_before_the_write, ANY),
        (a_push_of_any_epoch_is_taken, CLOUDS),
        (a_part_of_an_answer_is_taken_for_all, PARTS),
        (a_mass_is_forgotten_and_a_cloud_that_knows_nothing_answers, CRASHES),
        (a_report_of_another_generation_is_written, DISORDER),
        (a_report_for_the_object_of_another_node_is_written, OWNERS),
        (statuses_do_not_survive_a_crash, CRASHES),
        (nothing_is_asked_after_a_reconnect, LINKS),
        (an_older_push_undoes_a_newer_one, DISORDER),
        (nothing_is_stored, ANY),
        (the_former_owner_is_not_told, OWNERS),
        (an_older_report_undoes_a_newer_one, DISORDER),
        (a_report_is_sent_once, PARTS),
        (a_server_that_went_back_is_not_noticed, SERVERS),
        (an_answer_speaks_for_all_buckets, MANY),
        (any_will_counts, ANY),
        (the_verdict_on_work_goes_out_before_the_write, TASKS),
        (a_report_of_work_is_removed_and_not_stored, TASKS),
        (a_failed_task_changes_its_model, TASKS),
        (a_model_is_written_after_its_task, TASKS),
        (a_report_of_an_older_generation_of_work_is_taken, TASKS),
        (an_agent_takes_its_own_word_for_newer_than_the_last_of_a_worker, TASKS),
    ],
    ids=lambda value: value.name if isinstance(value, Profile) else value.__name__,
)
def test_a_missing_guard_shows(plant: Callable[[], Planted], profile: Profile) -> None:
    with plant():
        assert any(simulate(seed, profile).failures for seed in range(ENOUGH)), "nobody noticed"
