"""What a user meets when something is wrong: a reason that says what to do, and a number once it is put right."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from neptune.testing.binaries import Binaries
from neptune.testing.envtest import ControlPlane
from tests.integration.conftest import install_crds
from tests.integration.world import World
from tests.support.kubectl import kubectl
from tests.support.mosquitto import Mosquitto


@pytest.fixture
def running(world: World) -> World:
    world.start_cloud()
    world.start_edge("edge0")
    return world


def test_a_missing_file_is_named_and_counted_when_it_appears(running: World) -> None:
    running.apply("data", running.data / "late.txt", "edge0")
    assert str(running.data / "late.txt") in running.expect_reason("data", "NotFound")["message"]
    running.write("late.txt", "1\n2\n")
    running.expect_samples("data", 2)


def test_a_deleted_file_keeps_its_number_but_not_its_readiness(running: World) -> None:
    path = running.write("data.txt", "1\n2\n")
    running.apply("data", path, "edge0")
    running.expect_samples("data", 2)
    path.unlink()
    assert running.expect_reason("data", "NotFound")["status"] == "False"
    assert running.dataset("data")["status"]["numberOfSamples"] == 2


def test_an_unreadable_file_is_named_and_counted_when_it_may_be_read(world: World) -> None:
    world.start_cloud()
    world.start_edge_without_root_powers("edge0")
    path = world.write("secret.txt", "1\n")
    path.chmod(0)
    world.apply("data", path, "edge0")
    assert str(path) in world.expect_reason("data", "PermissionDenied")["message"]
    path.chmod(0o644)
    world.expect_samples("data", 1)


def test_a_pipe_is_refused_and_a_file_in_its_place_is_counted(running: World) -> None:
    path = running.data / "thing"
    os.mkfifo(path)
    running.apply("data", path, "edge0")
    running.expect_reason("data", "NotAFile")
    path.unlink()
    running.write("thing", "1\n")
    running.expect_samples("data", 1)


def test_an_unknown_format_names_the_known_ones(running: World) -> None:
    path = running.write("data.txt", "1\n")
    running.apply("data", path, "edge0", format_="parquet")
    assert "txt" in running.expect_reason("data", "UnknownFormat")["message"]
    running.apply("data", path, "edge0")
    running.expect_samples("data", 1)


def test_a_path_outside_the_roots_names_the_flag(running: World) -> None:
    outside = running.folder / "outside.txt"
    outside.write_text("1\n")
    running.apply("direct", outside, "edge0")
    (running.data / "link.txt").symlink_to(outside)
    running.apply("linked", running.data / "link.txt", "edge0")
    for name in ("direct", "linked"):
        assert "--root" in running.expect_reason(name, "OutsideRoots")["message"]


def test_a_fifo_never_blocks_the_agent(running: World) -> None:
    os.mkfifo(running.data / "pipe")
    running.apply("pipe", running.data / "pipe", "edge0")
    running.expect_reason("pipe", "NotAFile")
    running.apply("data", running.write("data.txt", "1\n"), "edge0")
    running.expect_samples("data", 1)


def test_a_node_that_does_not_exist_is_named_with_the_command_to_run(running: World) -> None:
    path = running.write("data.txt", "1\n")
    running.apply("data", path, "edge9")
    assert "edge-agent --node edge9" in running.expect_reason("data", "WaitingForNode")["message"]
    running.start_edge("edge9")
    running.expect_samples("data", 1)


def test_a_dataset_without_a_node_says_so(running: World) -> None:
    path = running.write("data.txt", "1\n")
    running.apply("data", path, "")
    assert "spec.nodeName" in running.expect_reason("data", "NoNode")["message"]
    running.apply("data", path, "edge0")
    running.expect_samples("data", 1)


def test_a_broker_that_is_away_at_the_start_is_named_and_waited_for(world: World) -> None:
    world.broker.stop()
    world.start_cloud()
    world.start_edge("edge0")
    world.apply("data", world.write("data.txt", "1\n"), "edge0")
    for name in ("cloud-controller", "edge0"):
        line = world.expect_log(name, "broker unreachable")
        assert f"127.0.0.1:{world.broker.port}" in line
        assert "is it running" in line
    world.broker.start()
    world.expect_samples("data", 1)


def test_an_api_server_without_crds_or_away_is_named_and_waited_for(
    binaries: Binaries, start_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    with ControlPlane(binaries) as plane:
        world = World(plane.kubeconfig, "default", start_mosquitto(), tmp_path)
        try:
            plane.stop_apiserver(graceful=True)
            world.start_cloud()
            world.start_edge("edge0")
            assert plane.url in world.expect_log("cloud-controller", "unreachable")
            plane.start_apiserver()
            assert "`neptune crds` writes it" in world.expect_log(
                "cloud-controller", "does not know datasets.neptune.io"
            )
            install_crds(plane.kubeconfig)
            world.apply("data", world.write("data.txt", "1\n"), "edge0")
            world.expect_samples("data", 1)
        finally:
            world.stop()


def test_wrong_settings_end_with_code_2_and_one_line(world: World) -> None:
    broken = world.write("kubeconfig", "not: [a kubeconfig")
    cases = {
        "cloud-controller": ["--kubeconfig", str(broken)],
        "edge-agent": ["--node", "Not A Node"],
    }
    for program, flags in cases.items():
        process = world.run(program, *flags)
        assert process.returncode == 2
        assert len(process.stderr.splitlines()) == 1
        assert process.stderr.startswith(f"{program}: ")


def test_a_wrong_dataset_is_refused_with_a_readable_message(world: World) -> None:
    manifest = world.write("wrong.yaml", WRONG)
    with pytest.raises(Exception, match=r"spec\.url: Required value"):
        kubectl("apply", "-n", world.namespace, "-f", str(manifest), kubeconfig=world.kubeconfig)


def test_two_agents_of_one_name_are_told_so_and_the_one_that_stays_is_believed(running: World) -> None:
    running.apply("data", running.write("data.txt", "1\n"), "edge0")
    running.expect_samples("data", 1)
    other = running.start_second_edge("edge0")
    assert "another agent" in running.expect_log("edge0", "broker unreachable")
    running.append("data.txt", "2\n")
    running.expect_samples("data", 2)
    other.stop(seconds=10)
    running.append("data.txt", "3\n")
    running.expect_samples("data", 3)


def test_a_forged_goodbye_does_not_put_a_live_node_offline(running: World) -> None:
    running.apply("data", running.write("data.txt", "1\n"), "edge0")
    running.expect_samples("data", 1)
    far = 2**53
    for online in (True, False):
        body = {"online": online, "connection": 1}
        message = {"v": 1, "type": "presence", "event_id": "x", "timestamp": 1, "node_epoch": far, "body": body}
        running.publish("$hw/events/node/edge0/neptune/presence", json.dumps(message))
    running.append("data.txt", "2\n")
    running.expect_samples("data", 2)


def test_an_agent_that_lost_its_disk_starts_over(running: World) -> None:
    running.apply("data", running.write("data.txt", "1\n"), "edge0")
    running.expect_samples("data", 1)
    running.processes["edge0"].kill()
    shutil.rmtree(running.folder / "edge0")
    running.append("data.txt", "2\n")
    running.start_edge("edge0")
    running.expect_samples("data", 2)


WRONG = """
apiVersion: neptune.io/v1alpha1
kind: Dataset
metadata: {name: wrong}
spec: {format: txt, nodeName: edge0}
"""
