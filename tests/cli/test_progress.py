"""The bar: drawn by rich or in plain text on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
if {without_rich}: sys.modules["rich"] = sys.modules["rich.console"] = None
from neptune.cli.progress import progress
with progress("data.txt") as tell:
    for done in range(0, 101, 50): tell(done, 100)
print("done", file=sys.stderr)
"""


def run_on_terminal(code: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # EIO: the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    return shown.decode()


def test_without_rich_a_line_shows_the_percentage_and_goes() -> None:
    shown = run_on_terminal(CODE.format(without_rich=True))
    assert shown == "\rdata.txt   0 %\rdata.txt  50 %\rdata.txt 100 %\r\x1b[Kdone\r\n"


def test_with_rich_there_is_a_bar() -> None:
    pytest.importorskip("rich")
    shown = run_on_terminal(CODE.format(without_rich=False))
    assert "data.txt" in shown
    assert "100%" in shown


def test_a_pipe_gets_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(without_rich=True)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == ("", "done\n")
