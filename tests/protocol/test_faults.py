"""Single faults, and what each may cost: the two ends over a broker on virtual time."""

from __future__ import annotations

from copy import deepcopy

import pytest

from neptune.protocol.messages import Body, Get, GetResult, ObjectsResult, StatusUpdate, Updated
from neptune.protocol.presence import NodeState
from neptune.protocol.topics import Verb
from tests.protocol.samples import read
from tests.protocol.test_pair import assert_agreement
from tests.protocol.world import CLOUD, NODES, TOPICS, World

FEW = [f"u{number}" for number in range(5)]
MANY = [f"u{number}" for number in range(100)]
EDGE0, EDGE1 = NODES
#: A question that was asked too early, and what follows the answer.
SOON = 20.0


def a_world(uids: list[str] = FEW) -> World:
    """Return a world in peace, where these objects are edge0's."""
    world = World(1)
    world.is_faulty = False
    for uid in uids:
        world.change(uid, EDGE0)
    world.run(SOON)
    assert_agreement(world)
    return world


def later(world: World, seconds: float = SOON) -> None:
    world.run(world.now + seconds)
    assert_agreement(world)


def bodies(world: World, since: int = 0, *, node: str = EDGE0) -> list[Body]:
    """Return what was said to a node or by it, but for its presence."""
    topics = [TOPICS.node(node, verb) for verb in Verb if verb is not Verb.PRESENCE]
    return [read(message)[1] for message in world.messages[since:] if message.topic in topics]


def objects_sent(world: World, since: int, *, node: str = EDGE0) -> list[str]:
    found = bodies(world, since, node=node)
    return [item.uid for body in found if isinstance(body, (ObjectsResult, Updated)) for item in body.objects]


def test_message_that_comes_fifty_times_ends_as_one_that_comes_once() -> None:
    world = World(1, copies=(50,))
    for uid in FEW:
        world.change(uid, EDGE0)
    world.count(EDGE0, "u0")
    world.run(SOON)
    world.restart_cloud()
    world.run(2 * SOON)
    world.heal()
    later(world, 130.0)


def test_of_1500_changes_while_a_node_was_away_it_is_sent_the_last_alone() -> None:
    world = a_world(MANY)
    world.disconnect(EDGE0)
    for number in range(1500):
        world.change("u7", EDGE0, url=f"/data/{number}")
    world.run(world.now + 60)
    since = len(world.messages)
    world.connect(EDGE0)
    later(world)
    assert objects_sent(world, since) == ["u7"]
    assert world.agents[EDGE0].link.desired.records["u7"].spec["url"] == "/data/1499"


def test_reconnect_of_a_node_that_has_everything_is_a_question_and_an_answer() -> None:
    world = a_world(MANY)
    world.disconnect(EDGE0)
    world.run(world.now + 10)
    since = len(world.messages)
    world.connect(EDGE0)
    later(world)
    assert [type(body) for body in bodies(world, since)] == [Get, GetResult]


def test_new_cloud_finds_by_digests_that_nothing_is_to_be_said() -> None:
    world = a_world(MANY)
    since = len(world.messages)
    world.restart_cloud()
    later(world)
    assert not [body for body in bodies(world, since) if isinstance(body, StatusUpdate)]


def test_empty_disk_is_filled_with_the_objects_of_this_node_alone_and_everything_is_counted_again() -> None:
    world = a_world()
    world.change("other", EDGE1)
    later(world)
    world.restart_node(EDGE0, keep=False)
    assert world.agents[EDGE0].counted == {}
    later(world)
    assert set(world.agents[EDGE0].counted) == set(FEW)


@pytest.mark.parametrize("uids", [FEW, MANY], ids=["few", "many"])
def test_disk_of_yesterday_is_brought_up_to_date(uids: list[str]) -> None:
    world = a_world(uids)
    yesterday = deepcopy(world.agents[EDGE0])
    for uid in uids[:3]:
        world.change(uid, EDGE0, url="/data/new")
    world.change(uids[3], None)
    world.change("later", EDGE0)
    later(world)
    world.restart_node(EDGE0, keep=True, disk=yesterday)
    later(world)


