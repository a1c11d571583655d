"""`docs/protocol.md` says what the code does: its messages are read and written, its digests are computed."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import get_args

import pytest

from neptune.protocol import cloud, codec, credentials, desired, messages, presence, status
from neptune.protocol.codec import decode, encode
from neptune.protocol.digest import DigestTree, bucket_of, object_entry, spec_hash, status_entry
from neptune.protocol.messages import ObjectsResult, StatusUpdate
from neptune.protocol.topics import DEFAULT_PREFIX, TO_CLOUD, TO_NODE, Topics
from tests.protocol.samples import object_tree, status_tree

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
EXAMPLES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
TYPES = {cls.TYPE: cls for cls in get_args(messages.Body)}


def example(type_: str) -> messages.Body:
    found = next(text for text in EXAMPLES if json.loads(text)["type"] == type_)
    return decode(found.encode())[1]


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: json.loads(text)["type"])
def test_example_is_what_the_code_reads_and_writes(text: str) -> None:
    assert json.loads(encode(*decode(text.encode()))) == json.loads(text)


def test_there_is_an_example_of_each_type() -> None:
    assert {json.loads(text)["type"] for text in EXAMPLES} == set(TYPES)
    assert all(f"`{type_}`" in TEXT for type_ in TYPES)


def test_every_topic_is_in_the_table() -> None:
    topics = Topics()
    names = [topics.cloud(), *(topics.node("N", verb) for verb in (*TO_CLOUD, *TO_NODE))]
    assert all(f"| `{name.replace(DEFAULT_PREFIX, 'P')}` |" in TEXT for name in names)


def worked_example() -> dict[str, str]:
    """Return the left and right columns of the worked example."""
    (block,) = re.findall(r"```text\n(uid 1.*?)```", TEXT, re.DOTALL)
    rows: dict[str, str] = {}
    second = ""
    for line in block.splitlines():
        name, value = re.split(r" {2,}", line)
        second = " 2" if name == "uid 2" else "" if name.startswith("digest") else second
        rows[name if name.startswith("uid") else name + second] = value
    return rows


def test_worked_example_has_the_digests_of_the_code() -> None:
    rows, trees = worked_example(), DigestTree()
    for suffix, uid in (("", rows["uid 1"]), (" 2", rows["uid 2"])):
        generation, hash_ = rows["generation, hash" + suffix].split()
        item = messages.DesiredObject("Dataset", "shop", "x", uid, int(generation), {}, hash_)
        assert rows["bucket, entry" + suffix] == f"{bucket_of(uid)} {object_entry(item)}"
        trees.put(uid, object_entry(item))
    digests = b64decode(trees.buckets() + "=")
    shown = [b64encode(digests[n * 8 : n * 8 + 8]).decode().rstrip("=") for n in (128, 197, 0)]
    assert [rows["digest of bucket 128"], rows["digest of bucket 197"], rows["digest of the others"]] == shown
    assert (rows["root of both"], rows["root of nothing"]) == (trees.root, DigestTree().root)
    sent = example("status.update")
    assert isinstance(sent, StatusUpdate)
    (report,) = sent.reports
    assert report.uid == rows["uid 1"]
    assert rows["entry of that status"] == status_entry(report)
    assert rows["root of that status"] == status_tree(report).root


def test_object_of_the_example_has_the_hash_that_our_cloud_makes() -> None:
    body = example("sync.result.objects")
    assert isinstance(body, ObjectsResult)
    (item,) = body.objects
    assert item.hash == spec_hash(item.spec)
    assert object_tree(item).entries() == {item.uid: "mDSIBqOniuzb3ODBtVDapA"}


def test_limits_of_the_document_are_those_of_the_code() -> None:
    assert (codec.MAX_MESSAGE_BYTES, codec.BATCH_BYTES) == (128 * 1024, 64 * 1024)
    assert (messages.MAX_ASKED, codec._MAX_DEPTH, codec.MAX_TEXT, messages.MAX_NUMBER) == (
        500,
        32,
        4096,
        2**53 - 1,
    )
    assert (status.WINDOW, desired.MASS_DELETE, cloud.SNAPSHOT_OBJECTS, cloud.ENTRIES_PER_PART) == (256, 10, 32, 500)
    assert (credentials.MAX_OUT, credentials.ASK_BASE_SECONDS, credentials.ASK_MAX_SECONDS) == (16, 5, 60)
    assert (presence.DEBOUNCE_SECONDS, presence.SILENCE_SECONDS, presence.MAX_NODES) == (30, 30 * 60, 100_000)
