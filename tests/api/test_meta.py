from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from neptune.api import (
    Condition,
    KubeModel,
    ListMeta,
    MicroTime,
    ObjectMeta,
    OwnerReference,
    Resource,
    ResourceKey,
    ResourceList,
    ResourceType,
    Time,
    Unstructured,
)
from neptune.api.meta import diff

time: TypeAdapter[datetime] = TypeAdapter(Time)
micro_time: TypeAdapter[datetime] = TypeAdapter(MicroTime)
NOON = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)
JSON = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


class WidgetSpec(KubeModel):
    size: int = 1
    max_size: int | None = None
    parts: list[str] = Field(default_factory=list)
    colours: dict[str, str] = Field(default_factory=dict)


class Widget(Resource):
    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Widget", "widgets")

    spec: WidgetSpec = Field(default_factory=WidgetSpec)


def a_widget(**spec: Any) -> Widget:
    return Widget.from_dict({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec})


def test_time_is_written_in_utc_and_whole_seconds() -> None:
    berlin = NOON.astimezone(timezone(timedelta(hours=1)))
    assert time.dump_python(time.validate_python(berlin), mode="json") == "2026-01-31T12:00:00Z"


def test_micro_time_keeps_six_digits() -> None:
    assert micro_time.dump_python(micro_time.validate_python(NOON), mode="json") == "2026-01-31T12:00:00.123456Z"
    whole = micro_time.validate_python("2026-01-31T12:00:00Z")
    assert micro_time.dump_python(whole, mode="json") == "2026-01-31T12:00:00.000000Z"


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.999999Z", "2026-01-31T13:00:00+01:00"])
def test_time_reads_what_kubernetes_writes(text: str) -> None:
    assert time.validate_python(text) == NOON.replace(microsecond=0)


@pytest.mark.parametrize("adapter", [time, micro_time])
def test_time_without_a_zone_is_refused_with_an_example(adapter: TypeAdapter[datetime]) -> None:
    with pytest.raises(ValidationError, match="write 2026-01-31T12:00:00Z"):
        adapter.validate_python(NOON.replace(tzinfo=None))


def test_a_time_that_was_assigned_is_written_in_utc_too() -> None:
    condition = Condition(type="Ready", status="True", reason="Done", last_transition_time=NOON)
    condition.last_transition_time = NOON.astimezone(timezone(timedelta(hours=9)))
    assert condition.to_dict()["lastTransitionTime"] == "2026-01-31T12:00:00Z"
    condition.last_transition_time = NOON.replace(tzinfo=None)
    with pytest.raises(ValueError, match="a time needs a zone"):
        condition.to_dict()


@pytest.mark.parametrize(
    ("type_", "namespace", "name", "path"),
    [
        (Widget.resource, "", "", "/apis/example.com/v1/widgets"),
        (Widget.resource, "ns", "", "/apis/example.com/v1/namespaces/ns/widgets"),
        (Widget.resource, "ns", "a", "/apis/example.com/v1/namespaces/ns/widgets/a"),
        (ResourceType("", "v1", "Node", "nodes", namespaced=False), "", "n", "/api/v1/nodes/n"),
        (ResourceType("", "v1", "Event", "events"), "ns", "", "/api/v1/namespaces/ns/events"),
    ],
)
def test_path_of_a_resource(type_: ResourceType, namespace: str, name: str, path: str) -> None:
    assert type_.path(namespace, name) == path


def test_api_version_of_the_core_group_has_no_group() -> None:
    assert ResourceType("", "v1", "Node", "nodes").api_version == "v1"
    assert Widget.resource.api_version == "example.com/v1"


def test_key_prints_as_kubectl_prints_names() -> None:
    assert str(ResourceKey("ns", "a")) == "ns/a"
    assert str(ResourceKey("", "a")) == "a"
    assert Widget(metadata=ObjectMeta(namespace="ns", name="a")).key == ResourceKey("ns", "a")


def test_object_that_python_makes_has_its_type_and_only_what_was_set() -> None:
    assert Widget(metadata=ObjectMeta(name="a")).to_dict() == {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "a"},
    }


def test_object_says_its_type_where_its_class_has_that_as_a_default() -> None:
    class Gadget(Resource):
        resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Gadget", "gadgets")

        api_version: Literal["example.com/v1"] = "example.com/v1"
        kind: Literal["Gadget"] = "Gadget"

    assert Gadget().to_dict() == {"apiVersion": "example.com/v1", "kind": "Gadget"}


