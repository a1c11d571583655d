"""The built-in kinds that the runtime itself writes: Event and Lease.

Neighbours: `core` has the other built-in kinds and these as well; here they are alone, since every program loads what
the runtime needs, and a class takes a millisecond.
Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from neptune.api.meta import KubeModel, MicroTime, Resource, ResourceType


class ObjectReference(KubeModel):
    """Names an object of any kind, in any namespace."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class EventSeries(KubeModel):
    """How often an event happened (`count`, the first time included), and when last."""

    count: int
    last_observed_time: MicroTime


class Event(Resource):
    """Something that happened to the object `regarding`, for people to read (`kubectl events`).

    `type` is Normal or Warning; `reason` is one CamelCase word; `note` a sentence of 1 kB at most.
    """

    resource: ClassVar[ResourceType] = ResourceType("events.k8s.io", "v1", "Event", "events")
    event_time: MicroTime | None = None
    series: EventSeries | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    action: str = ""
    reason: str = ""
    regarding: ObjectReference = Field(default_factory=ObjectReference)
    related: ObjectReference | None = None
    note: str = ""
    type: str = ""


class LeaseSpec(KubeModel):
    """Who holds the lease, since when, and for how many seconds after the last renewal it counts.

    That is `lease_duration_seconds`; `lease_transitions` is how often it went from one holder to another.
    """

    holder_identity: str = ""
    lease_duration_seconds: int | None = None
    acquire_time: MicroTime | None = None
    renew_time: MicroTime | None = None
    lease_transitions: int = 0


class Lease(Resource):
    """What one of several processes holds at a time."""

    resource: ClassVar[ResourceType] = ResourceType("coordination.k8s.io", "v1", "Lease", "leases")
    spec: LeaseSpec = Field(default_factory=LeaseSpec)
