"""The two programs against a real API server and a real broker, seen through kubectl."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neptune.edge.store import stored_uids
from neptune.testing.binaries import Binaries
from neptune.testing.envtest import ControlPlane
from tests.integration.conftest import install_crds
from tests.integration.world import World
from tests.support.kubectl import kubectl
from tests.support.mosquitto import Mosquitto


def test_a_dataset_gets_its_number_and_follows_append_edit_move_and_delete(world: World) -> None:
    world.start_cloud()
    world.start_edge("edge0")
    world.start_edge("edge1")
    reviews = world.write("reviews.txt", "one\n\ntwo\nthree")

    world.apply("reviews", reviews, "edge0")
    world.expect_samples("reviews", 3)
    assert world.dataset("reviews")["status"]["updateTime"]
    assert "3" in world.kubectl("get", "dset", "reviews", "--no-headers").split()

    world.append("reviews.txt", "\nfour\nfive\n")
    world.expect_samples("reviews", 5)

    world.apply("reviews", world.write("other.txt", "x\ny\n"), "edge0")
    world.expect_samples("reviews", 2)

    world.apply("reviews", reviews, "edge1")
    world.expect_samples("reviews", 5)
    uid = world.dataset("reviews")["metadata"]["uid"]
    world.until(lambda: uid not in desired_uids(world, "edge0"), lambda: "edge0 still has the dataset")
    assert uid in desired_uids(world, "edge1")

    world.kubectl("delete", "dataset", "reviews")
    world.until(lambda: uid not in desired_uids(world, "edge1"), lambda: "edge1 still has the dataset")


def test_an_empty_file_shows_zero(world: World) -> None:
    world.start_cloud()
    world.start_edge("edge0")
    world.apply("empty", world.write("empty.txt", ""), "edge0")
    world.expect_samples("empty", 0)


@pytest.mark.parametrize("first", ["cloud", "edge", "dataset"])
def test_either_program_and_the_dataset_may_come_first(world: World, first: str) -> None:
    path = world.write("data.txt", "1\n2\n")
    steps: dict[str, Callable[[], object]] = {
        "cloud": world.start_cloud,
        "edge": lambda: world.start_edge("edge0"),
        "dataset": lambda: world.apply("data", path, "edge0"),
    }
    steps.pop(first)()
    for step in steps.values():
        step()
    world.expect_samples("data", 2)


def test_a_killed_agent_catches_up_with_data_and_spec(world: World) -> None:
    world.start_cloud()
    agent = world.start_edge("edge0")
    world.apply("grown", world.write("grown.txt", "1\n"), "edge0")
    world.apply("edited", world.write("edited.txt", "1\n"), "edge0")
    world.apply("deleted", world.write("deleted.txt", "1\n"), "edge0")
    for name in ("grown", "edited", "deleted"):
        world.expect_samples(name, 1)
    gone = world.dataset("deleted")["metadata"]["uid"]

    agent.kill()
    world.append("grown.txt", "2\n3\n")
    world.apply("edited", world.write("new.txt", "1\n2\n3\n4\n"), "edge0")
    world.kubectl("delete", "dataset", "deleted")
    world.start_edge("edge0")

    world.expect_samples("grown", 3)
    world.expect_samples("edited", 4)
    world.until(lambda: gone not in desired_uids(world, "edge0"), lambda: "the deleted dataset is still on the node")


def test_a_killed_cloud_controller_catches_up_with_data_and_spec(world: World) -> None:
    cloud = world.start_cloud()
    world.start_edge("edge0")
    world.start_edge("edge1")
    path = world.write("moved.txt", "1\n")
    world.apply("moved", path, "edge0")
    world.apply("grown", world.write("grown.txt", "1\n"), "edge0")
    world.expect_samples("moved", 1)
    world.expect_samples("grown", 1)
    uid = world.dataset("moved")["metadata"]["uid"]

    cloud.kill()
    world.append("grown.txt", "2\n")
    world.apply("moved", path, "edge1")
    world.append("moved.txt", "2\n3\n")
    world.start_cloud()

    world.expect_samples("grown", 2)
    world.expect_samples("moved", 3)
    world.until(lambda: uid not in desired_uids(world, "edge0"), lambda: "edge0 still has the dataset")


def test_a_killed_broker_loses_nothing(world: World) -> None:
    world.start_cloud()
    world.start_edge("edge0")
    world.apply("data", world.write("data.txt", "1\n"), "edge0")
    world.expect_samples("data", 1)

    world.broker.kill()
    world.append("data.txt", "2\n")
    world.apply("late", world.write("late.txt", "1\n2\n3\n"), "edge0")
    for name in ("cloud-controller", "edge0"):
        assert "127.0.0.1" in world.expect_log(name, "broker unreachable")
    world.broker.start()

    world.expect_samples("data", 2)
    world.expect_samples("late", 3)


@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
def test_a_restarted_api_server_loses_nothing(
    binaries: Binaries, start_mosquitto: Callable[..., Mosquitto], tmp_path: Path, graceful: bool
) -> None:
    with ControlPlane(binaries) as plane:
        install_crds(plane.kubeconfig)
        kubectl("create", "namespace", "restart", kubeconfig=plane.kubeconfig)
        world = World(plane.kubeconfig, "restart", start_mosquitto(), tmp_path)
        try:
            world.start_cloud()
            world.start_edge("edge0")
            world.apply("data", world.write("data.txt", "1\n"), "edge0")
            world.expect_samples("data", 1)

            plane.stop_apiserver(graceful=graceful)
            world.append("data.txt", "2\n")
            plane.start_apiserver()

            world.expect_samples("data", 2)
            world.apply("after", world.write("after.txt", "1\n2\n3\n"), "edge0")
            world.expect_samples("after", 3)
        finally:
            world.stop()


def test_sigterm_stops_both_programs_with_exit_code_0(world: World) -> None:
    cloud, agent = world.start_cloud(), world.start_edge("edge0")
    world.apply("data", world.write("data.txt", "1\n"), "edge0")
    world.expect_samples("data", 1)
    for process in (cloud, agent):
        process.stop(seconds=10)
        assert process.returncode == 0


def desired_uids(world: World, node: str) -> set[str]:
    """Return the uids that a node has stored."""
    return stored_uids(world.folder / node)
