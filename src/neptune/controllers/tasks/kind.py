"""What a kind of task is: the protocol that a custom kind implements, and the values that it deals in.

A kind says what one of its objects asks for (`plan`), what its status becomes (`show`), which reports that status
already includes (`reported`), and which metrics its models get in the end (`outcome`). Everything between is done for
it: placement on nodes, pushes and digests, reports in any order and any number, presence, deadlines, events.

Invariant: all four functions are pure. They may be called at any time, any number of times; the same facts give the
same answer, so that what was lost on the way to the API server is made good by asking again.
Neighbours: `placement` calls `plan` and `reported`, `reconciler` the others; `federated` is the first kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from neptune.api import ResourceKey
from neptune.api.meta import R
from neptune.protocol.messages import Json, WorkReport
from neptune.protocol.presence import NodeState

PARTICIPANT, AGGREGATOR = "participant", "aggregator"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a task asks for. Datasets and models are named as they are in the task's own namespace.

    Attributes:
        datasets: each makes its node a participant; those on one node share a worker.
        models: go to every node that takes part, for as long as it does.
        aggregators: further nodes that take part, by their own name.
        work: what workers get to know besides, as JSON.
        has_begun: nodes have had the work, so that what is missing since takes it from nobody but whom it concerns.
            Before that nothing goes out until all that the plan names is there.
        deadline: when to ask `show` again although nothing happened.
    """

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    aggregators: tuple[str, ...] = ()
    work: Json = field(default_factory=dict)
    has_begun: bool = False
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One node's part in a task, as far as it is known.

    Attributes:
        roles: `participant`, `aggregator`, or both.
        samples: those in its datasets, by their own status; None while one of them is not counted.
        presence: of the node; None when this process cannot tell just now, which is no news.
        report: the newest for this generation, whether the status has it yet or not.
    """

    node: str
    roles: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    samples: int | None = None
    presence: NodeState | None = None
    report: WorkReport | None = None


@dataclass(frozen=True, slots=True)
class View:
    """All that is known of a task beside the object itself.

    Attributes:
        parts: participants in the order of the plan's datasets, then nodes that only aggregate.
        missing_models: names in the plan that no Model has.
        missing_datasets: names in the plan that no Dataset has.
        homeless_datasets: Datasets whose `spec.nodeName` is empty.
        too_large: nodes whose order is more than a message carries.
    """

    parts: tuple[Part, ...] = ()
    missing_models: tuple[str, ...] = ()
    missing_datasets: tuple[str, ...] = ()
    homeless_datasets: tuple[str, ...] = ()
    too_large: tuple[str, ...] = ()

    @property
    def lacks_parts(self) -> bool:
        """Whether somebody who should take part cannot: work that the others have completed is not complete."""
        return bool(self.missing_datasets or self.homeless_datasets or self.too_large)


@dataclass(frozen=True, slots=True)
class Note:
    """An event for `kubectl describe`, recorded once the status that it is about is written."""

    reason: str
    message: str
    is_warning: bool = False


class TaskKind(Protocol[R]):
    """A kind whose objects are work for nodes. Its status needs `observedGeneration`, and the subresource `status`."""

    @property
    def cls(self) -> type[R]:
        """The class of its objects; its Kind is no other's that the same controller serves."""
        ...

    def plan(self, task: R) -> Plan | None:
        """Return what the task asks for, or None when it is over for its present generation.

        A task that is over is on no node, and nothing changes it but a new generation.
        """
        ...

    def reported(self, task: R) -> Mapping[str, WorkReport]:
        """Return, by node, the newest report that the status includes, of the present generation only.

        `id` and `state` have to be those of the report; nodes learn from the id what the API server has lost.
        """
        ...

    def show(self, task: R, view: View, now: datetime) -> Sequence[Note]:
        """Set the status to what is known now, and return what is worth an event.

        Raises:
            ValueError: a report is not usable for this kind; it is refused with that text (400).
        """
        ...

    def outcome(self, task: R) -> Mapping[str, Mapping[str, str]]:
        """Return the metrics that each model gets, by its name; nothing unless `show` has just completed the task."""
        ...


@dataclass(frozen=True, slots=True)
class TaskRef:
    """Names a task among those of all kinds."""

    kind: str
    key: ResourceKey
