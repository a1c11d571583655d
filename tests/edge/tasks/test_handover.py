"""A task on its way to a worker and back: a real agent, real files, and the real protocol on both sides."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from neptune.edge.store import Store
from neptune.transport.broker import BrokerCore
from tests.edge.bench import NODE, Cloud, eventually, memory, running_agent, settings
from tests.edge.tasks.bench import folder, lone_task, model, part, report, said, task, waiting, work, works
from tests.support.mounts import small_mount


@pytest.fixture
async def agent(cloud: Cloud, broker: BrokerCore, tmp_path: Path) -> AsyncIterator[None]:
    async with running_agent(memory(broker, NODE), settings(tmp_path)):
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir(exist_ok=True)
    file = tmp_path / "data" / "part.txt"
    file.write_bytes(b"1\n2\n3\n")
    return file


async def handed_out(cloud: Cloud, tmp_path: Path) -> Path:
    """Hand out a task that needs nothing else; return its folder."""
    await cloud.put(lone_task())
    await eventually(lambda: "waiting for a worker" in work(cloud).message)
    return folder(tmp_path)


@pytest.mark.usefixtures("agent")
async def test_a_task_is_handed_out_once_all_that_it_names_is_there(cloud: Cloud, tmp_path: Path, data: Path) -> None:
    await cloud.put(task())
    await eventually(lambda: work(cloud).message == "waiting for model m")
    await cloud.put(model(namespace="other"), model(uid="m2", namespace="shop"))
    await eventually(lambda: work(cloud).message == "waiting for dataset part")
    assert not folder(tmp_path).exists()
    await cloud.put(part(str(data)))
    await eventually(lambda: "waiting for a worker to take" in work(cloud).message)
    assert str(folder(tmp_path)) in work(cloud).message
    assert {each.state for each in works(cloud)} == {"Pending"}
    found = said(tmp_path)
    assert found.pop("datasets")[0].items() >= {"name": "part", "url": str(data), "format": "txt"}.items()
    assert found == {
        "version": 1, "kind": "FederatedTask", "namespace": "shop", "name": "digits", "uid": "t1", "generation": 1,
        "node": NODE, "roles": ["participant"], "part": {"index": 0, "of": 3}, "work": {"parameters": {"rounds": "5"}},
        "models": [{"name": "m", "url": "s3://models/m", "format": "npz"}],
    }  # fmt: skip


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("format_", ["txt", "no-such-format"])
@pytest.mark.parametrize("url", ["{outside}", "file://{outside}", "{data}/../secret.txt", "../secret.txt", "s3://b/k"])
async def test_a_dataset_that_the_agent_may_not_open_is_not_handed_to_a_worker(
    cloud: Cloud, tmp_path: Path, data: Path, url: str, format_: str
) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("secret\n")
    found = part(url.format(outside=outside, data=data.parent))
    await cloud.put(replace(found, spec={**found.spec, "format": format_}), model(), task())
    await eventually(lambda: "dataset part is not handed out" in work(cloud).message)
    assert "--root" in work(cloud).message or "absolute path" in work(cloud).message
    assert work(cloud).state == "Pending"
    assert not folder(tmp_path).exists()


@pytest.mark.usefixtures("agent")
async def test_a_dataset_that_is_led_out_of_the_roots_is_taken_from_its_worker(
    cloud: Cloud, tmp_path: Path, data: Path
) -> None:
    await cloud.put(part(str(data)), model(), task())
    await eventually(lambda: said(tmp_path) != {})
    (tmp_path / "secret.txt").write_text("secret\n")
    data.unlink()
    data.symlink_to(tmp_path / "secret.txt")
    await eventually(lambda: "is not handed out" in work(cloud).message)
    assert said(tmp_path) == {}
    data.unlink()
    data.write_text("1\n")
    await eventually(lambda: "waiting for a worker" in work(cloud).message)
    assert said(tmp_path) != {}


async def test_an_agent_with_other_roots_takes_the_task_from_its_worker(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path, data: Path
) -> None:
    async with running_agent(memory(broker, NODE), settings(tmp_path)):
        await cloud.put(part(str(data)), model(), task())
        await eventually(lambda: said(tmp_path) != {})
    async with running_agent(memory(broker, NODE), settings(tmp_path, roots=(str(tmp_path / "other"),))):
        await eventually(lambda: "dataset part is not handed out" in work(cloud).message)
        assert said(tmp_path) == {}


@pytest.mark.usefixtures("agent")
async def test_what_a_worker_reports_reaches_the_cloud_and_leaves_the_folder(cloud: Cloud, tmp_path: Path) -> None:
    place = await handed_out(cloud, tmp_path)
    first = report(
        place, progress=40, samples=1200, metrics={"loss": 0.31}, message="round 2", time="2026-01-02T03:04:05Z"
    )
    await eventually(lambda: work(cloud).id == first)
    assert (work(cloud).state, work(cloud).progress, work(cloud).samples) == ("Running", 40, 1200)
    assert (work(cloud).metrics, work(cloud).message, work(cloud).time) == (
        {"loss": "0.31"},
        "round 2",
        "2026-01-02T03:04:05Z",
    )
    last = report(place, "Completed", metrics={"accuracy": "0.93"})
    await eventually(lambda: work(cloud).id == last)
    await eventually(lambda: waiting(place) == [])
    assert [each.id for each in works(cloud)][-2:] == [first, last]
    await cloud.delete("t1")
    await eventually(lambda: not folder(tmp_path).parent.exists())


@pytest.mark.usefixtures("agent")
async def test_a_change_of_the_model_reaches_the_worker_and_one_of_a_number_does_not(
    cloud: Cloud, tmp_path: Path, data: Path
) -> None:
    await cloud.put(part(str(data)), model(), task())
    await eventually(lambda: bool(said(tmp_path)))
    file = folder(tmp_path) / "task.json"
    before = file.stat().st_mtime_ns
    with data.open("ab") as stream:
        stream.write(b"4\n")
    await eventually(lambda: cloud.samples("d1") == 4)
    await cloud.put(lone_task(uid="t2", name="other"))
    await eventually(lambda: bool(said(tmp_path, "other")))
    assert file.stat().st_mtime_ns == before
    await cloud.put(model(generation=2, url="s3://models/m2"))
    await eventually(lambda: said(tmp_path)["models"][0]["url"] == "s3://models/m2")
    assert said(tmp_path)["datasets"][0]["samples"] == 4


@pytest.mark.usefixtures("agent")
async def test_a_model_that_goes_takes_the_task_from_the_worker(cloud: Cloud, tmp_path: Path) -> None:
    await cloud.put(model(), task(datasets=[]))
    await eventually(lambda: bool(said(tmp_path)))
    report(folder(tmp_path), message="at work")
    await eventually(lambda: work(cloud).message == "at work")
    await cloud.delete("m1")
    await eventually(lambda: work(cloud).message == "waiting for model m")
    assert not said(tmp_path)
    await cloud.put(model(uid="m2"))
    await eventually(lambda: "waiting for a worker" in work(cloud).message)
    assert said(tmp_path)


@pytest.mark.usefixtures("agent")
async def test_a_new_generation_starts_anew_and_reports_of_the_old_one_are_rejected(
    cloud: Cloud, tmp_path: Path
) -> None:
    place = await handed_out(cloud, tmp_path)
    report(place, "Completed")
    await eventually(lambda: work(cloud).state == "Completed")
    await cloud.put(lone_task(generation=2))
    await eventually(lambda: cloud.latest["t1"].observed_generation == 2)
    assert (work(cloud).state, said(tmp_path)["generation"]) == ("Pending", 2)
    late = report(place, "Failed")
    await eventually((place / "rejected" / f"{late}.json.reason").exists)
    assert "generation 1" in (place / "rejected" / f"{late}.json.reason").read_text()
    new = report(place, generation=2)
    await eventually(lambda: work(cloud).id == new)


@pytest.mark.usefixtures("agent")
async def test_a_generation_that_comes_back_finds_no_worker_that_remembers_it(cloud: Cloud, tmp_path: Path) -> None:
    await cloud.put(model(), task(generation=2, datasets=[]))
    await eventually(lambda: said(tmp_path).get("generation") == 2)
    memory = folder(tmp_path) / "what a worker keeps"
    memory.touch()
    await cloud.put(task(generation=3, datasets=[], models=["missing"]))
    await eventually(lambda: not said(tmp_path))
    assert memory.exists()
    await cloud.put(task(generation=2, datasets=[]))
    await eventually(lambda: said(tmp_path).get("generation") == 2)
    assert not memory.exists()


@pytest.mark.usefixtures("agent")
async def test_a_terminal_report_is_the_last_one(cloud: Cloud, tmp_path: Path) -> None:
    place = await handed_out(cloud, tmp_path)
    end = report(place, "Failed", message="no data")
    after = report(place, "Running")
    await eventually((place / "rejected" / f"{after}.json").exists)
    later = report(place, "Completed")
    await eventually((place / "rejected" / f"{later}.json").exists)
    assert work(cloud).id == end
    assert [each.state for each in works(cloud)].count("Failed") == 1


@pytest.mark.usefixtures("agent")
async def test_a_burst_is_told_in_few_messages_and_its_end_at_once(cloud: Cloud, tmp_path: Path) -> None:
    place = await handed_out(cloud, tmp_path)
    for number in range(10_000):
        report(place, name=f"{number:06}", progress=number // 100)
    end = report(place, "Completed", name="010000", metrics={"accuracy": 0.9})
    beats, told = 0, len(works(cloud))
    while work(cloud).id != end:
        await asyncio.sleep(0.01)
        beats += 1
        assert beats < 3000
    await eventually(lambda: waiting(place) == [])
    assert len(works(cloud)) - told < 200  # at the bench's interval of 50 ms; 1 s in use
    progress = [each.progress or 0 for each in works(cloud)[:-1]]
    assert progress == sorted(progress)


BAD = {
    "malformed": "{",
    "list": "[]",
    "nan": '{"state": "Running", "metrics": {"loss": NaN}}',
    "infinity": '{"state": "Running", "metrics": {"loss": "inf"}}',
    "state": '{"state": "Done"}',
    "pending": '{"state": "Pending"}',
    "none": "{}",
    "progress": '{"state": "Running", "progress": 101}',
    "time": '{"state": "Running", "time": "noon"}',
    "deep": "[" * 20_000,
    "large": json.dumps({"state": "Running", "metrics": {f"m{number}": "x" * 1000 for number in range(1000)}}),
}


@pytest.mark.usefixtures("agent")
async def test_what_is_no_use_is_put_aside_with_the_reason_and_disturbs_nothing(cloud: Cloud, tmp_path: Path) -> None:
    place, outside = await handed_out(cloud, tmp_path), tmp_path / "secret.json"
    outside.write_text('{"state": "Completed"}')
    with capture_logs() as logs:
        for name, text in BAD.items():
            report(place, name=name, text=text)
        reports = place / "reports"
        os.mkfifo(reports / "fifo.json")
        (reports / "link.json").symlink_to(outside)
        (reports / "folder.json").mkdir()
        (reports / "no-ending").write_text('{"state": "Running"}')
        good = report(place, name="zzz")
        await eventually(lambda: work(cloud).id == good and waiting(place) == [])
    kept = {path.name for path in (place / "rejected").iterdir()}
    names = {*(f"{name}.json" for name in (*BAD, "fifo", "link", "folder")), "no-ending"}
    assert kept == {name + ending for name in names for ending in ("", ".reason")}
    assert outside.read_text() == '{"state": "Completed"}'
    assert (place / "rejected" / "link.json").is_symlink()
    rejected = [line for line in logs if line["event"] == "reports rejected"]
    assert 0 < len(rejected) <= 2 * len(names)
    assert all(line["name"] == "digits" and line["reason"] for line in rejected)


@pytest.mark.usefixtures("agent")
async def test_of_many_rejected_reports_the_newest_are_kept(cloud: Cloud, tmp_path: Path) -> None:
    place = await handed_out(cloud, tmp_path)
    for number in range(300):
        report(place, name=f"{number:03}", text="{")
    await eventually(lambda: waiting(place) == [])
    await eventually(lambda: len(list((place / "rejected").iterdir())) == 32)
    assert (place / "rejected" / "299.json.reason").read_text().startswith("it is not JSON")


@pytest.mark.usefixtures("agent")
async def test_two_tasks_of_one_name_do_not_share_a_folder(cloud: Cloud, tmp_path: Path) -> None:
    place = await handed_out(cloud, tmp_path)
    await cloud.put(lone_task(uid="t2", kind="JointInference"))
    await eventually(lambda: "in use by the FederatedTask" in work(cloud, "t2").message)
    await cloud.delete("t1")
    await eventually(lambda: said(tmp_path).get("kind") == "JointInference")
    assert (work(cloud, "t2").state, place.is_dir()) == ("Pending", True)


@pytest.mark.parametrize(("namespace", "name"), [("shop", "../../../out"), ("..", "x"), ("shop", ".."), ("/tmp", "x")])
@pytest.mark.usefixtures("agent")
async def test_a_name_that_leads_elsewhere_makes_no_folder(
    cloud: Cloud, tmp_path: Path, namespace: str, name: str
) -> None:
    await cloud.put(lone_task(namespace=namespace, name=name))
    await eventually(lambda: "cannot be the name of a folder" in work(cloud).message)
    await cloud.delete("t1")
    await cloud.put(lone_task(uid="t2"))
    await eventually(lambda: bool(said(tmp_path)))
    assert [path.name for path in (tmp_path / "state" / "tasks").iterdir()] == ["shop"]


@pytest.mark.parametrize("order", [{"datasets": "part"}, {"part": 1}, {"work": None}, {"roles": [1]}])
@pytest.mark.usefixtures("agent")
async def test_an_order_that_makes_no_sense_is_not_handed_out(
    cloud: Cloud, tmp_path: Path, order: dict[str, Any]
) -> None:
    await cloud.put(task(**order))
    await eventually(lambda: "cannot be understood" in work(cloud).message)
    assert not folder(tmp_path).exists()


@pytest.mark.usefixtures("agent")
async def test_a_group_may_read_the_task_and_write_reports_and_others_may_not(cloud: Cloud, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        place = await handed_out(cloud, tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place.parent, place, *place.iterdir())}
    assert modes == {"shop": 0o750, "digits": 0o750, "task.json": 0o640, "reports": 0o770}
    assert stat.S_IMODE((tmp_path / "state" / "tasks").stat().st_mode) == 0o750


@pytest.mark.usefixtures("agent")
async def test_a_folder_that_somebody_removed_is_made_again(cloud: Cloud, tmp_path: Path) -> None:
    place = await handed_out(cloud, tmp_path)
    place.rename(tmp_path / "away")
    await eventually(lambda: bool(said(tmp_path)) and waiting(place) == [], seconds=30)
    good = report(place)
    await eventually(lambda: work(cloud).id == good)


async def test_reports_that_were_written_while_no_agent_ran_arrive_once_and_none_is_told_again(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    config = settings(tmp_path)
    async with running_agent(memory(broker, NODE), config):
        place = await handed_out(cloud, tmp_path)
        first = report(place)
        await eventually(lambda: work(cloud).id == first)
    report(place, progress=10)
    last = report(place, progress=20)
    async with running_agent(memory(broker, NODE), config):
        await eventually(lambda: work(cloud).id == last)
        await eventually(lambda: waiting(place) == [])
    told = len(cloud.reports)
    with capture_logs() as logs:
        async with running_agent(memory(broker, NODE), config) as agent:
            await eventually(lambda: agent.started.is_set() and agent.snapshot().last_sync is not None)
            await asyncio.sleep(0.5)  # two polls
    assert len(cloud.reports) == told, cloud.reports[told:]
    assert [line for line in logs if line["log_level"] not in ("info", "debug")] == []


async def test_after_a_restart_folders_of_tasks_that_are_gone_are_removed_and_the_rest_is_in_step(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    config = settings(tmp_path)
    async with running_agent(memory(broker, NODE), config):
        await handed_out(cloud, tmp_path)
        await cloud.put(lone_task(uid="t2", name="gone"))
        await eventually(lambda: bool(said(tmp_path, "gone")))
    folder(tmp_path, "older").mkdir()
    folder(tmp_path, "x", "elsewhere").mkdir(parents=True)
    del cloud.objects["t2"]
    cloud.objects["t1"] = lone_task(generation=2)
    async with running_agent(memory(broker, NODE), config):
        await eventually(lambda: said(tmp_path).get("generation") == 2)
        await eventually(lambda: [path.name for path in (tmp_path / "state" / "tasks").rglob("*")
                                  if path.name in ("gone", "older", "x", "elsewhere")] == [])  # fmt: skip


async def test_a_state_that_is_lost_does_not_take_unread_reports_with_it(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    config = settings(tmp_path)
    async with running_agent(memory(broker, NODE), config):
        place = await handed_out(cloud, tmp_path)
    unread = report(place, progress=50)
    (config.state_dir / "node.db").write_bytes(b"no database" * 1000)
    broker.stop()
    async with running_agent(memory(broker, NODE), config):
        await asyncio.sleep(0.3)
        assert waiting(place) == [f"{unread}.json"]
        broker.start()
        await eventually(lambda: work(cloud).id == unread)


async def test_a_full_disk_keeps_the_reports_until_the_store_has_them(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    config = settings(tmp_path)
    config.state_dir.mkdir()
    with small_mount(config.state_dir, kilobytes=512):
        async with running_agent(memory(broker, NODE), config):
            place = await handed_out(cloud, tmp_path)
            for number in range(30):
                report(place, name=f"{number}", metrics={"m": "x" * 1000})
            report(place, name="tmp")  # room for one more
            await eventually(lambda: waiting(place) == [])
            (place / "reports" / ".tmp-late").write_text('{"state": "Running", "message": "late"}')
            filler = (config.state_dir / "filler").open("wb", buffering=0)
            try:
                while filler.write(bytes(512)):
                    pass
            except OSError:
                pass
            (place / "reports" / ".tmp-late").rename(place / "reports" / "late.json")
            await eventually(lambda: work(cloud).id == "late")
            kept = waiting(place)
            filler.close()
            (config.state_dir / "filler").unlink()
            await eventually(lambda: waiting(place) == [])
        with Store(config.state_dir) as store:
            assert b"late" in json.dumps(store.load().results["t1"].to_json()).encode()
        assert kept == ["late.json"]


@pytest.mark.usefixtures("agent")
async def test_without_tasks_there_is_no_folder(cloud: Cloud, tmp_path: Path, data: Path) -> None:
    await cloud.put(part(str(data)))
    await eventually(lambda: cloud.samples("d1") == 3)
    assert not (tmp_path / "state" / "tasks").exists()
