"""The systemd unit: how exposed it is, whether systemd understands it, and that its settings are the agent's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from neptune.cli.edge_agent import PROGRAM, STOP_SECONDS
from tests.support.missing import missing

UNIT = Path(__file__).parents[2] / "deploy" / "edge" / "edge-agent.service"
ANALYZE = shutil.which("systemd-analyze")


def analyze(*args: str) -> subprocess.CompletedProcess[str]:
    if ANALYZE is None:
        missing("systemd-analyze comes with systemd")
    return subprocess.run([ANALYZE, *args], capture_output=True, text=True, timeout=60, check=False)


def test_the_exposure_is_below_two() -> None:
    done = analyze("security", "--offline=true", "--threshold=20", str(UNIT))
    assert done.returncode == 0, done.stdout[-400:]


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    # Of the command line systemd asks that the program is there.
    unit = tmp_path / "edge-agent.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    done = analyze("verify", "--man=no", str(unit))
    assert [line for line in done.stderr.splitlines() if "edge-agent.service" in line] == []


def test_the_environment_is_the_agents_and_the_time_to_stop_is_longer_than_its_own() -> None:
    text = UNIT.read_text()
    values, _ = PROGRAM.load([], dict(re.findall(r"(?m)^Environment=(\w+)=(.*)$", text)))
    assert values.sources["state-dir"] == "NEPTUNE_STATE_DIR"
    (seconds,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", text)
    assert int(seconds) > STOP_SECONDS
