"""`neptune certs`: a certificate authority in a folder, for those who have none.

Invariants: a private key is readable by its owner only from its first byte on; nothing is overwritten unless asked.
Neighbours: `neptune.certs` makes what is written here; `deploy/broker` uses it.
"""

from __future__ import annotations

import argparse
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from neptune.certs import Authority, KeyPair, expiry, new_root
from neptune.cli.main import DONE
from neptune.errors import NeptuneError, SettingsError
from neptune.protocol.topics import is_node_name

#: The name of the cloud controller in its certificate, to which deploy/broker gives its rights.
CLOUD = "neptune-cloud"


class CannotWrite(NeptuneError):
    """A file cannot be written or read; the text names it and the system's reason."""


def add_parser(commands: Any) -> None:
    """Add `certs` to the subcommands of `neptune`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "certs",
        help="make a certificate authority, and certificates for the broker, nodes and the cloud controller",
        description="A small certificate authority in a folder: `init` once, then `server`, `cloud` and `node NAME`.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    init = _action(actions, "init", "make the authority: ca.crt and ca.key")
    init.set_defaults(run=_init)
    server = _action(actions, "server", "make the broker's certificate: server.crt and server.key")
    server.add_argument("hosts", metavar="HOST", nargs="*", help="names and addresses that the broker is reached by")
    server.set_defaults(run=_server)
    node = _action(actions, "node", "make a node's certificate: NAME.crt and NAME.key")
    node.add_argument("name", metavar="NAME", help="the node's name in Kubernetes, which its certificate will carry")
    node.set_defaults(run=_node)
    cloud = _action(actions, "cloud", "make the cloud controller's certificate")
    cloud.add_argument("name", metavar="NAME", nargs="?", default=CLOUD, help=f"its user at the broker ({CLOUD})")
    cloud.set_defaults(run=_cloud)
    for renewable in (server, node, cloud):
        renewable.add_argument("--renew", action="store_true", help="replace the files that are there")


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.add_argument(
        "--output-dir", metavar="DIR", type=Path, default=Path("certs"), help="the authority's folder (certs)"
    )
    return parser


def _init(options: argparse.Namespace) -> int:
    folder: Path = options.output_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the folder {folder}: {error.strerror}") from error
    pair = new_root("neptune authority")
    _write(folder, "ca", pair, renew=False)
    _say(
        f"made the authority in {folder}, valid until {expiry(pair.certificate):%Y-%m-%d}",
        f"keep {folder / 'ca.key'} where no node and no broker can read it: whoever has it is any node",
        f"next: neptune certs server BROKER-HOST --output-dir {folder}",
    )
    return DONE


def _server(options: argparse.Namespace) -> int:
    hosts: list[str] = options.hosts or [socket.gethostname(), "localhost", "127.0.0.1"]
    pair = _authority(options.output_dir).server(hosts)
    _write(options.output_dir, "server", pair, renew=options.renew)
    _say(
        f"made server.crt for {', '.join(hosts)}, valid until {expiry(pair.certificate):%Y-%m-%d}",
        "next: copy ca.crt, server.crt and server.key to the broker (deploy/broker/README.md says where)",
        f"then: neptune certs cloud --output-dir {options.output_dir}, and neptune certs node NAME for each node",
    )
    return DONE


def _node(options: argparse.Namespace) -> int:
    if not is_node_name(options.name):
        raise SettingsError(
            f"{options.name!r} is no name of a Kubernetes node: lower-case letters, digits, '-' and '.'"
        )
    if options.name.startswith(CLOUD) or options.name in {"ca", "server"}:
        raise SettingsError(f"{options.name!r} is not for a node: the authority, the broker and the cloud use it")
    return _client(options, f"edge-agent --node {options.name}")


def _cloud(options: argparse.Namespace) -> int:
    if not options.name.startswith(CLOUD) or not is_node_name(options.name):
        raise SettingsError(f"{options.name!r}: begin with {CLOUD}, so that no node can be taken for the cloud")
    return _client(options, "cloud-controller")


def _client(options: argparse.Namespace, program: str) -> int:
    name, folder = options.name, options.output_dir
    pair = _authority(folder).client(name)
    _write(folder, name, pair, renew=options.renew)
    _say(
        f"made {name}.crt, valid until {expiry(pair.certificate):%Y-%m-%d}",
        f"next: copy ca.crt, {name}.crt and {name}.key to its machine, the key readable by the program only, then",
        f"{program} --broker mqtts://BROKER-HOST:8883 --ca-file ca.crt --cert-file {name}.crt --key-file {name}.key",
    )
    return DONE


def _authority(folder: Path) -> Authority:
    try:
        pair = KeyPair((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    except FileNotFoundError as error:
        raise SettingsError(
            f"there is no authority in {folder}: run `neptune certs init --output-dir {folder}` first"
        ) from error
    except OSError as error:
        raise CannotWrite(f"cannot read {error.filename}: {error.strerror}") from error
    return Authority(pair)


def _write(folder: Path, name: str, pair: KeyPair, *, renew: bool) -> None:
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    for path in (key, certificate):
        if path.exists() and not renew:
            hint = "move it away, or give another --output-dir" if name == "ca" else "to replace it, add --renew"
            raise SettingsError(f"{path} is there already and is not overwritten: {hint}")
    try:
        # Both are complete before either name changes: a program may read them at any moment.
        parts = [_part(key, pair.key, 0o600), _part(certificate, pair.certificate, 0o644)]
        for part in parts:
            part.replace(part.with_suffix(""))
    except OSError as error:
        raise CannotWrite(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _part(path: Path, content: bytes, mode: int) -> Path:
    part = path.with_name(f"{path.name}.part")
    with suppress(FileNotFoundError):
        part.unlink()  # left by a run that was killed
    # O_EXCL: neither a file that somebody can read already nor a link to elsewhere is written.
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    return part


def _say(*lines: str) -> None:
    print("\n".join(lines))