def test_object_that_is_gone_or_moved_while_its_node_was_away_is_dropped_when_it_is_back() -> None:
    world = a_world()
    world.disconnect(EDGE0)
    world.change("u0", None)
    world.change("u1", EDGE1)
    world.change("u0-again", EDGE0)
    world.run(world.now + 10)
    world.connect(EDGE0)
    later(world)
    assert set(world.agents[EDGE0].link.desired.records) == {"u2", "u3", "u4", "u0-again"}
    assert world.api.written["u1"][0] == EDGE1


def test_status_of_an_object_that_was_deleted_meanwhile_is_settled_and_not_sent_for_ever() -> None:
    world = a_world()
    world.api.objects.pop("u0")
    since = len(world.messages)
    world.count(EDGE0, "u0")
    later(world, 300.0)
    assert len([body for body in bodies(world, since) if isinstance(body, StatusUpdate)]) == 1


def test_empty_api_server_empties_the_node_after_a_second_answer() -> None:
    world = a_world(MANY)
    world.api.objects.clear()
    world.api.written.clear()
    since = len(world.messages)
    world.restart_cloud()
    world.run(world.now + 7.5)
    later(world)
    assert len([body for body in bodies(world, since) if isinstance(body, Get)]) >= 2


def test_cloud_that_is_not_ready_costs_no_node_anything() -> None:
    world = a_world(MANY)
    had = dict(world.agents[EDGE0].link.desired.records)
    objects = dict(world.api.objects)
    world.restart_cloud()
    world.cloud.is_ready = False
    world.api.objects.clear()  # what a cache has before its first list
    for _ in range(5):
        world.disconnect(EDGE0)
        world.connect(EDGE0)
        world.run(world.now + 0.1)
    assert world.agents[EDGE0].link.desired.records == had
    world.api.objects.update(objects)
    later(world, 60.0)


@pytest.mark.parametrize("epoch", [1, 2])
def test_clock_of_the_cloud_that_went_back_costs_seconds(epoch: int) -> None:
    world = a_world()
    for _ in range(5):
        world.restart_cloud()
        later(world)
    before = world.cloud.epoch
    assert before > epoch
    world.restart_cloud(epoch=epoch)
    world.change("u0", EDGE0, url="/data/new")
    later(world)
    assert world.cloud.epoch > before


def test_deposed_cloud_that_wakes_changes_nothing_and_costs_a_question_or_two() -> None:
    world = a_world()
    world.depose_cloud()
    later(world)
    world.change("u0", EDGE0, url="/data/new")
    world.change("u1", None)
    world.change("later", EDGE0)
    later(world)
    records, since = dict(world.agents[EDGE0].link.desired.records), len(world.messages)
    world.let_the_deposed_cloud_speak()
    world.run(world.now + 0.2)
    assert world.agents[EDGE0].link.desired.records == records
    later(world)
    assert len([body for body in bodies(world, since) if isinstance(body, Get)]) <= 3


def test_connection_that_flaps_for_ten_minutes_is_one_question_each_and_never_an_absence() -> None:
    world = a_world()
    since = len(world.messages)
    for _ in range(300):
        world.disconnect(EDGE0)
        world.connect(EDGE0)
        world.run(world.now + 2)
        assert world.cloud.presence.state(EDGE0) is NodeState.ONLINE
    questions = [body for body in bodies(world, since) if isinstance(body, Get)]
    # The cloud asks after each will whether the node is there, which is worth a question of its own.
    assert 300 <= len(questions) <= 600
    later(world)


def test_both_sides_change_while_the_broker_is_gone_for_an_hour() -> None:
    world = a_world(MANY)
    for who in (CLOUD, *NODES):
        world.disconnect(who)
    for number, uid in enumerate(MANY):
        world.count(EDGE0, uid)
        world.change(uid, EDGE0 if number % 2 else EDGE1)
        world.count(EDGE0, uid)
    assert len(world.agents[EDGE0].link.outbox) <= len(MANY)
    world.run(world.now + 3600)
    world.heal()
    later(world, 60.0)
