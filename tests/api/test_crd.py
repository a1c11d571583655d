"""The manifests: what they say, that they are the proposal's and more, and that a real API server takes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from pydantic import Field

from neptune.api import (
    CrdOptions,
    Dataset,
    FederatedTask,
    KubeModel,
    ListMap,
    Model,
    NotStructural,
    Resource,
    ResourceType,
    crd_for,
)
from neptune.cli.crds import manifests
from tests.support.kubectl import KubectlError, kubectl

ROOT = Path(__file__).parents[2]
KINDS: tuple[type[Resource], ...] = (Dataset, FederatedTask, Model)
#: The columns of the proposal, word for word.
PROPOSED = {
    Dataset: [
        ("NumberOfSamples", "integer", ".status.numberOfSamples", "The number of samples in the dataset"),
        ("Node", "string", ".spec.nodeName", "The node name of the dataset"),
        ("spec", "string", ".spec", "The spec of the dataset"),
    ],
    FederatedTask: [],
    Model: [
        ("updateAGE", "date", ".status.updateTime", "The update age"),
        ("metrics", "string", ".status.metrics", "The metrics"),
    ],
}
CRDS = [f"{kind.resource.plural}.neptune.io" for kind in KINDS]
DATASET = """
apiVersion: neptune.io/v1alpha1
kind: Dataset
metadata:
  name: "dataset-examp"
spec:
  url: "/code/data"
  format: "txt"
  nodeName: "edge0"
"""
MODEL = """
apiVersion: neptune.io/v1alpha1
kind: Model
metadata:
  name: model-examp
spec:
  url: "/model/frozen.pb"
  format: pb
"""
TASK = """
apiVersion: neptune.io/v1alpha1
kind: FederatedTask
metadata:
  name: digits
spec:
  model: {name: digits}
  participants:
    - dataset: digits-0
    - dataset: digits-1
  aggregator: {nodeName: edge0}
  parameters: {rounds: "5"}
  deadlineSeconds: 600
