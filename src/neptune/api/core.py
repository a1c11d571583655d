"""The built-in kinds that most controllers meet: ConfigMap, Secret, Namespace, Node, Pod, Event, Lease.

Invariant: a type names the fields that a controller reads or writes; all the others are kept as they came
(`KubeModel`), under their JSON names. Neighbours: `meta` has the base, `machinery` Event and Lease.
The official client's model classes are not used: they drop fields that they do not know, and importing them takes
0.9 s and 20 MB.
Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Annotated, ClassVar

from pydantic import Field, PlainSerializer, PlainValidator

from neptune.api.machinery import Event, EventSeries, Lease, LeaseSpec, ObjectReference
from neptune.api.meta import Json, KubeModel, Resource, ResourceType, Time

__all__ = [
    "Base64",
    "ConfigMap",
    "Container",
    "ContainerStatus",
    "CoreCondition",
    "EnvVar",
    "Event",
    "EventSeries",
    "Lease",
    "LeaseSpec",
    "Namespace",
    "NamespaceStatus",
    "Node",
    "NodeAddress",
    "NodeSpec",
    "NodeStatus",
    "ObjectReference",
    "Pod",
    "PodSpec",
    "PodStatus",
    "Secret",
    "Taint",
]


def _from_base64(value: object) -> bytes:
    return value if isinstance(value, bytes) else b64decode(str(value), validate=True)


def _to_base64(value: bytes) -> str:
    return b64encode(value).decode()


Base64 = Annotated[bytes, PlainValidator(_from_base64), PlainSerializer(_to_base64)]
"""Bytes that JSON carries in base64."""


class ConfigMap(Resource):
    """Text, and bytes, under names; 1 MiB in all."""

    resource: ClassVar[ResourceType] = ResourceType("", "v1", "ConfigMap", "configmaps")
    data: dict[str, str] = Field(default_factory=dict)
    binary_data: dict[str, Base64] = Field(default_factory=dict)
    immutable: bool | None = None


class Secret(Resource):
    """Bytes under names that few may read. `string_data` is for writing only: the server moves it to `data`.

    Neither shows in `repr`, so that no log holds them.
    """

    resource: ClassVar[ResourceType] = ResourceType("", "v1", "Secret", "secrets")
    type: str = "Opaque"
    data: dict[str, Base64] = Field(default_factory=dict, repr=False)
    string_data: dict[str, str] = Field(default_factory=dict, repr=False)
    immutable: bool | None = None


class NamespaceStatus(KubeModel):
    """`phase` is Active or Terminating."""

    phase: str = ""


class Namespace(Resource):
    """A namespace; one that is Terminating takes no new objects."""

    resource: ClassVar[ResourceType] = ResourceType("", "v1", "Namespace", "namespaces", namespaced=False)
    status: NamespaceStatus = Field(default_factory=NamespaceStatus)


class CoreCondition(KubeModel):
    """One statement of a Node or Pod about itself; `status` is True, False or Unknown.

    Older than metav1.Condition (`neptune.api.Condition`) and laxer: all but the first two may be missing.
    """

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: Time | None = None


class Taint(KubeModel):
    """Keeps pods away that do not tolerate it. `effect` is NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    value: str = ""
    effect: str
    time_added: Time | None = None


class NodeSpec(KubeModel):
    """`unschedulable` is what `kubectl cordon` sets."""

    unschedulable: bool = False
    taints: list[Taint] = Field(default_factory=list)
    provider_id: str = Field(default="", alias="providerID")


class NodeAddress(KubeModel):
    """`type` is Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS."""

    type: str
    address: str


class NodeStatus(KubeModel):
    """Quantities such as `16Gi` stay text."""

    capacity: dict[str, str] = Field(default_factory=dict)
    allocatable: dict[str, str] = Field(default_factory=dict)
    conditions: list[CoreCondition] = Field(default_factory=list)
    addresses: list[NodeAddress] = Field(default_factory=list)


class Node(Resource):
    """A machine that runs pods."""

    resource: ClassVar[ResourceType] = ResourceType("", "v1", "Node", "nodes", namespaced=False)
    spec: NodeSpec = Field(default_factory=NodeSpec)
    status: NodeStatus = Field(default_factory=NodeStatus)


class EnvVar(KubeModel):
    """A variable of a container's environment: a value, or where it comes from (`value_from`, as JSON)."""

    name: str
    value: str = ""
    value_from: Json | None = None


class Container(KubeModel):
    """A container of a pod. Ports, mounts, probes and the like are kept as JSON under their own names."""

    name: str
    image: str = ""
    command: list[str] = Field(default_factory=list)
    args: list[str] = Field(default_factory=list)
    env: list[EnvVar] = Field(default_factory=list)
    resources: Json = Field(default_factory=dict)


class PodSpec(KubeModel):
    """What a pod runs, and where.

    `termination_grace_period_seconds` is how long it may take to end before it is killed; the server's default is 30.
    """

    containers: list[Container] = Field(default_factory=list)
    init_containers: list[Container] = Field(default_factory=list)
    node_name: str = ""
    node_selector: dict[str, str] = Field(default_factory=dict)
    service_account_name: str = ""
    restart_policy: str = ""
    termination_grace_period_seconds: int | None = None


class ContainerStatus(KubeModel):
    """`state` has one of `waiting`, `running`, `terminated`, each with its facts.

    `restart_count` is how often the container was started again.
    """

    name: str
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    state: Json = Field(default_factory=dict)


class PodStatus(KubeModel):
    """`phase` is Pending, Running, Succeeded, Failed or Unknown."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = Field(default="", alias="podIP")
    host_ip: str = Field(default="", alias="hostIP")
    start_time: Time | None = None
    conditions: list[CoreCondition] = Field(default_factory=list)
    container_statuses: list[ContainerStatus] = Field(default_factory=list)


class Pod(Resource):
    """Containers that run together on one node."""

    resource: ClassVar[ResourceType] = ResourceType("", "v1", "Pod", "pods")
    spec: PodSpec = Field(default_factory=PodSpec)
    status: PodStatus = Field(default_factory=PodStatus)
