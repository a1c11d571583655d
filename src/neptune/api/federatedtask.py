"""`FederatedTask`: work that trains or uses one model on several nodes, each with data of its own.

`spec` is the user's; `status` is written by the cloud controller from what the nodes' agents report.
Neighbours: `model` and `dataset` are what it names; `controllers.tasks.federated` says what the status becomes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from neptune.api.conditions import Condition
from neptune.api.crd import Column, CrdOptions
from neptune.api.dataset import SUBDOMAIN_PATTERN
from neptune.api.markers import Atomic, Cel, ListMap
from neptune.api.meta import KubeList, KubeModel, Resource, ResourceType, Time

#: A name of an object (RFC 1123, section 2.1, in lower case), as kube-apiserver checks it for custom resources.
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
#: Each has a row in the status and all rows are in one object, which etcd takes up to 1.5 MiB of.
MAX_PARTICIPANTS = 64

Phase = Literal["Pending", "Running", "Completed", "Failed"]


class TaskConditionType(StrEnum):
    """The conditions of a FederatedTask. As with a Job, the last two are there only when they are true."""

    SCHEDULED = "Scheduled"
    NODES_ONLINE = "NodesOnline"
    COMPLETE = "Complete"
    FAILED = "Failed"


class TaskReason(StrEnum):
    """Why a FederatedTask is as it is; what the Reason column of `kubectl get federatedtasks` shows."""

    SCHEDULED = "Scheduled"
    MODEL_MISSING = "ModelMissing"
    DATASET_MISSING = "DatasetMissing"
    DATASET_WITHOUT_NODE = "DatasetWithoutNode"
    TOO_LARGE = "TooLarge"
    WAITING_FOR_NODES = "WaitingForNodes"
    WAITING_FOR_WORKERS = "WaitingForWorkers"
    NODES_ONLINE = "NodesOnline"
    NODE_OFFLINE = "NodeOffline"
    NODE_NEVER_SEEN = "NodeNeverSeen"
    BROKER_UNREACHABLE = "BrokerUnreachable"
    RUNNING = "Running"
    COMPLETED = "Completed"
    PARTICIPANT_FAILED = "ParticipantFailed"
    AGGREGATOR_FAILED = "AggregatorFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"


class ModelReference(KubeModel):
    """Names a Model."""

    name: Annotated[
        ObjectName,
        Field(description="The Model that the work uses; in the task's namespace."),
    ]


class Participant(KubeModel):
    """One part of the work."""

    dataset: Annotated[
        ObjectName,
        Field(
            description="The Dataset that this part works on, in the task's namespace. It runs on the Dataset's node."
        ),
    ]


class Aggregator(KubeModel):
    """Where the parts are put together."""

    node_name: Annotated[
        str,
        Field(
            description="The node whose worker puts the parts together; its metrics become the Model's.",
            min_length=1,
            max_length=253,
            pattern=SUBDOMAIN_PATTERN,
        ),
    ]


class FederatedTaskSpec(KubeModel):
    """What is to be done, with which model, on which data. A change of it starts the work anew."""

    model: Annotated[ModelReference, Field(description="The model that is trained or used.")]
    participants: Annotated[
        list[Participant],
        Field(
            description="The parts of the work, one for each Dataset. Those on one node share a worker.",
            min_length=1,
            max_length=MAX_PARTICIPANTS,
        ),
        ListMap("dataset"),
    ]
    aggregator: Annotated[
        Aggregator | None,
        Field(description="Who puts the parts together. Without one the Model gets the mean of the parts' metrics."),
    ] = None
    parameters: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(description="What workers get to know besides, such as rounds or a learning rate.", max_length=64),
        Cel(
            "self.all(key, key.size() <= 63 && key.matches('^[A-Za-z0-9._-]+$'))",
            "a name has 1 to 63 letters, digits, '.', '_' or '-'",
        ),
    ] = Field(default_factory=dict)
    deadline_seconds: Annotated[
        int | None,
        Field(
            description="The task fails when it is not complete this long (seconds) after its start; none for ever.",
            ge=1,
            le=2**31 - 1,
        ),
    ] = None


class Share(KubeModel):
    """What one node has of a task, and what its worker said last."""

    node: Annotated[str, Field(description="The node that works.", max_length=253)]
    datasets: Annotated[
        list[str],
        Field(description="The Datasets that it works on; none for an aggregator.", max_length=MAX_PARTICIPANTS),
    ] = Field(default_factory=list)
    state: Annotated[
        Phase,
        Field(description="Pending until a worker has taken the work; then Running, Completed or Failed."),
    ] = "Pending"
    progress: Annotated[
        int | None, Field(description="How far it is, in percent; absent when nobody knows.", ge=0, le=100)
    ] = None
    samples: Annotated[
        int | None,
        Field(description="The samples used, as the worker said, else those in the Datasets.", ge=0),
    ] = None
    metrics: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(description="What the worker measured, by name.", max_length=256),
        # Else managedFields would name each metric of each node, and an object may take 1.5 MiB.
        Atomic(),
    ] = Field(default_factory=dict)
    message: Annotated[str, Field(description="What the worker said, for a person.", max_length=1024)] = ""
    report_id: Annotated[
        str | None,
        # Else pydantic writes reportId.
        Field(description="Names the report that this row is from.", max_length=128, alias="reportID"),
    ] = None
    report_time: Annotated[Time | None, Field(description="When that was made, by the node's clock.")] = None


class FederatedTaskStatus(KubeModel):
    """How far the work is."""

    phase: Annotated[
        Phase | None,
        Field(description="Pending until a worker runs, then Running, and in the end Completed or Failed."),
    ] = None
    progress: Annotated[
        str | None, Field(description="How far the work is: the mean of all shares in percent, as 40%.", max_length=16)
    ] = None
    completions: Annotated[
        str | None, Field(description="Nodes that have completed their share, of how many, as 2/3.", max_length=16)
    ] = None
    reason: Annotated[
        str | None, Field(description="Why it is where it is, as one CamelCase word.", max_length=128)
    ] = None
    message: Annotated[
        str | None, Field(description="Why, for a person, with what to do about it.", max_length=4096)
    ] = None
    participants: Annotated[
        list[Share],
        Field(description="What each node has of the work.", max_length=MAX_PARTICIPANTS),
        ListMap("node"),
    ] = Field(default_factory=list)
    aggregator: Annotated[Share | None, Field(description="The share of the aggregator, where there is one.")] = None
    start_time: Annotated[
        Time | None,
        Field(description="When all that the task names was there and it went out to its nodes; the deadline counts "
              "from here."),
    ] = None  # fmt: skip
    completion_time: Annotated[Time | None, Field(description="When it was completed or had failed.")] = None
    conditions: Annotated[
        list[Condition],
        Field(
            description="Scheduled: all that the task names is there. NodesOnline: the nodes that still have to work "
            "are connected. Complete, Failed: the end.",
            max_length=16,
        ),
        ListMap("type"),
    ] = Field(default_factory=list)
    observed_generation: Annotated[
        int | None, Field(description="The metadata.generation that the status is about.", ge=0)
    ] = None


class FederatedTask(Resource):
    """FederatedTask trains or uses a model on several nodes; each works on the data that it owns."""

    resource: ClassVar[ResourceType] = ResourceType("neptune.io", "v1alpha1", "FederatedTask", "federatedtasks")
    crd: ClassVar[CrdOptions] = CrdOptions(
        short_names=("ft",),
        categories=("neptune",),
        columns=(
            Column("Phase", "string", ".status.phase", "Pending, Running, Completed or Failed"),
            Column("Progress", "string", ".status.progress", "How far the work is"),
            Column("Model", "string", ".spec.model.name", "The model that is trained or used"),
            Column("Reason", "string", ".status.reason", "Why it is where it is"),
            Column("Age", "date", ".metadata.creationTimestamp", "Time since the task was created"),
            Column("Completions", "string", ".status.completions", "Nodes that have completed their share", priority=1),
            Column("Started", "date", ".status.startTime", "Time since it went out to its nodes", priority=1),
            Column("Ended", "date", ".status.completionTime", "Time since it was over", priority=1),
            Column("Message", "string", ".status.message", "Why, for a person", priority=1),
        ),
    )

    spec: Annotated[FederatedTaskSpec, Field(description="What is to be done, with which model, on which data.")]
    status: Annotated[
        FederatedTaskStatus, Field(description="How far the work is; written by the cloud controller.")
    ] = Field(default_factory=FederatedTaskStatus)


class FederatedTaskList(KubeList):
    """A list of FederatedTasks."""

    items: list[FederatedTask] = Field(default_factory=list)
