"""What the status of a FederatedTask says, by the facts: the table, the ends, and that the same facts say the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from neptune.api import FederatedTask, crd_for, get_condition
from neptune.controllers.tasks.federated import FederatedTasks
from neptune.controllers.tasks.kind import Note, Part, View
from neptune.protocol.messages import WorkReport
from neptune.protocol.presence import NodeState

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
KIND = FederatedTasks()
OF_0 = Part("edge0", ("participant",), ("d0",), 100, NodeState.ONLINE)
OF_1 = Part("edge1", ("participant",), ("d1",), 300, NodeState.ONLINE)
SUM = Part("hub", ("aggregator",), (), None, NodeState.ONLINE)


def new(*, generation: int = 1, **spec: Any) -> FederatedTask:
    return FederatedTask.from_dict(
        {
            "metadata": {"namespace": "ns", "name": "digits", "uid": "u", "generation": generation},
            "spec": {"model": {"name": "m"}, "participants": [{"dataset": "d0"}, {"dataset": "d1"}], **spec},
        }
    )


def said(part: Part, state: str, *, id_: str = "", **work: Any) -> Part:
    report = WorkReport(id_ or f"{part.node}-{state}", state, "2026-01-31T11:59:00Z", **work)
    return replace(part, report=report)


def show(task: FederatedTask, *parts: Part, now: datetime = NOW, **missing: Any) -> list[Note]:
    """Show it, as the API server would store it."""
    notes = KIND.show(task, View(parts, **missing), now)
    stored = FederatedTask.from_dict(task.to_dict())
    task.status = stored.status
    return [*notes]


def condition(task: FederatedTask, type_: str) -> tuple[str, str]:
    found = get_condition(task.status.conditions, type_)
    return (found.status, found.reason) if found else ("", "")


def standing(task: FederatedTask) -> tuple[str | None, str | None, str | None]:
    return task.status.phase, task.status.progress, task.status.reason


@pytest.mark.parametrize(
    ("parts", "missing", "expected", "message"),
    [
        ([OF_0, OF_1], {}, ("Pending", "0%", "WaitingForNodes"), "node edge0, edge1 has not answered yet"),
        ([OF_0, OF_1], {"missing_models": ("m",)}, ("Pending", "0%", "ModelMissing"), "no Model m in namespace ns"),
        ([OF_0], {"missing_datasets": ("d1",)}, ("Pending", "0%", "DatasetMissing"), "no Dataset d1 in namespace ns"),
        ([OF_0], {"homeless_datasets": ("d1",)}, ("Pending", "0%", "DatasetWithoutNode"), "spec.nodeName of Data"),
        ([OF_0, OF_1], {"too_large": ("edge0",)}, ("Pending", "0%", "TooLarge"), "more than 64 KiB"),
        (
            [replace(OF_0, presence=NodeState.NEVER_SEEN), OF_1], {},
            ("Pending", "0%", "NodeNeverSeen"), "run edge-agent --node edge0",
        ),
        ([OF_0, replace(OF_1, presence=NodeState.OFFLINE)], {}, ("Pending", "0%", "NodeOffline"), "node edge1 is off"),
        ([OF_0, replace(OF_1, presence=None)], {}, ("Pending", "0%", "BrokerUnreachable"), "is not connected to its"),
        (
            [said(OF_0, "Pending", message="waiting for model m"), said(OF_1, "Pending")], {},
            ("Pending", "0%", "WaitingForWorkers"), "edge0: waiting for model m",
        ),
        (
            [said(OF_0, "Running", progress=40, message="round 2"), said(OF_1, "Pending", message="no worker")], {},
            ("Running", "20%", "WaitingForWorkers"), "edge1: no worker",
        ),
        (
            [said(OF_0, "Running", progress=40, message="round 2"), said(OF_1, "Running")], {},
            ("Running", "20%", "Running"), "edge0: round 2",
        ),
        (
            [said(OF_0, "Completed"), said(OF_1, "Running", progress=99)], {},
            ("Running", "99%", "Running"), "1/2 shares are complete",
        ),
        (
            [said(replace(OF_0, presence=NodeState.OFFLINE), "Completed"), said(OF_1, "Running")], {},
            ("Running", "50%", "Running"), "1/2 shares are complete",
        ),
        (
            [said(OF_0, "Completed", metrics={"loss": "0.5"}), said(OF_1, "Completed", metrics={"loss": "0.1"})], {},
            ("Completed", "100%", "Completed"), "loss=0.2",
        ),
        ([said(OF_0, "Completed"), said(OF_1, "Completed")], {}, ("Completed", "100%", "Completed"), "no metrics were"),
        (
            [said(OF_0, "Completed")], {"missing_datasets": ("d1",)},
            ("Running", "100%", "DatasetMissing"), "no Dataset d1",
        ),
        (
            [said(OF_0, "Completed"), said(OF_1, "Failed", message="no memory")], {},
            ("Failed", "50%", "ParticipantFailed"), "edge1: no memory",
        ),
        ([said(OF_0, "Failed"), OF_1], {}, ("Failed", "0%", "ParticipantFailed"), "edge0: the worker gave no reason"),
        (
            [said(OF_0, "Completed"), said(OF_1, "Completed"), said(SUM, "Failed", message="no")], {},
            ("Failed", "66%", "AggregatorFailed"), "hub: no",
        ),
        (
            [said(OF_0, "Completed", metrics={"loss": "9"}), said(OF_1, "Completed"),
             said(SUM, "Completed", metrics={"loss": "0.31", "note": "good"})], {},
            ("Completed", "100%", "Completed"), "loss=0.31, note=good",
        ),
    ],
)  # fmt: skip
def test_the_status_by_the_facts(
    parts: list[Part], missing: dict[str, Any], expected: tuple[str, str, str], message: str
) -> None:
    task = new()
    show(task, *parts, **missing)
    assert standing(task) == expected
    assert message in (task.status.message or "")
    before = task.to_dict()
    again = show(task, *parts, now=NOW + timedelta(hours=1), **missing) if KIND.plan(task) else []
    assert (task.to_dict(), again) == (before, []), "the same facts say the same, and make no event"


def test_it_starts_when_all_is_there_and_the_deadline_counts_from_there() -> None:
    task = new(deadlineSeconds=60)
    show(task, OF_0, OF_1, missing_models=("m",))
    assert task.status.start_time is None
    start = NOW + timedelta(minutes=5)
    show(task, OF_0, OF_1, now=start)
    assert task.status.start_time == start
    assert (plan := KIND.plan(task)) is not None
    assert (plan.deadline, plan.has_begun) == (start + timedelta(seconds=60), True)
    show(task, said(OF_0, "Completed"), OF_1, now=start + timedelta(seconds=59))
    assert task.status.phase == "Running"
    (note,) = show(task, said(OF_0, "Completed"), OF_1, now=start + timedelta(seconds=60))
    assert (note.reason, note.is_warning) == ("DeadlineExceeded", True)
    assert task.status.message == "1/2 shares were complete 60 s after the start"
    assert condition(task, "Failed") == ("True", "DeadlineExceeded")
    assert KIND.plan(task) is None
    assert KIND.outcome(task) == {}


def test_what_completes_as_its_deadline_passes_is_complete() -> None:
    task = new(deadlineSeconds=60)
    show(task, OF_0, OF_1)
    show(task, said(OF_0, "Completed"), said(OF_1, "Completed"), now=NOW + timedelta(hours=1))
    assert task.status.phase == "Completed"


def test_the_events_tell_the_story() -> None:
    task = new(aggregator={"nodeName": "hub"})
    away = replace(OF_0, presence=NodeState.OFFLINE)
    story = [
        show(task, OF_0, OF_1, SUM, missing_models=("m",)),
        show(task, OF_0, OF_1, SUM),
        show(task, said(OF_0, "Pending"), OF_1, SUM),
        show(task, said(OF_0, "Running"), OF_1, SUM),
        show(task, said(away, "Running"), said(OF_1, "Running"), SUM),
        show(task, said(OF_0, "Running"), said(OF_1, "Running"), said(SUM, "Running")),
        show(task, said(OF_0, "Completed", metrics={"loss": "1"}), said(OF_1, "Completed", message="done"), SUM),
        show(task, said(OF_0, "Completed"), said(OF_1, "Completed"), said(SUM, "Completed", metrics={"loss": "0.3"})),
    ]
    assert [[f"{note.reason}: {note.message}" for note in notes] for notes in story] == [
        ["ModelMissing: no Model m in namespace ns: create it, or name another one"],
        ["Scheduled: sent to edge0, edge1, hub"],
        [],
        ["Started: a worker runs on edge0"],
        ["NodeOffline: node edge0 is offline; the work goes on when it is back"],
        ["NodesOnline: every node that still has to work is connected"],
        ["ParticipantCompleted: edge0: loss=1", "ParticipantCompleted: edge1: done"],
        ["AggregatorCompleted: hub: loss=0.3", "Completed: loss=0.3"],
    ]


def test_a_share_that_failed_and_the_task_with_it_are_warnings() -> None:
    task = new()
    show(task, OF_0, OF_1)
    notes = show(task, said(OF_0, "Failed", message="no memory"), OF_1)
    assert [(note.reason, note.message, note.is_warning) for note in notes] == [
        ("ParticipantFailed", "edge0: no memory", True),
        ("Failed", "edge0: no memory", True),
    ]


def test_an_edit_starts_anew_and_keeps_nothing_of_the_end_before() -> None:
    task = new()
    show(task, said(OF_0, "Completed", metrics={"a": "1"}), said(OF_1, "Completed"))
    assert condition(task, "Complete") == ("True", "Completed")
    task.metadata.generation = 2
    assert KIND.reported(task) == {}
    assert (plan := KIND.plan(task)) is not None
    assert not plan.has_begun
    later = NOW + timedelta(hours=1)
    assert [note.reason for note in show(task, OF_0, OF_1, now=later)] == ["Scheduled"]
    assert standing(task) == ("Pending", "0%", "WaitingForNodes")
    assert (task.status.start_time, task.status.completion_time) == (later, None)
    assert condition(task, "Complete") == ("", "")
    assert [row.metrics for row in task.status.participants] == [{}, {}]


def test_what_was_reported_comes_back_as_it_was_shown() -> None:
    task = new(aggregator={"nodeName": "edge1"})
    first = said(OF_0, "Running", id_="7-1", progress=40, samples=90, metrics={"b": "1", "a": "2"}, message="round")
    both = said(replace(OF_1, roles=("participant", "aggregator")), "Pending", id_="pending-1-x")
    show(task, first, both)
    assert task.status.completions == "0/2", "who has both roles has one worker"
    assert task.status.aggregator is not None
    assert (task.status.aggregator.node, task.status.aggregator.datasets) == ("edge1", [])
    reported = KIND.reported(task)
    assert reported["edge0"] == first.report
    assert (reported["edge1"].id, reported["edge1"].state) == ("pending-1-x", "Pending")
    before = task.to_dict()
    show(task, *(replace(part, report=reported[part.node]) for part in (first, both)))
    assert task.to_dict() == before


def test_samples_are_those_reported_else_those_of_the_dataset() -> None:
    task = new()
    show(task, said(OF_0, "Running", samples=90), said(OF_1, "Running"))
    assert [row.samples for row in task.status.participants] == [90, 300]


def test_the_order_has_parameters_by_name_and_the_deadline() -> None:
    plan = KIND.plan(new(parameters={"b": "1", "a": "2"}, deadlineSeconds=9, aggregator={"nodeName": "hub"}))
    assert plan is not None
    assert plan.work == {"parameters": {"a": "2", "b": "1"}, "deadlineSeconds": 9}
    assert (plan.datasets, plan.models, plan.aggregators) == (("d0", "d1"), ("m",), ("hub",))


def test_many_names_are_cut_and_conditions_stay_few() -> None:
    task = new()
    parts = [Part(f"edge{number}", ("participant",), (f"d{number}",)) for number in range(64)]
    for presence in (NodeState.NEVER_SEEN, NodeState.OFFLINE, None, NodeState.ONLINE):
        show(task, *(replace(part, presence=presence) for part in parts))
        assert all(len(item.message) < 300 for item in task.status.conditions)
    show(task, *(said(part, "Failed", message="x" * 1024) for part in parts))
    assert len(task.status.conditions) == 3


def test_ten_workers_that_say_much_make_a_message_that_the_api_server_takes() -> None:
    parts = [
        said(
            Part(f"edge{number}", ("participant",), (f"d{number}",), 1, NodeState.ONLINE), "Running", message="x" * 1024
        )
        for number in range(10)
    ]
    task = new()
    show(task, *parts)
    field = crd_for(FederatedTask)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert len(task.status.message or "") == field["properties"]["message"]["maxLength"]
