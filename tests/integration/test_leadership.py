"""Several cloud controllers with one lease, a real API server and a real broker: one works, whatever happens to it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import yaml

from neptune.testing.processes import Process
from tests.integration.world import World

RIGHTS = Path(__file__).parents[2] / "deploy" / "cloud" / "cloud-controller.yaml"


def start(world: World, name: str, *more: str) -> Process:
    flags = ("--leader-elect", "--lease", f"{world.namespace}/cloud", "--lease-seconds", "5")
    return world.start_cloud(*flags, *more, name=name)


def entries(world: World, name: str, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in world.log(name).splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def expect_standby(world: World, name: str) -> None:
    world.expect_log(name, "standing by")
    assert "broker connected" not in world.log(name)


def test_another_takes_over_from_a_leader_that_is_stopped_or_killed_and_the_old_one_does_no_harm(world: World) -> None:
    first = start(world, "first")
    world.expect_log("first", "leading")
    world.start_edge("edge0")
    world.apply("a", world.write("a.txt", "1\n2\n"), "edge0")
    world.expect_samples("a", 2)
    second = start(world, "second")
    expect_standby(world, "second")

    first.signal(signal.SIGSTOP)
    world.append("a.txt", "3\n")
    world.expect_log("second", "leading")
    world.expect_samples("a", 3)
    world.apply("b", world.write("b.txt", "1\n"), "edge0")
    world.expect_samples("b", 1)
    before = world.dataset("a")["metadata"]["resourceVersion"]
    first.signal(signal.SIGCONT)
    first.wait_until_ended(seconds=20)
    assert first.returncode == 1, "it was not the leader any more"
    assert "LeadershipLost" in world.log("first") or "is lost" in world.log("first")
    assert world.dataset("a")["metadata"]["resourceVersion"] == before
    world.append("a.txt", "4\n")
    world.expect_samples("a", 4)

    start(world, "third")
    expect_standby(world, "third")
    second.kill()
    world.append("a.txt", "5\n")
    world.kubectl("delete", "dataset", "b")
    world.expect_log("third", "leading")
    world.expect_samples("a", 5)
    for name in ("second", "third"):
        assert not entries(world, name, "another cloud speaks")


def test_a_leader_that_ends_hands_over_at_once(world: World) -> None:
    first = start(world, "first")
    world.expect_log("first", "leading")
    start(world, "second")
    expect_standby(world, "second")
    world.start_edge("edge0")
    first.stop(seconds=10)
    assert first.returncode == 0
    world.apply("a", world.write("a.txt", "1\n2\n"), "edge0")
    world.expect_samples("a", 2)


def test_two_controllers_without_an_election_do_not_fight_over_one_name_at_the_broker(world: World) -> None:
    world.start_cloud(name="first")
    world.start_cloud(name="second")
    world.start_edge("edge0")
    world.apply("a", world.write("a.txt", "1\n2\n"), "edge0")
    world.expect_samples("a", 2)
    world.append("a.txt", "3\n")
    world.expect_samples("a", 3)
    assert not entries(world, "first", "broker unreachable")
    assert not entries(world, "second", "broker unreachable")


def as_service_account(world: World) -> Path:
    """Apply the deployed rights in the world's namespace, and return the kubeconfig of their ServiceAccount."""
    text = RIGHTS.read_text().replace("namespace: neptune-system", f"namespace: {world.namespace}")
    world.kubectl("apply", "-f", "-", stdin=text)
    config = yaml.safe_load(world.kubeconfig.read_text())
    token = world.kubectl("create", "token", "cloud-controller").strip()
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path = world.folder / "service-account.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_rights_that_are_deployed_are_enough(world: World) -> None:
    start(world, "cloud", "--kubeconfig", str(as_service_account(world)))
    world.start_edge("edge0")
    world.apply("a", world.write("a.txt", "1\n2\n"), "edge0")
    world.expect_samples("a", 2)
    assert not entries(world, "cloud", "cluster not known to nodes")
    assert "orbidden" not in world.log("cloud")
