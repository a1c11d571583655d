"""What a Dataset's status says, by the facts: each row of the table, and that the same facts say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from neptune.api import Condition, Dataset, DatasetSpec, ObjectMeta, get_condition
from neptune.controllers.dataset import status
from neptune.protocol.digest import status_entry
from neptune.protocol.messages import ConditionReport, StatusReport
from neptune.protocol.presence import NodeState

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def stored(dataset: Dataset) -> Dataset:
    """Return the dataset as it comes back from the API server after a write."""
    return Dataset.from_dict(dataset.to_dict())


def new(*, node: str = "edge0", generation: int = 1) -> Dataset:
    spec = DatasetSpec(url="/data/a.txt", format="txt", node_name=node)
    metadata = ObjectMeta(namespace="ns", name="a", uid="u", resource_version="7", generation=generation)
    return stored(Dataset(metadata=metadata, spec=spec))


def report(
    number: int | None = 3,
    *,
    ready: str = "True",
    reason: str = "Counted",
    message: str = "3 samples",
    generation: int = 1,
    fingerprint: str | None = None,
) -> StatusReport:
    conditions = (ConditionReport("Ready", ready, reason, message),)
    return StatusReport("u", 1, generation, number, "2026-01-31T11:59:00Z", conditions, fingerprint)


def show_report(dataset: Dataset, said: StatusReport, now: datetime = NOW) -> Dataset:
    status.show_report(dataset, said, None if said.update_time is None else NOW, now)
    return stored(dataset)


def table(dataset: Dataset) -> dict[str, tuple[str, str, str]]:
    return {item.type: (item.status, item.reason, item.message) for item in dataset.status.conditions}


def condition(dataset: Dataset, type_: str) -> Condition:
    found = get_condition(dataset.status.conditions, type_)
    assert found is not None
    return found


def test_without_a_node_name_the_message_says_which_field_to_set() -> None:
    dataset = new(node="")
    status.show_no_node(dataset, NOW)
    why = "spec.nodeName is empty: set it to the node that owns the data"
    assert table(dataset) == {
        "Ready": ("Unknown", "NoNode", why),
        "Synced": ("False", "NoNode", why),
        "NodeOnline": ("Unknown", "NoNode", why),
    }


def test_taking_the_node_name_away_takes_back_what_the_node_said_but_not_its_number() -> None:
    dataset = show_report(new(), report())
    dataset.spec.node_name = ""
    status.show_no_node(dataset, LATER)
    assert {item.status for item in dataset.status.conditions} == {"Unknown", "False"}
    assert dataset.status.number_of_samples == 3


NEVER = "node edge0 has not connected: run edge-agent --node edge0 with the same broker"
AWAY = "node edge0 is offline; it counts when it is back"
SLOW = "node edge0 is online and has not answered yet"
BLIND = "cloud-controller is not connected to its MQTT broker; its log says why"


@pytest.mark.parametrize(
    ("state", "why", "online"),
    [
        (NodeState.NEVER_SEEN, NEVER, ("False", "NodeNeverSeen", NEVER)),
        (NodeState.OFFLINE, AWAY, ("False", "NodeOffline", AWAY)),
        (NodeState.ONLINE, SLOW, ("True", "NodeOnline", "node edge0 is connected")),
        (None, BLIND, ("Unknown", "WaitingForNode", BLIND)),
    ],
)
def test_while_waiting_the_message_says_for_what(
    state: NodeState | None, why: str, online: tuple[str, str, str]
) -> None:
    dataset = new()
    status.show_waiting(dataset, state, NOW)
    assert table(dataset) == {
        "Ready": ("Unknown", "WaitingForNode", why),
        "Synced": ("False", "WaitingForNode", why),
        "NodeOnline": online,
    }
    assert dataset.status.observed_generation is None
    assert dataset.status.number_of_samples is None


def test_a_node_that_heard_nothing_so_far_is_named_with_the_topic_that_it_may_not_read() -> None:
    dataset = new()
    status.show_waiting(dataset, NodeState.ONLINE, NOW, "a/topic")
    why = "node edge0 is online and has not answered yet: see its log, and whether the broker lets it read a/topic"
    assert condition(dataset, "Ready").message == why


def test_a_node_that_comes_online_does_not_leave_the_word_that_it_is_offline() -> None:
    dataset = new()
    status.show_waiting(dataset, NodeState.NEVER_SEEN, NOW)
    status.show_waiting(dataset, NodeState.ONLINE, LATER)
    assert condition(dataset, "NodeOnline").status == "True"


def test_waiting_for_a_new_generation_keeps_the_last_number() -> None:
    dataset = show_report(new(), report(3))
    dataset.metadata.generation = 2
    status.show_waiting(dataset, NodeState.ONLINE, LATER)
    assert (dataset.status.number_of_samples, dataset.status.observed_generation) == (3, 1)
    assert condition(dataset, "Ready").observed_generation == 2


def test_a_node_that_went_away_leaves_its_number_and_nobody_vouches_for_it() -> None:
    dataset = show_report(new(), report(3))
    status.show_node_offline(dataset, LATER)
    why = "node edge0 is offline; the number is the last one that it reported"
    assert table(dataset) == {
        "Ready": ("Unknown", "NodeOffline", why),
        "Synced": ("True", "Stored", "node edge0 has this generation"),
        "NodeOnline": ("False", "NodeOffline", why),
    }
    assert (dataset.status.number_of_samples, dataset.status.revision) == (3, 1)


def test_a_report_is_shown_as_the_node_gave_it() -> None:
    dataset = show_report(new(), report(3))
    assert table(dataset) == {
        "Ready": ("True", "Counted", "3 samples"),
        "Synced": ("True", "Stored", "node edge0 has this generation"),
        "NodeOnline": ("True", "NodeOnline", "node edge0 is connected"),
    }
    said = dataset.status
    assert (said.number_of_samples, said.revision, said.observed_generation, said.update_time) == (3, 1, 1, NOW)


def test_what_cannot_be_counted_has_the_reason_of_the_node_and_no_number() -> None:
    refused = report(None, ready="False", reason="NotFound", message="/data/a.txt does not exist: create it")
    dataset = show_report(new(), refused)
    assert table(dataset)["Ready"] == ("False", "NotFound", "/data/a.txt does not exist: create it")
    assert "numberOfSamples" not in dataset.to_dict()["status"]
    assert dataset.status.revision is None


def test_a_node_speaks_for_ready_only() -> None:
    boast = StatusReport("u", 1, 1, 3, None, (ConditionReport("NodeOnline", "False", "X", ""),))
    dataset = show_report(new(), boast)
    assert condition(dataset, "NodeOnline").status == "True"


def test_zero_samples_are_zero_and_not_nothing() -> None:
    dataset = show_report(new(), report(0))
    assert dataset.to_dict()["status"]["numberOfSamples"] == 0
    assert dataset.status.revision == 1


@pytest.mark.parametrize(
    ("before", "after", "revision"), [(3, 3, 1), (3, 4, 2), (3, 0, 2), (0, 0, 1), (3, None, 2), (None, 0, 1)]
)
def test_the_revision_grows_by_one_exactly_when_the_number_changes(
    before: int | None, after: int | None, revision: int
) -> None:
    dataset = show_report(new(), report(before))
    dataset = show_report(dataset, report(after), LATER)
    assert dataset.status.revision == revision


def test_other_content_of_the_same_number_is_another_revision() -> None:
    dataset = show_report(new(), report(3, fingerprint="aa"))
    dataset = show_report(dataset, report(3, fingerprint="bb"), LATER)
    assert (dataset.status.revision, dataset.status.fingerprint) == (2, "bb")


def test_the_transition_time_moves_only_with_the_status() -> None:
    dataset = show_report(new(), report(3))
    dataset = show_report(dataset, report(4, message="4 samples"), LATER)
    assert condition(dataset, "Ready").last_transition_time == NOW
    dataset = show_report(dataset, report(None, ready="False", reason="NotFound"), LATER)
    assert condition(dataset, "Ready").last_transition_time == LATER


@pytest.mark.parametrize(
    "show",
    [
        status.show_no_node,
        status.show_node_offline,
        lambda dataset, now: status.show_waiting(dataset, NodeState.NEVER_SEEN, now),
        lambda dataset, now: status.show_waiting(dataset, NodeState.ONLINE, now),
        lambda dataset, now: status.show_waiting(dataset, None, now),
        lambda dataset, now: status.show_report(dataset, report(0), NOW, now),
        lambda dataset, now: status.show_report(dataset, report(None, message="x" * 5000), None, now),
    ],
)
def test_the_same_facts_an_hour_later_change_nothing(show: Callable[[Dataset, datetime], None]) -> None:
    dataset = new()
    show(dataset, NOW)
    assert dataset.merge_patch()
    dataset = stored(dataset)
    show(dataset, NOW + timedelta(hours=1))
    assert dataset.merge_patch() == {}


def test_report_can_be_read_back_from_the_status_that_it_made() -> None:
    dataset = new()
    assert status.as_reported(dataset) is None
    said = replace(report(), update_time="2026-01-31T12:00:00Z")
    assert status_entry(status.as_reported(show_report(dataset, said)) or said) == status_entry(said)
    waiting = show_report(new(), said)
    status.show_node_offline(waiting, LATER)
    read = status.as_reported(waiting)
    assert read
    assert status_entry(read) != status_entry(said), "the node has to say again that it is there"


def test_dataset_that_no_message_can_carry_says_what_to_do() -> None:
    dataset = new()
    status.show_too_large(dataset, NOW)
    why = "the spec takes more than 64 KiB as JSON, and no more can be sent to a node: shorten it"
    assert table(dataset) == {"Ready": ("False", "TooLarge", why), "Synced": ("False", "TooLarge", why)}
