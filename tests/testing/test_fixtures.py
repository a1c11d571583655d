"""The fixtures, as a user's own test suite takes them: in a pytest of its own, with nothing of ours beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import pytest
from typing import Annotated, ClassVar
from pydantic import Field
from neptune.api import KubeModel, Resource, ResourceType

pytest_plugins = ["neptune.testing.fixtures"]


class WidgetSpec(KubeModel):
    size: Annotated[int, Field(ge=0)] = 1


class Widget(Resource):
    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Widget", "widgets")
    spec: WidgetSpec = WidgetSpec()


@pytest.fixture(scope="session")
def crd_classes():
    return [Widget]
"""
SETTINGS = """
[pytest]
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""
TESTS = """
import os
import subprocess

import pytest
from conftest import Widget
from neptune.api import ObjectMeta
from neptune.runtime import Client, Forbidden, Invalid
from neptune.testing.rbac import Rule


def new(namespace, name="a"):
    return Widget(metadata=ObjectMeta(namespace=namespace, name=name))


@pytest.mark.asyncio
async def test_crd_is_served(client, namespace):
    assert (await client.create(new(namespace))).spec.size == 1


@pytest.mark.asyncio
async def test_namespace_is_the_tests_own(client, namespace):
    assert (await client.list(Widget, namespace)).items == []


@pytest.mark.asyncio
async def test_user_may_do_what_its_rules_say(api_user, namespace):
    reader = Client(api_user("reader", [Rule(["example.com"], ["widgets"], ["list"])]))
    assert (await reader.list(Widget, namespace)).items == []
    with pytest.raises(Forbidden):
        await reader.create(new(namespace))
    await reader.close()
    nobody = Client(api_user("nobody"))
    with pytest.raises(Forbidden):
        await nobody.list(Widget, namespace)
    await nobody.close()
    local = Client(api_user("local", [Rule(["example.com"], ["widgets"], ["list"])], namespace))
    await local.list(Widget, namespace)
    with pytest.raises(Forbidden):
        await local.list(Widget)
    await local.close()


@pytest.mark.asyncio
async def test_embedded_server_knows_the_kind(embedded_kubeconfig):
    client = Client(embedded_kubeconfig)
    created = await client.create(new("default"))
    created.spec.size = -1
    with pytest.raises(Invalid):
        await client.update(created)
    await client.close()


def test_plain_test_gets_a_kubeconfig(kubeconfig, namespace):
    assert kubeconfig.exists()
    print("kubeconfig:", kubeconfig)
"""

PARALLEL_TESTS = """
import pytest
from conftest import Widget
from neptune.api import ObjectMeta
from neptune.testing.rbac import Rule
from neptune.runtime import Client


@pytest.mark.asyncio
@pytest.mark.parametrize("number", range(6))
async def test_each_is_alone_in_its_namespace(client, kubeconfig, namespace, number, worker_id):
    await client.create(Widget(metadata=ObjectMeta(namespace=namespace, name="a")))
    assert len((await client.list(Widget, namespace)).items) == 1
    print("on", worker_id, kubeconfig)


@pytest.mark.asyncio
async def test_user(api_user, namespace):
    reader = Client(api_user("reader", [Rule(["example.com"], ["widgets"], ["list"])], namespace))
    assert (await reader.list(Widget, namespace)).items == []
    await reader.close()
"""


def suite(folder: Path, *arguments: str, tests: str = TESTS, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a user's tests in a folder of its own, with warnings as errors."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_widgets.py").write_text(tests)
    (folder / "pytest.ini").write_text(SETTINGS)
    environment = {**{name: value for name, value in os.environ.items() if name != "KUBECONFIG"}, **environ}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def served(kubeconfig: Path) -> Path:
    """Make sure that the executables are there: those tests start their own control plane with them."""
    return kubeconfig


def test_users_tests_run_against_a_control_plane_of_their_own(served: Path, tmp_path: Path) -> None:
    result = suite(tmp_path)
    assert result.returncode == 0, result.stdout
    assert "5 passed" in result.stdout
    assert str(served) not in result.stdout


def test_an_existing_cluster_is_used_where_the_environment_says_so(served: Path, tmp_path: Path) -> None:
    result = suite(tmp_path, KUBECONFIG=str(served), USE_EXISTING_CLUSTER="true")
    assert result.returncode == 0, result.stdout
    assert "4 passed, 1 skipped" in result.stdout
    assert f"kubeconfig: {served}" in result.stdout


@pytest.mark.parametrize("shared", [False, True], ids=["a control plane a worker", "an existing cluster"])
def test_a_suite_runs_in_parallel_workers(served: Path, tmp_path: Path, shared: bool) -> None:
    environ = {"KUBECONFIG": str(served), "USE_EXISTING_CLUSTER": "true"} if shared else {}
    result = suite(tmp_path, "-n", "2", "--dist", "load", tests=PARALLEL_TESTS, **environ)
    assert result.returncode == 0, result.stdout
    assert ("6 passed, 1 skipped" if shared else "7 passed") in result.stdout
    places = {line for line in result.stdout.splitlines() if line.startswith("on gw")}
    assert {place.split()[1] for place in places} == {"gw0", "gw1"}
    assert len({place.split()[2] for place in places}) == (1 if shared else 2)


def test_missing_executables_are_said_with_the_ways_to_them(tmp_path: Path) -> None:
    result = suite(
        tmp_path, "-k", "plain", PATH="/nowhere", KUBEBUILDER_ASSETS="", XDG_CACHE_HOME=str(tmp_path / "cache")
    )
    assert result.returncode == 1
    assert "set KUBEBUILDER_ASSETS" in result.stdout
    assert "USE_EXISTING_CLUSTER=true" in result.stdout


def test_without_the_line_in_conftest_nothing_of_ours_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "test_alone.py").write_text(
        "import sys\n\ndef test_alone():\n    assert not {name for name in sys.modules if name.startswith('neptune')}\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