@pytest.mark.parametrize("extra", ["allow", "ignore", "forbid"])
def test_a_class_that_validates_what_is_assigned_knows_what_changed(
    extra: Literal["allow", "ignore", "forbid"],
) -> None:
    class Gadget(Widget):
        model_config = ConfigDict(validate_assignment=True, extra=extra)

    gadget = Gadget.from_dict({"metadata": {"name": "a"}, "spec": {"size": 1}})
    gadget.spec = WidgetSpec(size=2)
    assert gadget.merge_patch() == {"spec": {"size": 2}}
    with pytest.raises(ValidationError):
        gadget.spec = None  # type: ignore[assignment]
    assert gadget.to_dict()["spec"] == {"size": 2}


def test_item_of_a_list_gets_its_type() -> None:
    listed = ResourceList[Widget].model_validate({"metadata": {"continue": "x"}, "items": [{"metadata": {}}]})
    assert (listed.items[0].api_version, listed.items[0].kind) == ("example.com/v1", "Widget")
    assert listed.metadata.continue_ == "x"


def test_names_in_json_are_camel_case_and_both_spellings_are_read() -> None:
    owner = OwnerReference(api_version="v1", kind="Node", name="n", uid="u", block_owner_deletion=True)
    meta = ObjectMeta(generate_name="a-", owner_references=[owner])
    assert json.loads(json.dumps(meta.to_dict())) == {
        "generateName": "a-",
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "blockOwnerDeletion": True}],
    }
    assert ObjectMeta.model_validate({"generateName": "a-"}).generate_name == "a-"
    assert ListMeta(continue_="x").to_dict() == {"continue": "x"}


def test_unknown_fields_survive_at_every_depth() -> None:
    raw = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "a", "selfLink": "/x", "managedFields": [{"manager": "m", "later": None}]},
        "spec": {"size": 2, "later": {"deep": [1, None, {"x": 0}]}},
        "later": [],
    }
    assert Widget.from_dict(raw).to_dict() == raw


def test_null_reads_as_the_default() -> None:
    widget = Widget.from_json(b'{"metadata":{"name":"a","labels":null},"spec":{"parts":null,"size":null}}')
    assert (widget.metadata.labels, widget.spec.parts, widget.spec.size) == ({}, [], 1)
    assert widget.merge_patch() == {}


def test_wrong_type_is_refused_with_the_name_of_the_field() -> None:
    with pytest.raises(ValidationError, match=r"spec\.size"):
        a_widget(size="large")
    with pytest.raises(ValueError, match="Expecting property name"):
        Widget.from_json(b"{")


def test_patch_of_an_unchanged_object_is_empty() -> None:
    assert a_widget(size=3, later=1).merge_patch() == {}


def test_patch_of_an_object_that_was_not_read_is_the_object() -> None:
    widget = Widget(metadata=ObjectMeta(name="a"))
    assert widget.merge_patch() == widget.to_dict()


def test_patch_holds_only_what_changed() -> None:
    widget = a_widget(size=3, colours={"a": "red", "b": "blue"})
    widget.spec.colours["a"] = "green"
    del widget.spec.colours["b"]
    assert widget.merge_patch() == {"spec": {"colours": {"a": "green", "b": None}}}


def test_container_that_was_absent_is_written_once_it_is_filled_in_place() -> None:
    widget = a_widget()
    widget.metadata.labels["a"] = "b"
    widget.spec.parts.append("wheel")
    assert widget.merge_patch() == {"metadata": {"labels": {"a": "b"}}, "spec": {"parts": ["wheel"]}}


def test_default_is_not_shared_between_objects() -> None:
    a_widget().metadata.labels["a"] = "b"
    assert a_widget().metadata.labels == {}


@pytest.mark.parametrize(("field", "value"), [("size", 0), ("size", 1), ("max_size", 0), ("parts", [])])
def test_value_that_was_set_on_purpose_is_written(field: str, value: object) -> None:
    widget = a_widget()
    setattr(widget.spec, field, value)
    name = {"max_size": "maxSize"}.get(field, field)
    assert widget.merge_patch() == {"spec": {name: value}}


