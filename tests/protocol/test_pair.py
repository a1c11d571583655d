"""Both ends together: whatever the broker does meanwhile, cloud and nodes agree once the faults have stopped."""

from __future__ import annotations

import pytest

from neptune.protocol import cloud, desired, sync
from neptune.protocol.presence import NodeState
from neptune.protocol.turns import RESYNC_SECONDS
from tests.protocol.world import CLOUD, NODES, World

UIDS = [f"u{number}" for number in range(12)]
#: The longest wait for a question that was lost, and for a status after it.
REPEAT_SECONDS = 130.0
#: Without any hint the next synchronisation heals.
BOUND_SECONDS = 1.1 * RESYNC_SECONDS + REPEAT_SECONDS


def one_fault_or_change(world: World, *, keep_epoch: bool) -> None:
    """Do one thing that happens in real life."""
    rng = world.rng
    name, uid = rng.choice(NODES), rng.choice(UIDS)
    # Some objects are so large that an answer has several parts.
    url = "/data" + "x" * rng.choice((0, 0, 25_000))
    match rng.randrange(20):
        case 0 | 1 | 2 | 3 | 4:
            world.change(uid, name, url=url)
        case 5 | 6:
            world.change(uid, None)
        case 7 | 8 | 9:
            world.count(name, uid)
        case 10:
            world.restart_cloud(keep_epoch=keep_epoch and rng.random() < 0.5)
        case 11:
            world.restart_node(name, keep=True)
        case 12:
            world.restart_node(name, keep=False)
        case 13 | 14:
            world.disconnect(rng.choice((name, CLOUD)))
        case 15:
            world.heal()
            world.is_faulty = True
        case _:
            one_rare_fault(world, keep_epoch=keep_epoch)


def one_rare_fault(world: World, *, keep_epoch: bool) -> None:
    """Do one thing that happens to few."""
    match world.rng.randrange(4):
        case 0:
            world.back_up()
        case 1:
            world.restore()
        case 2 if not keep_epoch:
            world.depose_cloud()
        case 3:
            world.let_the_deposed_cloud_speak()


def assert_agreement(world: World) -> None:
    for name, agent in world.agents.items():
        assert agent.link.desired.records == {item.uid: item for item in world.api.of(name)}
        assert len(agent.link.outbox) == 0
        assert set(agent.counted) == set(agent.link.desired.records)
        assert world.written_by(name) == agent.counted
        assert world.cloud.presence.state(name) is NodeState.ONLINE


def faults_then_peace(world: World, seconds: float, *, keep_epoch: bool) -> None:
    for _ in range(60):
        one_fault_or_change(world, keep_epoch=keep_epoch)
        world.run(world.now + world.rng.choice((0.0, 0.5, 3.0)) * world.rng.random())
    world.heal()
    world.run(world.now + seconds / 2)
    world.let_the_deposed_cloud_speak()
    world.run(world.now + seconds / 2)
    assert_agreement(world)


@pytest.fixture(params=["few objects", "many objects"], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a dozen objects many, so that buckets, entries and groups are asked for, in several parts."""
    if request.param == "many objects":
        monkeypatch.setattr(cloud, "SNAPSHOT_OBJECTS", 0)
        monkeypatch.setattr(cloud, "ENTRIES_PER_PART", 2)
        monkeypatch.setattr(sync, "MAX_ASKED", 2)
        monkeypatch.setattr(desired, "MASS_DELETE", 1)


@pytest.mark.parametrize("seed", range(100))
def test_cloud_and_nodes_agree_after_messages_were_lost(seed: int) -> None:
    faults_then_peace(World(seed, copies=(0, 1, 1, 1, 2)), BOUND_SECONDS, keep_epoch=True)


@pytest.mark.parametrize("seed", range(100))
def test_what_only_a_connection_lost_is_healed_without_waiting_for_the_next_synchronisation(seed: int) -> None:
    faults_then_peace(World(seed, copies=(1, 1, 2)), REPEAT_SECONDS, keep_epoch=False)


def test_agreement_is_quiet() -> None:
    world = World(1)
    world.is_faulty = False
    for uid in UIDS:
        world.change(uid, NODES[0])
    world.run(60.0)
    assert_agreement(world)
    sent_before = len(world.messages)
    world.run(60.0 + 0.9 * RESYNC_SECONDS)
    assert len(world.messages) - sent_before <= 2 * len(NODES), "a question and an answer for each node"


def test_without_faults_a_change_travels_down_and_up_within_seconds() -> None:
    world = World(2)
    world.is_faulty = False
    world.run(5.0)
    world.change("u0", NODES[0])
    world.run(8.0)
    assert_agreement(world)
    world.change("u0", NODES[1])
    world.run(11.0)
    assert_agreement(world)
