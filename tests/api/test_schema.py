"""Types and their structural schemas: what a real API server makes of them, and what is refused before it sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import pytest
from pydantic import AnyUrl, Field, Json

from neptune.api import (
    Atomic,
    Cel,
    CrdOptions,
    Duration,
    IntOrString,
    KubeModel,
    ListMap,
    ListSet,
    NotStructural,
    Quantity,
    Resource,
    ResourceType,
    Time,
    crd_for,
)
from tests.support.kubectl import KubectlError, kubectl

Kubectl = Callable[..., str]


class Mode(StrEnum):
    FAST = "fast"
    SAFE = "safe"


class Port(KubeModel):
    """One port."""

    port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Literal["TCP", "UDP"] = "TCP"
    target: IntOrString | None = None


@Cel("self.low <= self.high", "low must not be above high")
class Range(KubeModel):
    """From low to high."""

    low: Annotated[int, Field(gt=-1)] = 0
    high: Annotated[float, Field(lt=100, multiple_of=2)] = 10


class RigSpec(KubeModel):
    """Everything that a structural schema can say."""

    mode: Mode = Mode.SAFE
    maybe: Mode | None = None
    one: Literal["one"] = "one"
    empty: str = ""
    name: Annotated[str, Field(pattern=r"^[a-z]+$", min_length=2, max_length=10)] = "rig"
    positive: Annotated[int, Field(gt=0, le=7)] = 1
    even: Annotated[int, Cel("self % 2 == 0", "must be even"), Cel("self < 100", "must be below 100")] = 0
    fixed: Annotated[str, Cel("self == oldSelf", "cannot be changed"), Field(max_length=10)] = "a"
    range: Annotated[Range, Cel("self.low != 3", "must not begin at 3")] = Range()
    ports: Annotated[list[Port], ListMap("port", "protocol"), Field(max_length=8)] = Field(default_factory=list)
    tags: Annotated[list[str], ListSet(), Field(max_length=8)] = Field(default_factory=list)
    order: Annotated[list[Port], Atomic()] = Field(default_factory=list)
    whole: Annotated[dict[str, str], Atomic(), Field(max_length=3)] = Field(default_factory=dict)
    block: Annotated[Port | None, Atomic()] = None
    numbers: dict[str, int] = Field(default_factory=dict)
    nested: dict[str, dict[str, Port]] = Field(default_factory=dict)
    anything: dict[str, Any] = Field(default_factory=dict)
    memory: Quantity = "1Gi"
    every: Duration = timedelta(minutes=90)
    at: Time | None = None
    link: AnyUrl | None = None
    id: UUID | None = None
    flag: bool = False
    again: Range | None = None


@Cel("self.metadata.name.startsWith('rig')", "the name must begin with rig")
class Rig(Resource):
    """A kind that uses all of it."""

    resource: ClassVar[ResourceType] = ResourceType("schema.example.com", "v1", "Rig", "rigs")
    crd: ClassVar[CrdOptions] = CrdOptions(short_names=("rg",))

    spec: RigSpec = RigSpec()
    size: int = 0


class Flat(Resource):
    """A kind without spec and status, in the cluster's own scope."""

    resource: ClassVar[ResourceType] = ResourceType("schema.example.com", "v1beta1", "Flat", "flats", namespaced=False)
    crd: ClassVar[CrdOptions] = CrdOptions(status_subresource=False)

    value: Quantity = "0"
    values: list[list[int]] = Field(default_factory=list)
    free: dict[str, Any] = Field(default_factory=dict)


GOOD: tuple[type[Resource], ...] = (Rig, Flat)


