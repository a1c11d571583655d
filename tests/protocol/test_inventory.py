from __future__ import annotations

from neptune.protocol import codec
from neptune.protocol.inventory import Inventory
from neptune.protocol.messages import DesiredObject
from tests.protocol.samples import a_report, an_object, object_tree, status_tree


def an_inventory(*objects: DesiredObject) -> Inventory:
    """Return an inventory of edge0 with these objects, each with a status."""
    found = {item.uid: item for item in objects}
    inventory = Inventory(lambda _node, uid: found.get(uid))
    for item in objects:
        inventory.put(item.uid, {"edge0": (item, a_report(item.uid))})
    return inventory


def test_digests_are_those_of_what_was_put() -> None:
    a, b = an_object("a"), an_object("b")
    inventory = an_inventory(a, b)
    assert inventory.desired("edge0").root == object_tree(a, b).root
    assert inventory.statuses("edge0").root == status_tree(a_report("a"), a_report("b")).root
    inventory.put("a", {"edge0": (a, None)})
    assert inventory.statuses("edge0").root == status_tree(a_report("b")).root
    inventory.put("b", {})
    inventory.put("never", {})
    assert inventory.desired("edge0").root == object_tree(a).root


def test_object_that_moves_is_of_one_node() -> None:
    a = an_object("a")
    inventory = an_inventory(a)
    inventory.put("a", {"edge1": (a, None)})
    assert (inventory.object("edge0", "a"), inventory.object("edge1", "a")) == (None, a)
    assert (len(inventory.desired("edge0")), len(inventory.desired("edge1"))) == (0, 1)
    assert list(inventory.nodes) == ["edge1"]


def test_object_of_several_nodes_is_what_each_should_have() -> None:
    task = {"edge0": an_object("t", url="first"), "edge1": an_object("t", url="second")}
    inventory = Inventory(lambda node, _uid: task[node])
    inventory.put("t", {node: (item, a_report("t")) for node, item in task.items()})
    assert inventory.owners("t") == ("edge0", "edge1")
    assert inventory.desired("edge1").root == object_tree(task["edge1"]).root
    inventory.put("t", {"edge1": (task["edge1"], None)})
    assert (inventory.object("edge0", "t"), inventory.object("edge1", "t")) == (None, task["edge1"])
    assert (len(inventory.desired("edge0")), len(inventory.statuses("edge1"))) == (0, 0)


def test_object_that_no_message_can_carry_is_none_of_the_node() -> None:
    small, large = an_object("a"), an_object("a", 2, url="x" * codec.BATCH_BYTES)
    inventory = an_inventory(small)
    inventory.put("a", {"edge0": (large, None)})
    assert inventory.object("edge0", "a") is None
    assert not inventory.nodes


def test_node_without_anything_has_the_root_of_nothing() -> None:
    inventory = an_inventory()
    assert inventory.desired("nobody").root == inventory.statuses("nobody").root == object_tree().root
