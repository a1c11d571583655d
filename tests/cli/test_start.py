"""The first and the last moment of each program: Ctrl-C while it loads, and output that nobody takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_neptune import SCRIPT

PROGRAMS = ("neptune", "edge-agent", "cloud-controller")
#: Sends this process a SIGINT when the named module is looked for, as an impatient person would.
INTERRUPTED = """
import os, signal, sys
_, program, module = sys.argv

class Impatient:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
from neptune.cli import start
sys.argv[1:] = ["--help"]
getattr(start, program)()
"""


def run(*args: str, to: str = "", **environ: str) -> tuple[int, str]:
    """Run a program, with a redirection such as `> /dev/full`, and return its exit code and what it says of errors."""
    command = f"{SCRIPT.parent}/{' '.join(args)} {to}"
    environment = {**os.environ, **environ}
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    return result.returncode, result.stderr


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("at", ["own module", "asyncio"])
def test_ctrl_c_while_modules_load_ends_quietly_with_130(program: str, at: str) -> None:
    name = program.replace("-", "_")
    module = f"neptune.cli.{name}" if at == "own module" else at
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, name, module], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "command",
    ["neptune crds", "neptune --help", "edge-agent config", "edge-agent --version", "cloud-controller config"],
)
def test_output_that_cannot_be_written_is_one_line_and_exit_code_1(command: str, unbuffered: str) -> None:
    program = command.split(maxsplit=1)[0]
    for where, reason in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        code, errors = run(command, to=where, PYTHONUNBUFFERED=unbuffered)
        assert (code, errors) == (1, f"{program}: cannot write to standard output: {reason}\n")


@pytest.mark.parametrize("command", ["neptune crds", "neptune --help", "edge-agent config"])
def test_a_reader_that_leaves_early_is_no_error_to_speak_of(command: str) -> None:
    assert run(command, to="| true")[1] == ""


def test_what_a_program_has_to_say_is_said_whatever_becomes_of_its_output() -> None:
    code, errors = run("neptune", "rbac", "nowhere", to=">&-")
    assert code == 2
    assert errors.startswith("neptune: cannot import nowhere")


def test_results_reach_a_file_whole(tmp_path: Path) -> None:
    code, _ = run("neptune", "crds", to=f"> {tmp_path / 'crds.yaml'}")
    assert code == 0
    assert (tmp_path / "crds.yaml").read_text().count("\nkind: CustomResourceDefinition\n") == 3