def schema(cls: type[Resource]) -> dict[str, Any]:
    (version,) = crd_for(cls)["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def spec_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema(Rig)["properties"]["spec"]["properties"][name]
    return found


# What the words become


def test_exclusive_bounds_are_flags_and_the_tighter_bound_counts() -> None:
    class Both(KubeModel):
        a: Annotated[int, Field(gt=0, ge=3)]
        b: Annotated[int, Field(lt=5, le=9)]

    spec = schema(kind(Both))["properties"]["spec"]["properties"]
    assert spec_of("positive") == {
        "type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 7, "default": 1
    }  # fmt: skip
    assert spec["a"] == {"type": "integer", "minimum": 3}
    assert spec["b"] == {"type": "integer", "maximum": 5, "exclusiveMaximum": True}


def test_rules_of_a_class_and_of_its_field_are_both_kept() -> None:
    assert [entry["message"] for entry in spec_of("range")["x-kubernetes-validations"]] == [
        "low must not be above high",
        "must not begin at 3",
    ]
    assert [entry["rule"] for entry in spec_of("even")["x-kubernetes-validations"]] == ["self % 2 == 0", "self < 100"]
    assert "must not begin" not in json.dumps(spec_of("again"))


def test_subclass_inherits_the_rules_and_adds_its_own_alone() -> None:
    @Cel("self.low > 0", "must be positive")
    class Narrow(Range):
        pass

    assert len(Narrow.model_json_schema()["x-kubernetes-validations"]) == 2
    assert len(Range.model_json_schema()["x-kubernetes-validations"]) == 1


def test_absent_is_no_default_and_others_are_kept() -> None:
    assert "default" not in spec_of("empty")
    assert "default" not in spec_of("maybe")
    assert (spec_of("mode")["default"], spec_of("flag")["default"], spec_of("every")["default"]) == (
        "safe", False, "1h30m"
    )  # fmt: skip


def test_default_of_a_mapping_of_anything_may_hold_anything() -> None:
    anything = {"a": True, "b": None, "c": [1, {"d": "e"}]}
    schema = crd_for(kind(default(dict[str, Any], anything)))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["spec"]["properties"]["ratio"]["default"] == anything


def test_atomic_is_said_in_the_word_of_the_type() -> None:
    assert spec_of("order")["x-kubernetes-list-type"] == "atomic"
    assert spec_of("whole")["x-kubernetes-map-type"] == spec_of("block")["x-kubernetes-map-type"] == "atomic"


# What is refused


class Either(KubeModel):
    value: int | str


class Anything(KubeModel):
    values: list[Any]


class Pair(KubeModel):
    pair: tuple[int, str]


class Tree(KubeModel):
    children: list[Tree] = Field(default_factory=list)


class Unique(KubeModel):
    names: set[str]


class A(KubeModel):
    kind: Literal["a"]


class B(KubeModel):
    kind: Literal["b"]


class Tagged(KubeModel):
    by_name: dict[str, Annotated[A | B, Field(discriminator="kind")]]


class Keyed(KubeModel):
    keys: dict[Annotated[str, Field(pattern="^a")], int]


class Chosen(KubeModel):
    keys: dict[Literal["a", "b"], int]


class Mixed(Enum):
    ONE = 1
    TWO = "two"


class Several(KubeModel):
    mixed: Mixed


class Nothing(KubeModel):
    nothing: None = None


class Iso(KubeModel):
    every: timedelta


class Clock(KubeModel):
    at: time


class Blob(KubeModel):
    data: bytes


class Money(KubeModel):
    price: Decimal


class Halves(KubeModel):
    halves: Annotated[float, Field(multiple_of=0.5)] = 1


class Text(KubeModel):
    text: Json[Any]


class Keyless(KubeModel):
    ports: Annotated[list[Port], ListMap("number")]


class Optional(KubeModel):
    ports: Annotated[list[Port], ListMap("target")]


class Plain(KubeModel):
    names: Annotated[list[str], ListMap("name")]


class SetOfObjects(KubeModel):
    ports: Annotated[list[Port], ListSet()]


class Unkeyed(KubeModel):
    ports: Annotated[list[Port], ListMap()]


class NoList(KubeModel):
    number: Annotated[int, ListSet()]


class NoObject(KubeModel):
    number: Annotated[int, Atomic()]


class LookAhead(KubeModel):
    host_name: Annotated[str, Field(pattern="(?!b)")]


class Hosts(KubeModel):
    by_name: dict[str, LookAhead]


def default(annotation: Any, value: Any) -> type[KubeModel]:
    """Return a class whose field `ratio` has that default."""
    return type("Defaults", (KubeModel,), {"__annotations__": {"ratio": annotation}, "ratio": value})


class Function(KubeModel):
    call: Callable[[], None]


class Root(Resource):
    """A kind that contains itself."""

    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Root", "roots")
    children: list[Root] = Field(default_factory=list)


def kind(spec: type[KubeModel]) -> type[Resource]:
    return type(
        "Thing",
        (Resource,),
        {
            "__module__": __name__,
            "__annotations__": {"resource": ClassVar[ResourceType], "spec": spec},
            "resource": ResourceType("example.com", "v1", "Thing", "things"),
        },
    )


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Either, "Thing.spec.value: a choice between types; use one type, or IntOrString"),
        (Anything, "Thing.spec.values[]: any value is allowed; give the field a type, or dict[str, Any]"),
        (Pair, "Thing.spec.pair: a list whose positions have types of their own; make it a class"),
        (Tree, "Thing.spec.children[]: the type Tree contains itself, a schema is finite; use dict[str, Any]"),
        (Unique, "Thing.spec.names: a set, whose order would differ from write to write; use Annotated[list[...]"),
        (Tagged, "Thing.spec.byName.*: a choice between types; use one class with an optional field for each"),
        (Keyed, "Thing.spec.keys: keys with a pattern; use dict[str, ...] and a Cel rule"),
        (Chosen, "Thing.spec.keys: keys of a given form; use dict[str, ...] and a Cel rule"),
        (Several, "Thing.spec.mixed: an enumeration of values of several types; use one type"),
        (Nothing, "Thing.spec.nothing: nothing but None is allowed; leave the field out"),
        (Iso, "Thing.spec.every: the API server does not know the format duration; use neptune.api.Duration"),
        (Clock, "Thing.spec.at: the API server does not know the format time; use str"),
        (Blob, "Thing.spec.data: the API server does not know the format binary; use str, or Annotated[str"),
        (Money, "Thing.spec.price: a choice between types; use one type"),
        (Halves, "Thing.spec.halves: the API server takes only whole numbers for multiple_of; use a Cel rule"),
        (Text, "Thing.spec.text: JSON inside a string; use dict[str, Any]"),
        (Keyless, "Thing.spec.ports: the items have no field number to tell them apart; name one by its JSON name"),
        (Optional, "Thing.spec.ports[].target: a key of a ListMap must be required, or have a default"),
        (Plain, "Thing.spec.names: the items of a ListMap must be objects; use ListSet"),
        (SetOfObjects, "Thing.spec.ports: the items of a ListSet must be plain values; use ListMap"),
        (Unkeyed, "Thing.spec.ports: a ListMap without a key; name the fields that tell its items apart"),
        (NoList, "Thing.spec.number: ListMap and ListSet are for lists"),
        (NoObject, "Thing.spec.number: Atomic is for lists and objects"),
        (Hosts, "Thing.spec.byName.hostName: regex parse error: (?!b) ^^^ error: look-around"),
        (default(int, "five"), "Thing.spec.ratio: the default 'five' is not of the type integer; correct one of them"),
        (default(float, True), "Thing.spec.ratio: the default True is not of the type number"),
        (default(list[str], ["a", 1]), "Thing.spec.ratio[]: the default 1 is not of the type string"),
        (default(dict[str, int], {"a": "b"}), "Thing.spec.ratio.a: the default 'b' is not of the type integer"),
        (default(Literal["a", "b"], "c"), "Thing.spec.ratio: the default 'c' is none of the values that are allowed"),
        (default(Annotated[int, Field(ge=0)], -5), "Thing.spec.ratio: the default -5 is out of the bounds"),
        (
            Function,
            "Thing.spec.call: JSON has nothing like pydantic's core_schema.CallableSchema; use a type that it has",
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_type_without_a_structural_schema_is_refused_by_the_path_of_the_field(spec: type[KubeModel], text: str) -> None:
    with pytest.raises(NotStructural) as caught:
        crd_for(kind(spec))
    assert str(caught.value).startswith(text)


def test_kind_that_contains_itself_is_refused() -> None:
    with pytest.raises(NotStructural, match=r"^Root\.children\[\]: the type Root contains itself"):
        crd_for(Root)


# A real API server


@pytest.fixture(scope="module")
def server(kubeconfig: Path) -> Kubectl:
    """Give kubectl against a server that has the CRDs of `GOOD`."""

    def run(*args: str, stdin: str | None = None) -> str:
        return kubectl(*args, kubeconfig=kubeconfig, stdin=stdin)

    crds = {"apiVersion": "v1", "kind": "List", "items": [crd_for(cls) for cls in GOOD]}
    run("apply", "--server-side", "--validate=strict", "-f", "-", stdin=json.dumps(crds))
    run("wait", "--for=condition=Established", *[f"crd/{name(cls)}" for cls in GOOD], "--timeout=30s")
    return run


def name(cls: type[Resource]) -> str:
    return f"{cls.resource.plural}.{cls.resource.group}"


def sent(server: Kubectl, namespace: str, spec: dict[str, Any], *, called: str = "rig-a") -> Rig:
    """Create or change a Rig and return it as the server has it; the raw path needs no discovery."""
    body = {"apiVersion": "schema.example.com/v1", "kind": "Rig", "metadata": {"name": called}, "spec": spec}
    path = f"/apis/schema.example.com/v1/namespaces/{namespace}/rigs"
    return Rig.from_json(server("create", "--raw", path, "-f", "-", stdin=json.dumps(body)).encode())


@pytest.mark.parametrize("cls", GOOD)
def test_the_api_server_takes_the_schema_as_it_is_and_finds_it_structural(server: Kubectl, cls: type[Resource]) -> None:
    live = json.loads(server("get", "crd", name(cls), "-o", "json"))
    assert {item["type"] for item in live["status"]["conditions"] if item["status"] == "True"} == {
        "NamesAccepted", "Established"
    }  # fmt: skip
    assert "NonStructuralSchema" not in {item["type"] for item in live["status"]["conditions"]}
    (version,) = live["spec"]["versions"]
    assert version["schema"]["openAPIV3Schema"] == without_empty(schema(cls))


def without_empty(value: Any) -> Any:
    """Return the value as Go writes it: a list of no required fields is left out."""
    if isinstance(value, dict):
        return {word: without_empty(part) for word, part in value.items() if (word, part) != ("required", [])}
    return [without_empty(part) for part in value] if isinstance(value, list) else value


def test_the_api_server_writes_the_defaults_that_python_has(server: Kubectl, namespace: str) -> None:
    stored = sent(server, namespace, {}).spec
    assert stored == RigSpec()
    assert stored.model_fields_set >= {"mode", "name", "memory", "every", "range", "flag"}


def test_every_field_survives_the_way_to_the_server_and_back(server: Kubectl, namespace: str) -> None:
    spec = RigSpec(
        mode=Mode.FAST,
        ports=[Port(port=80, target="http"), Port(port=80, protocol="UDP", target=8080)],
        tags=["a", "b"],
        nested={"a": {"b": Port(port=1)}},
        anything={"deep": [{"er": 1}]},
        every=timedelta(seconds=1.5),
        at=datetime.fromisoformat("2026-01-31T12:00:00Z"),
        memory="500m",
    )
    assert sent(server, namespace, spec.to_dict()).spec == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"range": {"low": 20}}, "low must not be above high"),
        ({"range": {"low": 3}}, "must not begin at 3"),
        ({"range": {"low": -1}}, "greater than -1"),
        ({"even": 3}, "must be even"),
        ({"positive": 0}, "greater than 0"),
        ({"mode": "slow"}, 'supported values: "fast", "safe"'),
        ({"name": "UPPER"}, "should match"),
        ({"tags": ["a", "a"]}, "Duplicate value"),
        ({"ports": [{"port": 1}, {"port": 1, "protocol": "TCP"}]}, "Duplicate value"),
        ({"whole": {"a": "", "b": "", "c": "", "d": ""}}, "must have at most 3 items"),
        ({"memory": "much"}, "should match"),
        ({"every": "1 day"}, "should match"),
        ({"link": "no link"}, "must be of type uri"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_api_server_enforces_what_the_type_says(
    server: Kubectl, namespace: str, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(KubectlError) as caught:
        sent(server, namespace, spec)
    assert message in str(caught.value)


def test_a_rule_of_the_whole_kind_sees_the_name(server: Kubectl, namespace: str) -> None:
    with pytest.raises(KubectlError, match="the name must begin with rig"):
        sent(server, namespace, {}, called="other")


def test_a_rule_about_the_past_refuses_a_change(server: Kubectl, namespace: str) -> None:
    sent(server, namespace, {"fixed": "a"})
    patch = ["patch", "rigs.schema.example.com", "rig-a", "-n", namespace, "--type=merge", "-p"]
    with pytest.raises(KubectlError, match="cannot be changed"):
        server(*patch, '{"spec":{"fixed":"b"}}')
