"""The Kubernetes types that every object shares: `Resource`, `ObjectMeta`, `Condition`, `Time`.

Invariant: what was read can be written back without loss. Fields that a newer server knows and we do not are kept,
and `Resource.merge_patch` sends only what the caller changed.
Neighbours: `dataset` and `model` build on it, `runtime` reads and writes it, `crd` turns it into a schema.
Rules follow k8s.io/apimachinery/pkg/apis/meta/v1/types.go and the Kubernetes API conventions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import NoneType
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic.alias_generators import to_camel
from pydantic_core import from_json, to_json

Json = dict[str, Any]


def _in_utc(value: datetime) -> datetime:
    offset = value.utcoffset()
    if offset is None:
        raise ValueError("a time needs a zone: write 2026-01-31T12:00:00Z")
    return value.astimezone(UTC) if offset else value


def _whole_seconds(value: datetime) -> datetime:
    moment = _in_utc(value)
    return moment.replace(microsecond=0) if moment.microsecond else moment


# Also a time that was assigned comes here, which pydantic does not look at: in any zone, or in none.


def _rfc3339(value: datetime) -> str:
    return _in_utc(value).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rfc3339_micro(value: datetime) -> str:
    return _in_utc(value).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Time = Annotated[datetime, AfterValidator(_whole_seconds), PlainSerializer(_rfc3339, when_used="unless-none")]
"""A moment in UTC, cut to whole seconds, as metav1.Time writes it (RFC 3339). A time without a zone is refused."""

MicroTime = Annotated[datetime, AfterValidator(_in_utc), PlainSerializer(_rfc3339_micro, when_used="unless-none")]
"""A moment in UTC with six digits after the second, as metav1.MicroTime writes it (Lease)."""


class ResourceKey(NamedTuple):
    """Names one object of a kind. `namespace` is empty for cluster-scoped kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class ResourceType:
    """Where a kind lives in the API: group (empty for core), version, kind, plural and scope."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "") -> str:
        """Return the URL path of the collection, or of one object when `name` is given.

        An empty `namespace` means all namespaces, or a cluster-scoped kind.

        Raises:
            ValueError: a name is one that the API server would take for a part of the path.
        """
        for segment in (namespace, name):
            # IsValidPathSegmentName in k8s.io/apimachinery/pkg/api/validation/path/name.go.
            if segment in {".", ".."} or "/" in segment or "%" in segment:
                raise ValueError(f"{segment!r} is no name of an object or namespace: it would be another path")
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/".join(parts)


class KubeModel(BaseModel):
    """Base of every part of an object: camelCase JSON names, unknown fields kept, one way to serialise.

    A field is written when it was set or differs from its default, and never when it is None. pydantic's own
    `exclude_unset` would lose `labels["a"] = "b"` on an object that came without labels; `exclude_defaults` would
    lose a 0 that was set on purpose.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="allow",
        # A program uses few of the kinds that it imports; each costs some milliseconds to build.
        defer_build=True,
    )

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> Json:
        data: Json = handler(self)
        was_set = self.model_fields_set
        for name, alias, default in _defaults(type(self)):
            if data.get(alias) is None or (name not in was_set and getattr(self, name) == default):
                data.pop(alias, None)
        return data

    def to_dict(self) -> Json:
        """Return the JSON object that the API server would take."""
        return self.model_dump(mode="json")


@cache
def _defaults(cls: type[KubeModel]) -> tuple[tuple[str, str, Any], ...]:
    """Return name, JSON name and default of each field; computed once a class, since every write asks for it.

    But for what an object is of: it says so, even where a class of a user has that as a default.
    """
    said = {"api_version", "kind"} if issubclass(cls, Resource) else frozenset()
    return tuple(
        (
            name,
            field.serialization_alias or name,
            field.get_default(call_default_factory=True, validated_data={}),
        )
        for name, field in cls.model_fields.items()
        if name not in said
    )


@cache
def _status_class(cls: type[Resource]) -> type[KubeModel] | None:
    """Return the class of the status, if nothing but that class decides how a status is read."""
    field, decorators = cls.model_fields.get("status"), cls.__pydantic_decorators__
    if field is None or field.metadata or field.alias not in (None, "status"):
        return None
    if decorators.model_validators or decorators.field_validators or decorators.validators:
        return None
    options = {*get_args(field.annotation)} - {NoneType} or {field.annotation}
    only = options.pop() if len(options) == 1 else None
    return only if isinstance(only, type) and issubclass(only, KubeModel) else None


@cache
def _absent_status(cls: type[Resource]) -> Json:
    """Return what the status of an object says that came without one."""
    default = cls.model_fields["status"].get_default(call_default_factory=True, validated_data={})
    return default.to_dict() if isinstance(default, KubeModel) else {}


