"""Certificates of `neptune.testing.certs` as files, which is how MQTT brokers and clients want them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neptune.testing.certs import Authority


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files: an authority, and what it signed for a server on 127.0.0.1 and for a client."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path


def write_certificates(folder: Path) -> TlsFiles:
    """Write the files of a new authority to `folder`, which is made."""
    authority = Authority(folder.name)
    server, client = authority.server(["127.0.0.1"]), authority.client("edge0")
    contents = (authority.certificate, server.certificate, server.key, client.certificate, client.key)
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    folder.mkdir(exist_ok=True)
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    return TlsFiles(*(folder / name for name in names))
