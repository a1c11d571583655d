"""Each example, run as its reader would run it, does what it says on a real API server."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from neptune.api import Dataset, DatasetSpec, Model, ObjectMeta, Resource, get_condition
from neptune.api.core import ConfigMap
from neptune.runtime import Client, NotFound
from neptune.testing.crds import install_crds
from tests.support.mosquitto import Broker

EXAMPLES = Path(__file__).parents[1] / "examples"


@asynccontextmanager
async def running(name: str, kubeconfig: Path, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an example until the test has seen enough; it must end well on SIGTERM."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / name, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), **environ},
    )  # fmt: skip
    try:
        yield program
        program.terminate()
        assert await asyncio.wait_for(program.wait(), 15) == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(20):
        while not (value := await check()):  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0.05)
    return value


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


async def dataset(client: Client, namespace: str) -> Dataset:
    spec = DatasetSpec(url="/data/a", format="txt")
    return await client.create(Dataset(metadata=ObjectMeta(namespace=namespace, name="a"), spec=spec))


def test_hello_world_has_at_most_15_lines_of_code() -> None:
    assert len([line for line in (EXAMPLES / "hello.py").read_text().splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("name", ["hello.py", "plain_def.py"])
async def test_url_s_length_comes_into_the_status(
    name: str, client: Client, with_datasets: Path, namespace: str
) -> None:
    created = await dataset(client, namespace)

    async def number() -> int | None:
        return (await client.get(Dataset, created.key)).status.number_of_samples

    async with running(name, with_datasets):
        assert await until(number) == len("/data/a")


async def test_numbers_from_outside_come_into_the_status(client: Client, with_datasets: Path, namespace: str) -> None:
    created = await dataset(client, namespace)

    async def shows_8() -> bool:
        return (await client.get(Dataset, created.key)).status.number_of_samples == 8

    async with running("external_source.py", with_datasets) as program:
        assert program.stdin is not None
        program.stdin.write(f"{created.key} 7\n{created.key} 8\n".encode())
        assert await until(shows_8)


async def test_children_follow_their_owner_and_the_finalizer_cleans_up(
    client: Client, with_datasets: Path, namespace: str, tmp_path: Path
) -> None:
    site_class: type[Resource] = module("owned_children").Site
    await install_crds(client, site_class)
    text = {"metadata": {"namespace": namespace, "name": "home"}, "spec": {"text": "hello"}}
    site = await client.create(site_class.from_dict(text))

    async def ready() -> bool:
        return '"Published"' in json.dumps((await client.get(site_class, site.key)).to_dict())

    async def restored() -> bool:
        try:
            return (await client.get(ConfigMap, site.key)).data == {"page": "hello"}
        except NotFound:
            return False

    async def gone() -> bool:
        try:
            await client.get(site_class, site.key)
        except NotFound:
            return True
        return False

    async with running("owned_children.py", with_datasets, SITES=str(tmp_path)):
        assert await until(ready)
        assert [path.read_text() for path in tmp_path.glob("*.txt")] == ["hello"]
        page = await client.get(ConfigMap, site.key)
        assert [owner.name for owner in page.metadata.owner_references] == ["home"]
        await client.delete(ConfigMap, site.key)
        assert await until(restored)
        await client.delete(site_class, site.key)
        assert await until(gone)
    assert list(tmp_path.glob("*.txt")) == []


async def test_a_program_serves_tasks_of_one_s_own_kind_and_datasets(
    client: Client, with_datasets: Path, namespace: str, mosquitto: Broker
) -> None:
    job_class: type[Resource] = module("inference_jobs").InferenceJob
    await install_crds(client, job_class, Model)
    created = await dataset(client, namespace)
    job = {"metadata": {"namespace": namespace, "name": "job"}, "spec": {"model": "m", "dataset": "a"}}
    task = await client.create(job_class.from_dict(job))

    async def says_what_it_lacks() -> bool:
        return "waiting for m, a" in json.dumps((await client.get(job_class, task.key)).to_dict())

    async def has_no_node() -> bool:
        ready = get_condition((await client.get(Dataset, created.key)).status.conditions, "Ready")
        return ready is not None and ready.reason == "NoNode"

    async with running("inference_jobs.py", with_datasets, BROKER=f"mqtt://{mosquitto.host}:{mosquitto.port}"):
        assert await until(says_what_it_lacks)
        assert await until(has_no_node)