"""
Kubectl = Callable[..., str]


def schema_of(kind: type[Resource]) -> dict[str, Any]:
    schema: dict[str, Any] = version_of(kind)["schema"]["openAPIV3Schema"]
    return schema


def version_of(kind: type[Resource]) -> dict[str, Any]:
    (version,) = crd_for(kind)["spec"]["versions"]
    assert isinstance(version, dict)
    return version


def fields_of(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        yield f"{path}.{name}", part
        yield from fields_of(part, f"{path}.{name}")
    if "items" in schema:
        yield from fields_of(schema["items"], f"{path}[]")


# What they say


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_description(kind: type[Resource]) -> None:
    assert [path for path, part in fields_of(schema_of(kind)) if not part.get("description")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_the_proposal_are_there_word_for_word(kind: type[Resource]) -> None:
    columns = [
        (column["name"], column["type"], column["jsonPath"], column["description"])
        for column in version_of(kind)["additionalPrinterColumns"]
    ]
    assert [column for column in columns if column in PROPOSED[kind]] == PROPOSED[kind]
    assert columns[: len(PROPOSED[kind][:2])] == PROPOSED[kind][:2]


@pytest.mark.parametrize(("kind", "name"), [(Dataset, "dataset"), (Model, "model"), (FederatedTask, "federatedtask")])
def test_names_scope_and_status_subresource_are_the_proposal_s(kind: type[Resource], name: str) -> None:
    manifest = crd_for(kind)
    assert manifest["metadata"] == {"name": f"{name}s.neptune.io"}
    assert (manifest["spec"]["group"], manifest["spec"]["scope"]) == ("neptune.io", "Namespaced")
    assert (manifest["spec"]["names"]["kind"], manifest["spec"]["names"]["plural"]) == (kind.__name__, f"{name}s")
    version = version_of(kind)
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert version["subresources"] == {"status": {}}


def test_fields_of_the_proposal_have_its_types() -> None:
    dataset, model = dict(fields_of(schema_of(Dataset))), dict(fields_of(schema_of(Model)))
    assert [dataset[f".spec.{name}"]["type"] for name in ("url", "format", "nodeName")] == ["string"] * 3
    assert dataset[".status.numberOfSamples"]["type"] == "integer"
    assert [kind[".status.updateTime"]["format"] for kind in (dataset, model)] == ["date-time"] * 2
    assert [model[f".status.metrics[].{name}"]["type"] for name in ("key", "value")] == ["string"] * 2
    assert dataset[".spec"]["required"] == model[".spec"]["required"] == ["url", "format"]


def test_files_in_deploy_are_what_the_types_say() -> None:
    folder = ROOT / "deploy" / "crds"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == dict(manifests())


def test_file_is_the_manifest_below_20_kb_in_readable_form() -> None:
    for kind, (_, text) in zip(KINDS, manifests(), strict=True):
        assert yaml.safe_load(text) == crd_for(kind)
        assert len(text) < 20_000
        assert "&id" not in text
        assert not any(line.endswith((" ", "\\")) for line in text.splitlines())


# Kinds of a user


class Part(KubeModel):
    """One part."""

    name: str


class GadgetSpec(KubeModel):
    """Everything that a schema can say."""

    mode: Annotated[Literal["fast", "safe"], Field(description="How.")] = "safe"
    only: Literal["one"] = "one"
    labels: dict[str, int] = Field(default_factory=dict)
    anything: dict[str, Any] = Field(default_factory=dict)
    maybe: int | None = None
    parts: Annotated[list[Part], ListMap("name")] = Field(default_factory=list)


class Gadget(Resource):
    """A gadget.

    It has a second paragraph.
    """

    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Gadget", "gadgets", namespaced=False)
    crd: ClassVar[CrdOptions] = CrdOptions(status_subresource=False)

    spec: GadgetSpec


def test_schema_of_a_kind_of_one_s_own() -> None:
    fields = dict(fields_of(schema_of(Gadget)))
    assert fields[".spec.mode"] == {
        "description": "How.", "type": "string", "enum": ["fast", "safe"], "default": "safe"
    }  # fmt: skip
    assert fields[".spec.only"]["enum"] == ["one"]
    assert fields[".spec.labels"]["additionalProperties"] == {"type": "integer"}
    assert fields[".spec.parts"]["x-kubernetes-list-map-keys"] == ["name"]
    assert fields[".spec.maybe"] == {"type": "integer"}
    assert schema_of(Gadget)["description"] == "A gadget.\n\nIt has a second paragraph."
    assert "subresources" not in version_of(Gadget)
    assert crd_for(Gadget)["spec"]["scope"] == "Cluster"


def test_mapping_of_anything_is_not_pruned() -> None:
    assert dict(fields_of(schema_of(Gadget)))[".spec.anything"] == {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }


def test_kind_of_kubernetes_itself_gets_no_crd() -> None:
    class Node(Resource):
        resource: ClassVar[ResourceType] = ResourceType("", "v1", "Node", "nodes", namespaced=False)

    with pytest.raises(NotStructural, match=r"Node\.resource: the group '' is Kubernetes' own; use a domain of yours"):
        crd_for(Node)


# A real API server


@pytest.fixture(scope="module")
def server(kubeconfig: Path) -> Kubectl:
    """Give kubectl against a server that has the CRDs of `deploy/crds`."""

    def run(*args: str, stdin: str | None = None) -> str:
        return kubectl(*args, kubeconfig=kubeconfig, stdin=stdin)

    run("apply", "-f", str(ROOT / "deploy" / "crds"))
    run("wait", "--for=condition=Established", "crd", *CRDS, "--timeout=30s")
    return run


@pytest.fixture
def run(server: Kubectl, namespace: str) -> Kubectl:
    """Give kubectl in a namespace of the test's own."""

    def in_namespace(*args: str, stdin: str | None = None) -> str:
        deadline = time.monotonic() + 20
        while True:
            try:
                return server("-n", namespace, *args, stdin=stdin)
            except KubectlError as error:
                # Discovery and OpenAPI follow a CRD within a second or two.
                lagging = any(text in str(error) for text in ("no matches for kind", "doesn't have a resource type"))
                if not lagging or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    return in_namespace


def refused(run: Kubectl, text: str) -> str:
    with pytest.raises(KubectlError) as caught:
        run("apply", "-f", "-", stdin=text)
    return str(caught.value)


