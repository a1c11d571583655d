"""`neptune demo`: right numbers end it with 0, a wrong one with its name, and it leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neptune.api import Dataset, DatasetSpec, ObjectMeta
from neptune.cli.demo import Play, WrongNumber
from neptune.cli.stage import stage
from neptune.testing.processes import Process

NEPTUNE = Path(sys.executable).with_name("neptune")


def test_the_demo_shows_every_step_and_ends_with_0(tmp_path: Path) -> None:
    result = subprocess.run(
        [NEPTUNE, "demo"], env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    for number in ("10000", "10500", "10507"):
        assert f"reviews   {number} " in result.stdout
    assert "Every number was right" in result.stdout
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []


async def test_a_number_that_does_not_come_is_named_with_its_reason(tmp_path: Path) -> None:
    async with stage(tmp_path) as built:
        await built.install(Dataset)
        built.start_cloud()
        spec = DatasetSpec(url="/data.txt", format="txt", node_name="edge9")
        await built.client.create(Dataset(metadata=ObjectMeta(name="lost", namespace="default"), spec=spec))
        with pytest.raises(WrongNumber, match="dataset lost shows None samples instead of 3"):
            await Play(built, patience_seconds=1.0).expect({"lost": 3})


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_kept_demo_ends_on_a_signal_and_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    log = tmp_path / "log"
    (tmp_path / "tmp").mkdir()
    demo = Process.start(
        [NEPTUNE, "demo", "--keep"], log=log, env={"TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"}
    )
    demo.wait_until(lambda: "mosquitto_sub" in log.read_text(), seconds=60)
    (cloud,) = (tmp_path / "tmp").glob("*/cloud-controller.log")
    assert "cannot watch" not in cloud.read_text()
    demo.signal(number)
    demo.wait_until_ended(seconds=20)
    assert demo.returncode == code
    assert list((tmp_path / "tmp").iterdir()) == []
