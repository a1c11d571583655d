"""Conditions: what an object's status says about itself, in the form that `kubectl wait` understands.

Invariant: one entry a type, and `lastTransitionTime` moves only when `status` does.
Rules: metav1.Condition and SetStatusCondition in k8s.io/apimachinery/pkg/api/meta/conditions.go.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from neptune.api.meta import KubeModel, Time

ConditionStatus = Literal["True", "False", "Unknown"]

#: metav1.Condition allows 32,768 characters; an eighth of it is more than a person reads.
MAX_MESSAGE_LENGTH = 4096


class Condition(KubeModel):
    """One statement about an object at a moment (metav1.Condition)."""

    type: Annotated[
        str,
        Field(
            description="What the statement is about, in CamelCase.",
            max_length=316,
            pattern=r"^[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?$",
        ),
    ]
    status: Annotated[ConditionStatus, Field(description="True, False, or Unknown.")]
    observed_generation: Annotated[
        int | None,
        Field(description="The metadata.generation that the statement was made about.", ge=0),
    ] = None
    last_transition_time: Annotated[Time, Field(description="When `status` last changed.")]
    reason: Annotated[
        str,
        Field(
            description="Why, as one CamelCase word that programs may rely on.",
            min_length=1,
            max_length=1024,
            pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        ),
    ]
    message: Annotated[str, Field(description="Why, for a person, with what to do about it.", max_length=32768)] = ""


def get_condition(conditions: list[Condition], type_: str) -> Condition | None:
    """Return the condition of that type, or None."""
    return next((item for item in conditions if item.type == type_), None)


def set_condition(conditions: list[Condition], new: Condition) -> bool:
    """Put `new` in the place of the condition of its type, and tell whether anything changed.

    `new.last_transition_time` counts only when the status differs from the one before, so that calling this again
    with the same statement changes nothing. A message past `MAX_MESSAGE_LENGTH` characters is cut.
    """
    new = new.model_copy(update={"message": new.message[:MAX_MESSAGE_LENGTH]})
    old = get_condition(conditions, new.type)
    if old is None:
        conditions.append(new)
        return True
    if old.status == new.status:
        new.last_transition_time = old.last_transition_time
    if _statement(old) == _statement(new):
        return False
    conditions[conditions.index(old)] = new
    return True


def _statement(condition: Condition) -> tuple[str, int | None, datetime, str, str]:
    return (
        condition.status,
        condition.observed_generation,
        condition.last_transition_time,
        condition.reason,
        condition.message,
    )
