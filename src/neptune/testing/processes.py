"""Servers as child processes: output in a file, readiness by a probe, an end within a bound.

Invariant: a child never outlives the process that started it, however that one ends. Knows nothing of the
servers; `envtest` starts a control plane with it.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from neptune.errors import NeptuneError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Below Linux's default range for outgoing connections (net.ipv4.ip_local_port_range starts at 32768). Inside
#: that range a client that redials a stopped server can be given the server's own port, which is then taken.
PORTS = range(20000, 32768)

#: How often a probe is asked, in seconds.
PROBE_INTERVAL = 0.05

# Runs in the child before the server. The kernel then kills the server when its parent dies, even by SIGKILL,
# which runs no clean-up of ours (prctl(2), PR_SET_PDEATHSIG = 1). A program of its own because `preexec_fn`
# may deadlock beside threads. The parent may have died before prctl: its pid is compared afterwards.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ProcessError(NeptuneError):
    """A server ended too early or did not become ready; the text holds the end of its log."""


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on now.

    Raises:
        ProcessError: none is free in `PORTS`.
    """
    for port in random.sample(PORTS, k=200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ProcessError(f"no free port between {PORTS.start} and {PORTS.stop - 1} on 127.0.0.1")


def accepts_connections(port: int) -> bool:
    """Tell whether something accepts TCP connections on this loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Process:
    """A running child. It also ends with the thread that started it."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str, log: Path) -> None:
        self._popen = popen
        self.name = name
        self.log = log

    @classmethod
    def start(cls, argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None) -> Self:
        """Start `argv`, whose first item is the path of an executable, and append its output to `log`."""
        words = [os.fspath(word) for word in argv]
        shim = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [*shim, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                # Ctrl-C in the terminal reaches us only: we stop our children in the right order.
                start_new_session=True,
            )
        return cls(popen, Path(words[0]).name, log)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Return as soon as `ready()` is true.

        Raises:
            ProcessError: the process ended, or `seconds` went by and it was killed.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise ProcessError(f"{self.name} ended with {self._popen.returncode}:\n{self._log_end()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ProcessError(f"{self.name} is not ready after {seconds:g} s:\n{self._log_end()}")
            time.sleep(PROBE_INTERVAL)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._popen.send_signal(number)

    def wait_until_ended(self, *, seconds: float) -> None:
        """Wait for the end of the process.

        Raises:
            ProcessError: it still runs after `seconds`, and was killed.
        """
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ProcessError(f"{self.name} still ran after {seconds:g} s:\n{self._log_end()}") from error

    def stop(self, *, seconds: float) -> None:
        """Ask the process to end (SIGTERM) and kill it after `seconds`."""
        self._popen.terminate()
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once (SIGKILL) and reap it."""
        self._popen.kill()
        self._popen.wait()

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