class OwnerReference(KubeModel):
    """Names the object that this one belongs to; garbage collection deletes dependents with their owner."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(KubeModel):
    """Metadata that every stored object has (metav1.ObjectMeta).

    The server writes `uid`, `resource_version`, the timestamps and `generation`, which grows by one with each change of
    the spec (of anything, where the kind has no status subresource). `deletion_timestamp` is when deletion was asked
    for: the object stays until `finalizers` is empty; a pod ends within `deletion_grace_period_seconds` of it.
    """

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: list[OwnerReference] = Field(default_factory=list)
    finalizers: list[str] = Field(default_factory=list)
    managed_fields: list[Json] = Field(default_factory=list)


class ListMeta(KubeModel):
    """Metadata of a list: the version it was read at, and where the next page starts (metav1.ListMeta).

    `remaining_item_count` is how many objects the further pages hold, where the server knows: not with selectors.
    """

    resource_version: str = ""
    continue_: str = Field(default="", alias="continue")
    remaining_item_count: int | None = None


class Resource(KubeModel):
    """A Kubernetes object. A subclass names its `resource` and adds `spec`, `status` or whatever the kind has.

    >>> class Widget(Resource):
    ...     resource = ResourceType("example.com", "v1", "Widget", "widgets")
    ...     size: int = 1
    >>> Widget(metadata=ObjectMeta(name="a"), size=2).to_dict()
    {'apiVersion': 'example.com/v1', 'kind': 'Widget', 'metadata': {'name': 'a'}, 'size': 2}
    """

    resource: ClassVar[ResourceType]

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    #: What the object was read from; that of one which was is in its `__dict__`, where pydantic copies what it knows
    #: nothing of. A private attribute of its own would cost a third of reading an object.
    _origin: ClassVar[bytes | None] = None

    def model_post_init(self, _context: Any, /) -> None:
        """Fill in the type of the object, which the items of a list and those of a cache come without."""
        # Not by `setattr`: pydantic makes that ten times as slow.
        if not self.kind:
            self.__dict__["kind"] = self.resource.kind
        if not self.api_version:
            self.__dict__["api_version"] = self.resource.api_version

    def __setattr__(self, name: str, value: Any) -> None:
        origin = self._origin
        super().__setattr__(name, value)
        if origin is not None and self._origin is None:
            # A class with validate_assignment has taken it for a field that it does not know.
            self.__dict__["_origin"] = origin
            (self.__pydantic_extra__ or {}).pop("_origin", None)

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Decode an object as the server sent it, and remember it so that `merge_patch` can tell what changed.

        A null where the type has no None reads as the default: Kubernetes writes null for empty lists and maps.

        Raises:
            ValueError: the bytes are not an object of this type.
        """
        try:
            item = cls.model_validate_json(raw)
        except ValidationError:
            data = _without_nulls(json.loads(raw))
            raw = json.dumps(data).encode()
            try:
                item = cls.model_validate_json(raw)
            except ValidationError:  # nested deeper than pydantic's own parser goes, unless it really does not fit
                item = cls.model_validate(data)
        item.__dict__["_origin"] = raw
        return item

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Decode an object that is already parsed; otherwise as `from_json`."""
        return cls.from_json(json.dumps(data).encode())

    @property
    def key(self) -> ResourceKey:
        """The namespace and name."""
        return ResourceKey(self.metadata.namespace, self.metadata.name)

    def merge_patch(self) -> Json:
        """Return what changed since the object was read, as a JSON merge patch (RFC 7396).

        Empty when nothing changed. An object that was not read from a server is returned whole.
        """
        if self._origin is None:
            return self.to_dict()
        return diff(type(self).from_json(self._origin).to_dict(), self.to_dict())

    def status_patch(self) -> Json:
        """Return what of the status changed since the object was read, as `merge_patch` would.

        Looks at nothing but the status, where its class alone says what is read, which costs a sixth of comparing the
        whole.
        """
        status: Any = getattr(self, "status", None)
        if self._origin is not None and status is not None and type(status) is _status_class(type(self)):
            with suppress(ValueError):  # nested deeper than these go
                before = from_json(self._origin).get("status")
                known = type(status).model_validate_json(to_json(before)).to_dict() if before else {}
                now = status.to_dict()
                if not before and now == _absent_status(type(self)):
                    return {}
                return {"status": changed} if (changed := diff(known, now)) else {}
        return {name: value for name, value in self.merge_patch().items() if name == "status"}


R = TypeVar("R", bound=Resource)


class KubeList(KubeModel):
    """Base of every list; a subclass has the `items`.

    pydantic builds a generic class when it is given its type, which would cost each program 26 ms of its start.
    """

    api_version: str = ""
    kind: str = ""
    metadata: ListMeta = Field(default_factory=ListMeta)


class ResourceList(KubeList, Generic[R]):
    """What a list request answers: some objects and the version of the whole."""

    items: list[R] = Field(default_factory=list)


def diff(before: Json, after: Json) -> Json:
    """Return the JSON merge patch (RFC 7396) that turns `before` into `after`; empty when they are equal.

    Lists are replaced whole: a merge patch knows no other way.
    """
    patch: Json = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            if inner := diff(old, value):
                patch[name] = inner
        elif name not in before or old != value:
            patch[name] = value
    return patch


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
