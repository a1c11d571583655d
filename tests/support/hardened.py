"""`deploy/broker/mosquitto` with certificates of `neptune.certs`, on a port of this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neptune.certs import Authority, KeyPair
from neptune.transport.mqtt import MqttSettings, MqttTransport
from neptune.transport.retry import RetryPolicy
from tests.support.mosquitto import Mosquitto

SHIPPED = Path(__file__).parents[2] / "deploy" / "broker" / "mosquitto"
_FOLDER = "/etc/mosquitto/neptune"
_LISTENER = "listener 8883\n"


@dataclass(frozen=True, slots=True)
class Hardened:
    """The broker, its authority, and clients of it."""

    broker: Mosquitto
    authority: Authority
    folder: Path

    def settings(self, name: str, **more: Any) -> MqttSettings:
        """Return settings of a client with a certificate of that name."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if not key.exists():
            _write(self.folder, name, self.authority.client(name))
        files = {"ca_file": self.folder / "ca.crt", "cert_file": certificate, "key_file": key}
        retry = RetryPolicy(first_seconds=0.02, max_seconds=0.1)
        url = f"mqtts://127.0.0.1:{self.broker.port}"
        return MqttSettings(**{"url": url, "client_id": f"any-{name}", "retry": retry, **files, **more})

    def transport(self, name: str, **more: Any) -> MqttTransport:
        """Return a client with a certificate of that name."""
        return MqttTransport(self.settings(name, **more))


def start(start_mosquitto: Callable[..., Mosquitto], folder: Path) -> Hardened:
    """Start mosquitto on the shipped files with certificates of an authority of its own."""
    authority = Authority.create("neptune")
    (folder / "ca.crt").write_bytes(authority.certificate)
    _write(folder, "server", authority.server(["127.0.0.1", "localhost"]))
    return Hardened(start_mosquitto(config=config(folder)), authority, folder)


def config(folder: Path) -> str:
    """Return the shipped configuration for a folder with certificates, which gets the access list.

    All that changes is where the files are, and the port, which `Mosquitto` chooses.
    """
    shipped = (SHIPPED / "mosquitto.conf").read_text()
    assert shipped.count(_LISTENER) == 1
    (folder / "acl").write_text((SHIPPED / "acl").read_text())
    return shipped.replace(_LISTENER, "").replace(_FOLDER, str(folder))


def _write(folder: Path, name: str, pair: KeyPair) -> None:
    (folder / f"{name}.crt").write_bytes(pair.certificate)
    (folder / f"{name}.key").write_bytes(pair.key)
