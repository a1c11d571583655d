"""A real mosquitto on loopback, with any configuration, that a test can kill and start again on its port."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from neptune.testing.processes import Process, accepts_connections, free_port

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 10.0
STOP_SECONDS = 5.0

_RELOADING = "Reloading config."

ANYBODY = "allow_anonymous true\n"


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker that somebody else runs is."""

    host: str
    port: int

    @classmethod
    def parse(cls, address: str) -> Self:
        """Read `host:port`, with or without `mqtt://`; without a port it is 1883."""
        host, _, port = address.removeprefix("mqtt://").rstrip("/").partition(":")
        return cls(host, int(port or 1883))


class Mosquitto:
    """A broker of one's own.

    Args:
        executable: path of mosquitto.
        folder: for its configuration, log and whatever files `config` names.
        config: lines of mosquitto.conf(5), put behind `listener <port> 127.0.0.1`, so that `cafile` and the
            like belong to this listener. Nothing is persisted unless they say so.
    """

    host = "127.0.0.1"

    def __init__(self, executable: Path, folder: Path, *, config: str = ANYBODY) -> None:
        self._executable = executable
        self._process: Process | None = None
        self._config = folder / "mosquitto.conf"
        self.log = folder / "mosquitto.log"
        self.port = free_port()
        # `user root`: started by root, mosquitto would become its own user, who cannot read a test's folder.
        self._config.write_text(f"user root\nlog_dest stderr\nlog_type all\nlistener {self.port} {self.host}\n{config}")

    def start(self) -> Self:
        """Start the broker and return when it accepts connections.

        Raises:
            ProcessError: it ended, over a bad configuration for instance, or did not get ready.
        """
        self._process = Process.start([self._executable, "-c", self._config], log=self.log)
        self._process.wait_until(lambda: accepts_connections(self.port), seconds=START_SECONDS)
        return self

    def kill(self) -> None:
        """End the broker as a crash does (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def stop(self) -> None:
        """End the broker properly (SIGTERM): it persists what it is configured to, and publishes wills."""
        if self._process is not None:
            self._process.stop(seconds=STOP_SECONDS)
            self._process = None

    def restart(self) -> None:
        """Stop the broker properly and start it again on the same port."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Let a running broker read its configuration and access list again (SIGHUP), and return when it has."""
        assert self._process is not None
        done = self.log.read_text().count(_RELOADING)
        self._process.signal(signal.SIGHUP)
        self._process.wait_until(lambda: self.log.read_text().count(_RELOADING) > done, seconds=START_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()
