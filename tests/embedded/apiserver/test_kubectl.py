"""The real kubectl against the embedded API server: what a user of the demo types."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from neptune.embedded.apiserver.http import EmbeddedApiServer
from neptune.testing.binaries import find_kubectl
from tests.support.contract_crd import CRD, GROUP, dataset
from tests.support.kubectl import KubectlError, kubectl

READ_SECONDS = 20.0
Run = Callable[..., Coroutine[Any, Any, str]]


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    """Give the kubeconfig of a running server; kubectl has its way of saying that it needs one."""
    server = EmbeddedApiServer()
    await server.start()
    server.write_kubeconfig(tmp_path / "kubeconfig")
    yield tmp_path / "kubeconfig"
    await server.close()


@pytest.fixture
async def run(kubeconfig: Path) -> Run:
    """Give kubectl, with the CRD applied: `await run("get", "cdset", stdin=None)` returns what it printed."""

    async def run(*args: str, stdin: Any = None) -> str:
        text = None if stdin is None else json.dumps(stdin)
        return await asyncio.to_thread(kubectl, *args, kubeconfig=kubeconfig, stdin=text)

    await run("apply", "-f", "-", stdin=CRD)
    await run("wait", "--for=condition=Established", f"crd/datasets.{GROUP}", "--timeout=10s")
    return run


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_apply_creates_configures_and_finds_nothing_to_do(run: Run) -> None:
    name = f"dataset.{GROUP}/a"
    assert await run("apply", "-f", "-", stdin=dataset("a")) == f"{name} created\n"
    assert await run("apply", "-f", "-", stdin=dataset("a")) == f"{name} unchanged\n"
    assert await run("apply", "-f", "-", stdin=dataset("a", nodeName="edge0")) == f"{name} configured\n"
    assert await run("apply", "-f", "-", stdin=dataset("a")) == f"{name} configured\n"
    assert "nodeName" not in json.loads(await run("get", "cdset", "a", "-o", "json"))["spec"]


async def test_what_get_printed_of_several_objects_can_be_applied(run: Run) -> None:
    for name in ("a", "b"):
        await run("create", "-f", "-", stdin=dataset(name))
    printed = json.loads(await run("get", "cdset", "-o", "json"))
    assert printed["kind"] == "List"
    await run("delete", "cdset", "--all")
    assert len(rows(await run("apply", "-f", "-", stdin=printed))) == 2


async def test_server_side_apply_creates_and_changes(run: Run) -> None:
    for body in (dataset("a"), dataset("a", nodeName="edge0")):
        done = await run("apply", "--server-side", "-f", "-", stdin=body)
        assert done == f"dataset.{GROUP}/a serverside-applied\n"
    found = json.loads(await run("get", "cdset", "a", "-o", "json", "--show-managed-fields"))
    assert found["spec"]["nodeName"] == "edge0"
    assert found["metadata"]["managedFields"][0]["manager"] == "kubectl"


async def test_server_side_apply_tells_conflicts(run: Run) -> None:
    await run("apply", "--server-side", "-f", "-", stdin=dataset("a"))
    theirs = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    with pytest.raises(KubectlError, match=r'failed with 1 conflict: conflict with "kubectl": \.spec\.url'):
        await run(*theirs, stdin=dataset("a", url="/b"))
    assert await run(*theirs, "--force-conflicts", stdin=dataset("a", url="/b"))


async def test_server_side_apply_takes_over_from_client_side_apply(run: Run) -> None:
    await run("apply", "-f", "-", stdin=dataset("a", nodeName="edge0"))
    await run("apply", "--server-side", "-f", "-", stdin=dataset("a", url="/b", nodeName="edge0"))
    await run("apply", "--server-side", "-f", "-", stdin=dataset("a", url="/b"))
    found = json.loads(await run("get", "cdset", "a", "-o", "json", "--show-managed-fields"))
    assert "nodeName" not in found["spec"]
    assert {each["operation"] for each in found["metadata"]["managedFields"]} == {"Apply"}


async def test_get_prints_the_columns(run: Run) -> None:
    await run("apply", "-f", "-", stdin=dataset("a", nodeName="edge0"))
    status = {"status": {"numberOfSamples": 3, "conditions": [{"type": "Ready", "status": "True"}]}}
    await run("patch", "cdset", "a", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    header, row = rows(await run("get", "datasets", "a"))
    assert header == ["NAME", "NUMBEROFSAMPLES", "NODE", "READY", "UPDATED", "SHARE", "AGE"]
    assert row[:4] == ["a", "3", "edge0", "True"]
    wide = await run("get", "contract", "-o", "wide")
    assert rows(wide)[0][-1] == "SPEC"
    assert '{"copies":1,"format":"txt","nodeName":"edge0","url":"/data/a"}' in wide
    custom = await run("get", "cdset", "-o", "custom-columns=N:.metadata.name,U:.spec.url")
    assert rows(custom) == [["N", "U"], ["a", "/data/a"]]
    assert rows(await run("get", "cdset", "-A"))[1][:2] == ["default", "a"]


async def test_get_selects(run: Run) -> None:
    await run("apply", "-f", "-", stdin=dataset("a", nodeName="edge0"))
    await run("apply", "-f", "-", stdin=dataset("b"))
    assert await run("label", "cdset", "a", "tier=front") == f"dataset.{GROUP}/a labeled\n"
    for query in (["-l", "tier=front"], ["-l", "tier in (front,back)"], ["--field-selector", "spec.nodeName=edge0"]):
        assert await run("get", "cdset", *query, "-o", "name") == f"dataset.{GROUP}/a\n"
    assert await run("get", "cdset", "-o", "name", "--chunk-size=1") == f"dataset.{GROUP}/a\ndataset.{GROUP}/b\n"


async def test_get_watch_prints_each_change(kubeconfig: Path, run: Run) -> None:
    executable = find_kubectl(os.environ)
    assert executable
    await run("apply", "-f", "-", stdin=dataset("a"))
    process = await asyncio.create_subprocess_exec(
        executable, "get", "cdset", "-w", stdout=subprocess.PIPE, env={**os.environ, "KUBECONFIG": str(kubeconfig)}
    )
    assert process.stdout
    try:
        async with asyncio.timeout(READ_SECONDS):
            assert (await process.stdout.readline()).startswith(b"NAME")
            assert (await process.stdout.readline()).split()[0] == b"a"
            await run("patch", "cdset", "a", "--type=merge", "-p", '{"spec": {"nodeName": "edge7"}}')
            assert b"edge7" in await process.stdout.readline()
    finally:
        process.terminate()
        await process.communicate()


async def test_wait_sees_conditions_and_fields_and_deletion(run: Run) -> None:
    await run("apply", "-f", "-", stdin=dataset("a"))
    condition = asyncio.create_task(run("wait", "--for=condition=Ready", "cdset/a", "--timeout=20s"))
    field = asyncio.create_task(run("wait", "--for=jsonpath={.status.numberOfSamples}=0", "cdset/a", "--timeout=20s"))
    deletion = asyncio.create_task(run("wait", "--for=delete", "cdset/a", "--timeout=20s"))
    status = {"status": {"numberOfSamples": 0, "conditions": [{"type": "Ready", "status": "True"}]}}
    await run("patch", "cdset", "a", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    assert "condition met" in await condition
    assert "condition met" in await field
    assert f'dataset.{GROUP} "a" deleted' in await run("delete", "cdset", "a")
    await deletion


async def test_explain_describes_every_field(run: Run) -> None:
    await run("get", "cdset")  # reads the discovery that explain has in its cache from before the CRD
    text = await run("explain", "cdset.spec")
    assert "KIND:       Dataset" in text
    assert "What is wanted." in text
    assert "url\t<string> -required-" in text
    assert "Where it is." in text


async def test_describe_shows_the_object_and_its_events(run: Run) -> None:
    await run("apply", "-f", "-", stdin=dataset("a"))
    uid = json.loads(await run("get", "cdset", "a", "-o", "json"))["metadata"]["uid"]
    regarding = {"kind": "Dataset", "name": "a", "namespace": "default", "uid": uid}
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "a.1", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "neptune.io/dataset",
        "reason": "Counted",
        "regarding": regarding,
        "note": "three samples",
        "type": "Normal",
    }
    await run("apply", "-f", "-", stdin=event)
    described = await run("describe", "cdset", "a")
    assert "Format:  txt" in described.replace("     ", "  ")
    assert "Counted" in described
    assert "three samples" in described
    listed = await run("get", "events")
    assert rows(listed)[0] == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert "dataset/a" in listed


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"format": "foo"}, 'The Dataset "a" is invalid: spec.format: Unsupported value: "foo": supported values: '),
        ({"foo": 1}, 'strict decoding error: unknown field "spec.foo"'),
        ({"url": None}, 'The Dataset "a" is invalid: spec.url: Required value'),
    ],
)
async def test_fault_in_a_manifest_is_explained(run: Run, spec: dict[str, Any], text: str) -> None:
    with pytest.raises(KubectlError) as caught:
        await run("apply", "-f", "-", stdin=dataset("a", **spec))
    assert text in str(caught.value)


async def test_absent_things_are_named(run: Run) -> None:
    with pytest.raises(KubectlError, match=f'Error from server \\(NotFound\\): datasets.{GROUP} "a" not found'):
        await run("get", "cdset", "a")
    with pytest.raises(KubectlError, match="the server doesn't have a resource type"):
        await run("get", "unheardof")
    with pytest.raises(KubectlError, match='namespaces "nowhere" not found'):
        await run("apply", "-n", "nowhere", "-f", "-", stdin=dataset("a"))


async def test_built_in_kinds_are_applied_and_listed(run: Run) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": {"a": "b"}}
    for body in (namespace, config, {**config, "data": {"a": "c"}}):
        await run("apply", "-f", "-", stdin=body)
    assert await run("get", "cm", "c", "-n", "n", "-o", "jsonpath={.data.a}") == "c"
    assert ["n", "Active"] in [row[:2] for row in rows(await run("get", "ns"))]
    assert rows(await run("get", "crd"))[1][0] == f"datasets.{GROUP}"
    await run("delete", "ns", "n", "--timeout=20s")
    assert "No resources" not in await run("get", "ns")
    assert await run("get", "cm", "-n", "n", "-o", "name") == ""


async def test_typed_create_makes_namespaces_and_config_maps(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\x00")
    assert await run("create", "namespace", "typed") == "namespace/typed created\n"
    made = ("create", "configmap", "c", "-n", "typed", "--from-literal=a=b", "--from-literal=c=é")
    assert await run(*made, f"--from-file={tmp_path / 'bytes'}") == "configmap/c created\n"
    found = json.loads(await run("get", "configmap", "c", "-n", "typed", "-o", "json"))
    assert (found["data"], found["binaryData"]) == ({"a": "b", "c": "é"}, {"bytes": "/wA="})


async def test_typed_create_of_another_kind_is_told_what_to_use_instead(run: Run) -> None:
    with pytest.raises(KubectlError, match="reads no protobuf of this kind, use kubectl create -f or kubectl apply -f"):
        await run("create", "secret", "generic", "s", "--from-literal=a=b")


async def test_dry_run_and_diff_change_nothing(run: Run) -> None:
    done = await run("apply", "--dry-run=server", "-f", "-", stdin=dataset("a"))
    assert done == f"dataset.{GROUP}/a created (server dry run)\n"
    assert await run("get", "cdset", "-o", "name") == ""


async def test_version_is_told(run: Run) -> None:
    assert "v1.36.0+neptune" in await run("version", "-o", "json")
