"""Every command of the README is run as it stands, and prints what the README says."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.kubectl import kubectl
from tests.support.mosquitto import Mosquitto
from tests.support.pages import ROOT, Session, blocks, check_session

SESSIONS = [block.session for block in blocks("README.md") if block.language == "console"]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: shlex.split(session[0][0])[0])
def test_the_commands_of_the_readme_print_what_it_says(
    session: Session,
    shell_env: dict[str, str],
    start_mosquitto: Callable[..., Mosquitto],
    kubeconfig: Path,
    tmp_path: Path,
) -> None:
    # Those of the contract tests go as well: with two kinds called dataset, kubectl may take the other one.
    kinds = ("datasets", "federatedtasks", "models", "datasets.contract")
    crds = [f"{kind}.neptune.io" for kind in kinds]
    kubectl("delete", "crd", *crds, "--ignore-not-found", kubeconfig=kubeconfig)
    env = {**shell_env, "NEPTUNE_BROKER": f"mqtt://127.0.0.1:{start_mosquitto().port}"}
    try:
        check_session(session, env, ROOT, tmp_path / "errors.log")
    finally:
        subprocess.run(["rm", "-rf", "/tmp/neptune", "/tmp/neptune-state"], check=True)


def test_the_readme_shows_code_by_line_15() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert any(line.startswith("$ ") for line in lines[:15])
