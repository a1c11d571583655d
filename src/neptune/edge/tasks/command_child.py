"""The process between the agent and the command of one task: limits it, keeps its output, and ends with the agent.

Flow: the arguments are folder, memory limit (MiB, 0 for none), grace (seconds) and the command. Its output goes to
`output.log`; how it ended goes to standard output, as JSON of exit code and last line.
Guarantees: when standard input ends, because the agent wants it or is no more, the command and its children get
SIGTERM, and after the grace SIGKILL, as do those that have left its session. Should this process be killed, the kernel
kills the command.
Neighbours: `command` starts it. It imports nothing of the agent, to stay small beside the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

OUTPUT = "output.log"
#: Of `output.log`; it is renamed to `output.log.1` then, which is removed.
MAX_OUTPUT_BYTES = 2**20
_NICENESS = 10
#: Of 1000: when memory is short, the kernel takes the command and not the agent (proc(5)).
_OOM_SCORE = "800"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_LINE_BYTES = 4096


class Output:
    """The command's output on disk, bounded; remembers the last line that says something."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size if path.exists() else 0
        self._tail = b""

    @property
    def last_line(self) -> str:
        lines = [line for line in self._tail.splitlines() if line.strip()]
        return lines[-1].decode(errors="replace").strip() if lines else ""

    def write(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_LINE_BYTES:]
        # A disk that is full costs the output and not the work; and so does a folder that is gone.
        with contextlib.suppress(OSError):
            if self._size + len(data) > MAX_OUTPUT_BYTES:
                self._path.replace(f"{self._path}.1")
                self._size = 0
            with self._path.open("ab") as file:
                self._size += file.write(data)


def main() -> None:
    """Run the command until it ends, or until nobody wants it any more."""
    folder, memory_mb, grace_seconds, *argv = sys.argv[1:]
    output = Output(Path(folder) / OUTPUT)
    try:
        command = _started(argv, folder, int(memory_mb))
    except (OSError, subprocess.SubprocessError) as error:
        _tell(127, f"{argv[0]} cannot be started: {error}")
        return
    try:
        _follow(command, output)
    finally:
        code = _end(command, output, float(grace_seconds))
    _tell(code, output.last_line)


def _started(argv: list[str], folder: str, memory_mb: int) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)
    # Whose parent ends becomes a child of this process, so that a daemon is found as well.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.nice(_NICENESS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_mb:
            # Not the address space: numerical libraries reserve much of it that they never use (setrlimit(2)).
            resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * 2**20, memory_mb * 2**20))
        with contextlib.suppress(OSError):  # a container may forbid it
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)

    return subprocess.Popen(  # noqa: S603  # the operator's own command
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509  # this process has one thread
    )


def _follow(command: subprocess.Popen[bytes], output: Output) -> None:
    """Keep what it says until it ends, or until the agent does not want it any more."""
    exited = os.pidfd_open(command.pid)
    pipe = _pipe(command)
    waiting = select.poll()
    for fd in (sys.stdin.fileno(), pipe, exited):
        waiting.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in waiting.poll()}
        if pipe in ready:
            data = os.read(pipe, 65_536)
            output.write(data)
            if not data:
                waiting.unregister(pipe)
        if exited in ready:
            return
        if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 4096):
            return


def _end(command: subprocess.Popen[bytes], output: Output, grace_seconds: float) -> int:
    """End the command with all its children; return how it ended."""
    _signal(command, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    pipe = _pipe(command)
    while command.poll() is None and (left := deadline - time.monotonic()) > 0:
        if select.select([pipe], [], [], min(left, 0.05))[0]:
            data = os.read(pipe, 65_536)
            output.write(data)
            if not data:
                time.sleep(0.01)
    # What is left of its group has no work any more.
    _signal(command, signal.SIGKILL)
    code = command.wait()
    _kill_children()
    while select.select([pipe], [], [], 0)[0] and (data := os.read(pipe, 65_536)):
        output.write(data)
    return code


def _kill_children() -> None:
    """Kill what has left the command's group, and what that has started."""
    while pids := _children():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN (proc(5))
        return []


def _signal(command: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(command.pid, number)


def _pipe(command: subprocess.Popen[bytes]) -> int:
    assert command.stdout is not None  # noqa: S101  # it is a pipe
    return command.stdout.fileno()


def _tell(code: int, last_line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), json.dumps([code, last_line]).encode())


if __name__ == "__main__":
    main()