@pytest.mark.parametrize("name", CRDS)
def test_crd_is_established_and_structural(server: Kubectl, name: str) -> None:
    live = yaml.safe_load(server("get", "crd", name, "-o", "yaml"))
    conditions = {item["type"]: item["status"] for item in live["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_applying_a_second_time_changes_nothing(server: Kubectl) -> None:
    folder = str(ROOT / "deploy" / "crds")
    assert server("apply", "-f", folder).count("unchanged") == len(KINDS)


def test_crd_applies_on_the_server_side_too_and_stays_the_same(server: Kubectl) -> None:
    def generations() -> str:
        return server("get", "crd", *CRDS, "-o", "jsonpath={.items[*].metadata.generation}")

    before = generations()
    server("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "deploy" / "crds"))
    assert generations() == before


def test_samples_of_the_proposal_are_accepted_and_keep_every_field(run: Kubectl) -> None:
    run("apply", "-f", "-", stdin=f"{DATASET}---{MODEL}")
    dataset = Dataset.from_json(run("get", "dataset", "dataset-examp", "-o", "json").encode())
    model = Model.from_json(run("get", "model", "model-examp", "-o", "json").encode())
    assert dataset.spec.to_dict() == {"url": "/code/data", "format": "txt", "nodeName": "edge0"}
    assert model.spec.to_dict() == {"url": "/model/frozen.pb", "format": "pb"}
    assert dataset.merge_patch() == model.merge_patch() == {}


def test_a_task_is_accepted_and_keeps_every_field(run: Kubectl) -> None:
    run("apply", "-f", "-", stdin=TASK)
    task = FederatedTask.from_json(run("get", "ft", "digits", "-o", "json").encode())
    assert task.spec.to_dict() == yaml.safe_load(TASK)["spec"]
    assert task.merge_patch() == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  model: {name: digits}\n", "", "spec.model: Required value"),
        ("model: {name: digits}", "model: {name: Digits_}", "spec.model.name in body should match"),
        ("dataset: digits-1", "dataset: digits-0", 'spec.participants[1]: Duplicate value: {"dataset":"digits-0"}'),
        ("dataset: digits-1", "data: digits-1", 'unknown field "spec.participants[1].data"'),
        (
            "    - dataset: digits-0\n    - dataset: digits-1\n",
            "".join(f"    - dataset: d{number}\n" for number in range(65)),
            "spec.participants: Too many: 65: must have at most 64 items",
        ),
        ("    - dataset: digits-0\n    - dataset: digits-1\n", "    []\n", "spec.participants in body should have at"),
        ("nodeName: edge0", 'nodeName: ""', "spec.aggregator.nodeName in body should be at least 1 chars long"),
        ('rounds: "5"', "rounds: 5", "spec.parameters.rounds in body must be of type string"),
        ('rounds: "5"', '"learning rate": "5"', "a name has 1 to 63 letters"),
        ('rounds: "5"', f'{"r" * 64}: "5"', "a name has 1 to 63 letters"),
        ("deadlineSeconds: 600", "deadlineSeconds: 0", "spec.deadlineSeconds in body should be greater than or equal"),
    ],
    ids=["no model", "name", "a dataset twice", "field", "65", "none", "node", "number", "key", "long", "deadline"],
)  # fmt: skip
def test_wrong_task_is_refused_with_a_readable_message(run: Kubectl, old: str, new: str, message: str) -> None:
    assert old in TASK
    assert message in refused(run, TASK.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('  url: "/code/data"\n', "", "spec.url: Required value"),
        ('"/code/data"', "5", 'spec.url: Invalid value: "integer": spec.url in body must be of type string'),
        ('"/code/data"', '""', "spec.url in body should be at least 1 chars long"),
        ('"edge0"', '"Edge_0"', 'spec.nodeName: Invalid value: "Edge_0": spec.nodeName in body should match'),
        ('  format: "txt"', '  format: "txt"\n  colour: red', 'unknown field "spec.colour"'),
    ],
    ids=["no url", "url is a number", "url is empty", "node name", "unknown field"],
)
def test_wrong_dataset_is_refused_with_a_readable_message(run: Kubectl, old: str, new: str, message: str) -> None:
    assert message in refused(run, DATASET.replace(old, new))


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("dataset.spec.nodeName", "The node that owns the data; its edge-agent counts the samples."),
        ("ft.spec.participants", "The parts of the work, one for each Dataset. Those on one node share a worker."),
        ("ft.status.participants.reportID", "Names the report that this row is from."),
    ],
)
def test_explain_shows_the_description_of_a_field(run: Kubectl, field: str, wanted: str) -> None:
    deadline = time.monotonic() + 20
    while wanted not in " ".join((text := run("explain", field)).split()):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)


