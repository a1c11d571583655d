from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from neptune.api import Condition, get_condition, set_condition
from neptune.api.conditions import MAX_MESSAGE_LENGTH, ConditionStatus

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def ready(
    status: ConditionStatus = "True", *, at: datetime = NOON, reason: str = "Counted", message: str = ""
) -> Condition:
    return Condition(
        type="Ready", status=status, observed_generation=1, last_transition_time=at, reason=reason, message=message
    )


def test_first_condition_of_a_type_is_added() -> None:
    conditions = [Condition(type="Synced", status="True", last_transition_time=NOON, reason="Stored")]
    assert set_condition(conditions, ready())
    assert [item.type for item in conditions] == ["Synced", "Ready"]
    assert get_condition(conditions, "Ready") == ready()
    assert get_condition(conditions, "Never") is None


def test_same_statement_at_another_time_changes_nothing() -> None:
    conditions = [ready()]
    assert not set_condition(conditions, ready(at=LATER))
    assert conditions == [ready()]


def test_new_status_moves_the_transition_time() -> None:
    conditions = [ready()]
    assert set_condition(conditions, ready("False", at=LATER))
    assert conditions == [ready("False", at=LATER)]


@pytest.mark.parametrize("change", [{"reason": "Counting"}, {"message": "half"}, {"observed_generation": 2}])
def test_other_change_keeps_the_transition_time(change: dict[str, object]) -> None:
    conditions = [ready()]
    assert set_condition(conditions, ready(at=LATER).model_copy(update=change))
    assert conditions == [ready().model_copy(update=change)]


def test_condition_keeps_its_place_and_the_caller_its_own() -> None:
    synced = Condition(type="Synced", status="True", last_transition_time=NOON, reason="Stored")
    conditions, given = [ready(), synced], ready(at=LATER, message="new")
    set_condition(conditions, given)
    assert [item.type for item in conditions] == ["Ready", "Synced"]
    assert given.last_transition_time == LATER


def test_message_that_is_too_long_is_cut_and_then_says_the_same() -> None:
    conditions = [ready()]
    assert set_condition(conditions, ready(message="x" * 30_000))
    assert len(conditions[0].message) == MAX_MESSAGE_LENGTH
    assert not set_condition(conditions, ready(message="x" * 30_000))


@pytest.mark.parametrize(
    "wrong",
    [{"status": "true"}, {"reason": ""}, {"reason": "two words"}, {"type": "-"}, {"lastTransitionTime": None}],
)
def test_condition_that_the_api_server_would_refuse_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Condition.model_validate({**ready().model_dump(), **wrong})


def test_condition_is_written_as_metav1_writes_it() -> None:
    assert ready(message="3 samples").to_dict() == {
        "type": "Ready",
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-31T12:00:00Z",
        "reason": "Counted",
        "message": "3 samples",
    }
