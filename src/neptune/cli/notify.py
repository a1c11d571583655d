"""Tells the service manager how the program is: ready, reloading, stopping, still alive. sd_notify(3) in Python.

Without a service manager, which is no `NOTIFY_SOCKET` in the environment, everything here does nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping

from neptune.log import get_logger


class ServiceManager:
    """The service manager that started this process, if one did."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read the addresses that sd_notify(3) and sd_watchdog_enabled(3) name."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        limit = environ.get("WATCHDOG_USEC", "") if is_ours else ""
        #: How often it has to hear of us: half of its limit, as sd_watchdog_enabled(3) advises. None when it need not.
        self.watchdog_seconds = int(limit) / 2e6 if limit.isdigit() and int(limit) else None

    def ready(self, status: str) -> None:
        """Start-up, or a reload, is complete. `status` is the line that `systemctl status` shows."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The program has begun to stop."""
        self._send("STOPPING=1")

    async def feed_watchdog(self) -> None:
        """Say that the event loop works, until cancelled: a loop that hangs feeds nothing."""
        while self.watchdog_seconds is not None:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace, which the kernel writes with a NUL (unix(7)).
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            get_logger().warning("service manager not told", message=lines[0], reason=str(error))
