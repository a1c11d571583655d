"""Pages of documentation as programs: their files, console sessions and snippets, run as a reader would run them.

A fenced block is one of four things:

- `console`: a session. A line that begins with `$ ` is a command, the lines below it are what it prints.
- a language and a file name (`python website.py`): a file of the reader's, beside which the sessions run.
- `python` without a file name: a snippet, the inside of an `async def`.
- `text` right after a snippet: what that prints.

Blocks of other languages are for the eye. Neighbours: `tests/test_readme.py` and `tests/test_docs.py`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import io
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: What differs from run to run: moments, ages, durations, memory, ports, names; runs of blanks follow from them.
_VARIES = [
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "T"),
    (r"\b\d+(\.\d+)?(ms|s|m)\b|\b\d+ (ms|MB|s)\b", "N"),
    (r'(?<="reconcile_id": ")[0-9a-f]+', "N"),
    (r"\btest-[0-9a-f]{10}\b", "default"),
    (r" {2,}", "  "),
]
_FENCE = re.compile(r"^```(\w*) ?(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_MARK = "-- next --"

Session = list[tuple[str, list[str]]]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it is, what its fence says, and what is in it."""

    line: int
    section: str
    language: str
    file: str
    text: str

    @property
    def session(self) -> Session:
        """The commands of a console block, each with the lines that it prints."""
        commands: Session = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        return commands


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, named by its path below the root, in order."""
    text = (ROOT / page).read_text()
    found = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        headings = _HEADING.findall(_FENCE.sub("", before))
        language, file, inside = fence.groups()
        found.append(Block(before.count("\n") + 1, headings[-1] if headings else "", language, file, inside))
    return found


def run_session(session: Session, env: dict[str, str], folder: Path, log: Path) -> list[list[str]]:
    """Run the commands in one shell and return the lines that each printed to standard output."""
    # A command that fails ends the shell; its programs must end with it, or reading their output would never end.
    script = "set -e\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + "".join(
        f"{command}\necho '{_MARK}'\n" for command, _ in session
    )
    with log.open("w") as errors:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=errors, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert shell.stdout is not None
        printed: list[list[str]] = [[]]
        for line in shell.stdout:
            if line.rstrip() == _MARK:
                printed.append([])
                if len(printed) > len(session):
                    break
            else:
                printed[-1].append(line.rstrip())
        shell.stdout.close()
    with contextlib.suppress(ProcessLookupError):  # nothing was left in the background
        os.killpg(shell.pid, signal.SIGTERM)
    shell.wait(20)
    assert len(printed) > len(session), f"{session[len(printed) - 1][0]} failed:\n{log.read_text()}"
    return printed[: len(session)]


def check_session(session: Session, env: dict[str, str], folder: Path, log: Path) -> None:
    """Run the commands, and compare what they print with what the page says where it says something."""
    printed = run_session(session, env, folder, log)
    for (command, expected), lines in zip(session, printed, strict=True):
        if expected:
            assert _normal(lines) == _normal(expected), f"{command} printed:\n" + "\n".join(lines)


async def run_snippet(block: Block, names: dict[str, Any]) -> str:
    """Carry out a snippet, which may await, with and into these names; return what it printed."""
    # Blank lines before it, so that a traceback shows the line of the page.
    code = compile("\n" * block.line + block.text, block.section, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    out = io.StringIO()
    names["print"] = functools.partial(print, file=out)  # log lines go elsewhere
    result = eval(code, names)  # noqa: S307  # our own page
    if inspect.iscoroutine(result):
        await result
    return out.getvalue()


def _normal(lines: list[str]) -> list[str]:
    for pattern, replacement in _VARIES:
        lines = [re.sub(pattern, replacement, line) for line in lines]
    return lines
