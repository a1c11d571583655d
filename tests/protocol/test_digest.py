from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.protocol import digest
from neptune.protocol.digest import DigestTree, bucket_of, object_entry, spec_hash, status_entry
from neptune.protocol.messages import ConditionReport
from tests.protocol.samples import a_report, an_object, object_tree

MANY = [an_object(f"u{number}") for number in range(2000)]


def decoded(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))


def test_trees_are_equal_whatever_the_order_and_history() -> None:
    tree = object_tree(*MANY)
    other = object_tree(*reversed(MANY), an_object("more"))
    assert tree.root != other.root
    other.remove("more")
    other.remove("never")
    assert (tree.root, tree.buckets(), len(tree)) == (other.root, other.buckets(), 2000)


def test_one_change_shows_in_one_bucket() -> None:
    tree, other = object_tree(*MANY), object_tree(*MANY)
    other.put("u7", object_entry(an_object("u7", 2)))
    assert tree.differing(other.buckets()) == (bucket_of("u7"),)
    assert "u7" in tree.entries((bucket_of("u7"),))


def test_digests_have_the_sizes_of_the_protocol() -> None:
    tree = object_tree(*MANY)
    assert len(decoded(tree.root)) == len(decoded(object_entry(MANY[0]))) == 16
    assert len(decoded(tree.buckets())) == 256 * 8


@pytest.mark.parametrize("nonsense", ["", "!", "AAAA", "A" * 2731])
def test_buckets_that_make_no_sense_differ_everywhere(nonsense: str) -> None:
    assert object_tree(*MANY).differing(nonsense) == tuple(range(256))


def test_root_is_made_as_it_is_specified() -> None:
    a, b = an_object("a"), an_object("b")
    buckets = [b""] * 256
    for item in (a, b):
        fields = "\0".join((item.uid, str(item.generation), item.hash))
        buckets[sha256(item.uid.encode()).digest()[0]] += sha256(fields.encode()).digest()[:16]
    digests = b"".join(sha256(bucket).digest()[:8] for bucket in buckets)
    assert decoded(object_tree(a, b).root) == sha256(digests).digest()[:16]


def test_change_hashes_one_bucket_and_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, hashed = object_tree(*MANY), 0
    assert tree.root
    real = digest._hashed

    def counting(data: bytes, length: int) -> bytes:
        nonlocal hashed
        hashed += 1
        return real(data, length)

    monkeypatch.setattr(digest, "_hashed", counting)
    tree.put("u7", "A" * 22)
    assert tree.root
    assert tree.buckets()
    assert tree.root
    assert hashed == 2, "the bucket and the root"


@pytest.mark.parametrize(
    "other",
    [
        replace(a_report("u"), uid="v"),
        replace(a_report("u"), observed_generation=2),
        replace(a_report("u"), number_of_samples=None),
        replace(a_report("u"), update_time=None),
        replace(a_report("u"), conditions=(ConditionReport("Ready", "True", "Counted", ""),)),
    ],
)
def test_status_differs_by_whatever_the_api_server_keeps(other: object) -> None:
    assert status_entry(a_report("u")) != status_entry(other)  # type: ignore[arg-type]  # pytest's list is of object


def test_status_does_not_differ_by_what_the_api_server_never_sees() -> None:
    ready = ConditionReport("Ready", "False", "NotFound", "x\0" + "y" * 5000)
    cut = ConditionReport("Ready", "False", "NotFound", "x\ufffd" + "y" * 4094)
    mine = replace(a_report("u", seq=3), conditions=(ready, ConditionReport("Other", "True", "", "")))
    assert status_entry(mine) == status_entry(replace(a_report("u"), conditions=(cut,)))


def test_spec_has_one_hash_whatever_the_order_of_its_fields() -> None:
    assert spec_hash({"a": 1, "b": {"c": "\u00e4", "d": 2}}) == spec_hash({"b": {"d": 2, "c": "\u00e4"}, "a": 1})
    assert spec_hash({"a": 1}) != spec_hash({"a": "1"})


@settings(deadline=None)  # the machine is shared
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, "A" * 22, "B" * 22])), max_size=30))
def test_tree_after_any_changes_equals_one_made_anew(changes: list[tuple[str, str | None]]) -> None:
    tree, contents = DigestTree(), dict[str, str]()
    for uid, entry in changes:
        if entry is None:
            tree.remove(uid)
            contents.pop(uid, None)
        else:
            tree.put(uid, entry)
            contents[uid] = entry
        assert tree.root
    fresh = DigestTree()
    for uid, entry in contents.items():
        fresh.put(uid, entry)
    assert (tree.root, tree.entries()) == (fresh.root, fresh.entries())