def test_none_removes_a_field() -> None:
    widget = a_widget(maxSize=5)
    widget.spec.max_size = None
    assert widget.merge_patch() == {"spec": {"maxSize": None}}


def test_list_is_replaced_whole() -> None:
    widget = a_widget(parts=["a", "b"])
    widget.spec.parts.append("c")
    assert widget.merge_patch() == {"spec": {"parts": ["a", "b", "c"]}}


def merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch, word for word as RFC 7396, section 2, says."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_diff_turns_one_object_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = diff(before, after)
    assert merged(before, patch) == after
    assert bool(patch) == (before != after)


class GaugeStatus(KubeModel):
    value: int = 0
    seen: Time | None = None
    names: list[str] = Field(default_factory=list)


class Gauge(Resource):
    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Gauge", "gauges")

    status: GaugeStatus = Field(default_factory=GaugeStatus)


@pytest.mark.parametrize(
    "read",
    [{}, {"status": {}}, {"status": {"value": 0}}, {"status": {"value": 7, "names": ["a"], "seen": None, "later": 1}}],
    ids=["none", "empty", "default", "full"],
)
def test_patch_of_the_status_is_what_the_patch_of_the_whole_has_of_it(read: dict[str, Any]) -> None:
    gauge = Gauge.from_dict({"metadata": {"name": "a"}, **read})
    assert gauge.status_patch() == {} == gauge.merge_patch()
    gauge.status.value = 8
    gauge.status.names = []
    gauge.metadata.labels["a"] = "b"
    whole = gauge.merge_patch()
    assert gauge.status_patch() == {"status": whole["status"]}
    assert gauge.status_patch()["status"]["value"] == 8


def test_patch_of_the_status_of_an_object_without_a_class() -> None:
    kind = Unstructured.of(Gauge.resource)
    gauge = kind.from_dict({"metadata": {"name": "a"}, "status": {"value": 1}})
    gauge["status"]["value"] = 2
    gauge["spec"] = {"left": "out"}
    assert gauge.status_patch() == {"status": {"value": 2}}


class Strict(KubeModel):
    model_config = ConfigDict(strict=True)
    at: datetime | None = None
    color: Literal["red", "blue"] = "red"
    sizes: tuple[int, ...] = ()
    raw: dict[str, Any] = Field(default_factory=dict)


class Counted(KubeModel):
    count: int


class Failed(KubeModel):
    why: str


class Plain(Resource):
    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Plain", "plains")
    tags: list[str] = Field(default_factory=list)
    status: Strict = Field(default_factory=Strict)


class Oddity(Resource):
    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Oddity", "oddities")
    tags: list[str] = Field(default_factory=list)
    status: Counted | Failed | Strict = Field(default_factory=Strict)


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ({"raw": {"a": None, "b": [{"c": None}]}}, None),
        ({"more": {"a": None}, "nothing": None}, None),
        ({"raw": {"a": None}, "sizes": None}, None),
        ({"at": "2026-01-01T00:00:00Z", "color": "blue", "sizes": [1]}, None),
        ({"count": 1}, None),
        ({"count": 1}, Failed(why="gone")),
        ({"raw": {"a": 1}}, Counted(count=1)),
        (None, Failed(why="gone")),
    ],
)
@pytest.mark.parametrize("tags", [["a"], None])
@pytest.mark.parametrize("kind", [Plain, Oddity])
def test_the_difference_of_the_status_alone_is_that_of_the_whole(kind: Any, text: Any, new: Any, tags: Any) -> None:
    item = kind.from_dict({"metadata": {"name": "a"}, "tags": tags, "status": text})
    assert item.status_patch() == {}
    assert item.merge_patch() == {}
    if new is not None:
        item.status = new
        assert "status" in item.merge_patch()
    assert item.status_patch() == item.merge_patch()


class Begun(Resource):
    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Begun", "beguns")
    status: Strict = Field(default_factory=lambda: Strict(color="blue"))


def test_a_status_that_only_its_class_says_is_no_change_before_something_else_is() -> None:
    item = Begun.from_dict({"metadata": {"name": "a"}})
    assert item.status_patch() == {}
    item.status.raw["a"] = 1
    assert item.status_patch() == {"status": {"color": "blue", "raw": {"a": 1}}} == item.merge_patch()
