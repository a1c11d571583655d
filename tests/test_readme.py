"""Every command of the README is run as it stands, and prints what the README says."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from neptune.testing.binaries import find_kubectl
from tests.support.kubectl import kubectl
from tests.support.mosquitto import Mosquitto

ROOT = Path(__file__).parents[1]
#: Ages, durations, memory and ports differ from run to run; runs of blanks follow from them.
VARIES = [(r"\b\d+(ms|s|m)\b|\b\d+ (ms|MB)", "N"), (r"\d+ m?s\b", "N"), (r" {2,}", "  ")]


def sessions() -> list[list[tuple[str, list[str]]]]:
    """Return each console block as commands with what they print."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        session: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                session.append((line[2:], []))
            else:
                session[-1][1].append(line)
        found.append(session)
    return found


def run(session: list[tuple[str, list[str]]], env: dict[str, str], log: Path) -> list[list[str]]:
    """Run the commands in one shell and return the lines that each printed."""
    mark = "-- next --"
    # A command that fails ends the shell; its programs must end with it, or reading their output would never end.
    script = "set -e\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + "".join(
        f"{command}\necho '{mark}'\n" for command, _ in session
    )
    with log.open("w") as errors:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=errors, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert shell.stdout is not None
        printed: list[list[str]] = [[]]
        for line in shell.stdout:
            if line.rstrip() == mark:
                printed.append([])
                if len(printed) > len(session):
                    break
            else:
                printed[-1].append(line.rstrip())
        shell.stdout.close()
    # The programs that the session left in the background.
    os.killpg(shell.pid, signal.SIGTERM)
    shell.wait(20)
    assert len(printed) > len(session), f"{session[len(printed) - 1][0]} failed:\n{log.read_text()}"
    return printed[: len(session)]


def normal(lines: list[str]) -> list[str]:
    for pattern, replacement in VARIES:
        lines = [re.sub(pattern, replacement, line) for line in lines]
    return lines


@pytest.fixture
def shell_env(kubeconfig: Path, start_mosquitto: Callable[..., Mosquitto]) -> dict[str, str]:
    """Give the environment of a user who has a cluster, a broker and the commands."""
    executable = find_kubectl(os.environ)
    assert executable is not None
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(executable.parent), os.environ["PATH"]]),
        "KUBECONFIG": str(kubeconfig),
        "KUBECACHEDIR": str(kubeconfig.parent / "cache"),
        "NEPTUNE_BROKER": f"mqtt://127.0.0.1:{start_mosquitto().port}",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.mark.parametrize("session", sessions(), ids=lambda session: shlex.split(session[0][0])[0])
def test_the_commands_of_the_readme_print_what_it_says(
    session: list[tuple[str, list[str]]], shell_env: dict[str, str], kubeconfig: Path, tmp_path: Path
) -> None:
    # Those of the contract tests go as well: with two kinds called dataset, kubectl may take the other one.
    crds = ("datasets.neptune.io", "models.neptune.io", "datasets.contract.neptune.io")
    kubectl("delete", "crd", *crds, "--ignore-not-found", kubeconfig=kubeconfig)
    try:
        printed = run(session, shell_env, tmp_path / "errors.log")
    finally:
        subprocess.run(["rm", "-rf", "/tmp/neptune", "/tmp/neptune-state"], check=True)
    for (command, expected), lines in zip(session, printed, strict=True):
        if expected:
            assert normal(lines) == normal(expected), command


def test_the_readme_shows_code_by_line_15() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert any(line.startswith("$ ") for line in lines[:15])