def test_table_shows_the_columns_and_wide_the_rest(run: Kubectl) -> None:
    run("apply", "-f", "-", stdin=f"{DATASET}---{MODEL}")
    count(run, 0)
    header, row = run("get", "dset").splitlines()
    assert header.split() == ["NAME", "NUMBEROFSAMPLES", "NODE", "READY", "REASON", "UPDATED", "AGE"]
    assert row.split()[:5] == ["dataset-examp", "0", "edge0", "True", "Counted"]
    wide, wide_row = run("get", "dset", "-o", "wide").splitlines()
    assert wide.split()[7:] == ["FORMAT", "REVISION", "MESSAGE", "SPEC"]
    assert "0 samples" in wide_row
    assert '"nodeName":"edge0"' in wide_row
    model, _ = run("get", "mdl").splitlines()
    assert model.split() == ["NAME", "UPDATEAGE", "METRICS", "READY", "AGE"]
    assert "dataset-examp" in run("get", "neptune")


def test_datasets_are_selected_by_node(run: Kubectl) -> None:
    run("apply", "-f", "-", stdin=DATASET)
    run("apply", "-f", "-", stdin=DATASET.replace("dataset-examp", "other").replace("edge0", "edge1"))
    assert run("get", "dset", "--field-selector", "spec.nodeName=edge1", "-o", "name") == "dataset.neptune.io/other\n"


def test_wait_understands_conditions_and_numbers(run: Kubectl) -> None:
    run("apply", "-f", "-", stdin=DATASET)
    count(run, 128)
    run("wait", "dset/dataset-examp", "--for=condition=Ready", "--timeout=5s")
    run("wait", "dset/dataset-examp", "--for=jsonpath={.status.numberOfSamples}=128", "--timeout=5s")


def test_status_is_apart_from_the_spec(run: Kubectl) -> None:
    run("apply", "-f", "-", stdin=DATASET)
    run("patch", "dset", "dataset-examp", "--type=merge", "-p", '{"status":{"numberOfSamples":5}}')
    count(run, 1)
    dataset = Dataset.from_json(run("get", "dset", "dataset-examp", "-o", "json").encode())
    assert (dataset.status.number_of_samples, dataset.metadata.generation) == (1, 1)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("{numberOfSamples: -1}", "status.numberOfSamples: Invalid value: -1: numberOfSamples in body should be"),
        ("{updateTime: yesterday}", "updateTime in body must be of type date-time"),
        ("{conditions: [{type: Ready, status: Yes!, reason: A, lastTransitionTime: '2026-01-31T12:00:00Z'}]}",
         'Unsupported value: "Yes!": supported values: "True", "False", "Unknown"'),
    ],
    ids=["negative number", "no time", "no status of a condition"],
)  # fmt: skip
def test_wrong_status_is_refused_with_a_readable_message(run: Kubectl, status: str, message: str) -> None:
    run("apply", "-f", "-", stdin=DATASET)
    with pytest.raises(KubectlError) as caught:
        write_status(run, f"status: {status}")
    assert message in str(caught.value)


def count(run: Kubectl, samples: int) -> None:
    """Write the status that the controller would write."""
    dataset = Dataset.from_json(run("get", "dset", "dataset-examp", "-o", "json").encode())
    dataset.status.number_of_samples = samples
    status = dataset.merge_patch()["status"]
    status["conditions"] = [
        {
            "type": "Ready", "status": "True", "reason": "Counted", "message": f"{samples} samples",
            "lastTransitionTime": "2026-01-31T12:00:00Z", "observedGeneration": 1,
        }
    ]  # fmt: skip
    write_status(run, yaml.safe_dump({"status": status}))


def write_status(run: Kubectl, patch: str) -> None:
    run("patch", "dset", "dataset-examp", "--subresource=status", "--type=merge", "-p", patch)
