"""What a kubeconfig, or the service account of a pod, says: which server, and as whom.

Invariant: files are read and merged as client-go does it (tools/clientcmd/loader.go): of several the first that has an
entry counts, and paths are relative to the file that they stand in. What cannot be read is a ValueError or an OSError.
Neighbours: `access` asks, and has `kubernetes` log in where an entry names a plugin. The rest is read here, since
`kubernetes.config` brings requests, oauthlib and a client along: a seventh of a start's CPU, and 9 MB.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from neptune.api.meta import Json

#: Where the kubelet puts a pod's `token` and `ca.crt` (client-go, rest/config.go).
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TEXTS = (
    *("cluster", "user", "server", "tls-server-name", "proxy-url", "certificate-authority", "client-certificate"),
    *("client-key", "certificate-authority-data", "client-certificate-data", "client-key-data"),
    *("token", "tokenFile", "username", "password"),
)
#: Three long lines of base64 take the one in Python some milliseconds.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Entry:
    """A cluster and a user. Certificates and the key are PEM.

    `authority` None stands for the system's; `plugin` when the user logs in by `exec` or `auth-provider`.
    """

    server: str
    authority: bytes | None = None
    server_name: str | None = None
    verify: bool = True
    proxy: str | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    header: str | None = None
    token_file: Path | None = None
    plugin: bool = False

    def authorization(self) -> str | None:
        """Return the `Authorization` header, with the token that is in its file now.

        Raises:
            OSError: the file cannot be read.
        """
        return f"Bearer {self.token_file.read_text().strip()}" if self.token_file else self.header


def service_account() -> Entry | None:
    """Return what a pod is given by its service account; None when this is no pod.

    Raises:
        OSError: the authority cannot be read.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    token = SERVICE_ACCOUNT / "token"
    if not (host and port and token.exists()):
        return None
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Entry(server, (SERVICE_ACCOUNT / "ca.crt").read_bytes(), proxy=_proxy(server), token_file=token)


def read(paths: Iterable[Path], context: str | None = None) -> Entry:
    """Return the entry of a context, by default the current one. Files that are not there are passed over.

    Raises:
        ValueError: a file is no kubeconfig, or it lacks what the context names; the text says which.
        OSError: a file cannot be read.
    """
    kubeconfig = _Kubeconfig()
    for path in paths:
        if path.exists():
            kubeconfig.add(path)
    return kubeconfig.entry(context or kubeconfig.current)


class _Kubeconfig:
    """Several files as one."""

    def __init__(self) -> None:
        self.current = ""
        self._sections: dict[str, dict[str, tuple[Json, Path]]] = {"context": {}, "cluster": {}, "user": {}}

    def add(self, path: Path) -> None:
        """Take in what the files before did not have."""
        try:
            document = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506  # it is a safe one
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML: {error}") from error
        document = _mapping({} if document is None else document, str(path))
        _refuse_other_than_text(document, ("current-context",), str(path))
        self.current = self.current or document.get("current-context") or ""
        for kind, known in self._sections.items():
            items = document.get(f"{kind}s") or []
            if not isinstance(items, list):
                raise ValueError(f"{kind}s of {path} is not a list")  # noqa: TRY004  # a wrong file, not a wrong call
            for item in items:
                named = _mapping(item, f"an entry of {kind}s")
                what = f"{kind} {named.get('name')}"
                body = _mapping(named.get(kind) or {}, what)
                _refuse_other_than_text(body, _TEXTS, what)
                known.setdefault(str(named.get("name")), (body, path.parent))

    def entry(self, name: str) -> Entry:
        """Return what a context names; a user that is missing is nobody, as for kubectl."""
        if not name:
            raise ValueError("it has no current-context, and none was chosen")
        context, _ = self._get("context", name)
        cluster, folder = self._get("cluster", context.get("cluster") or "")
        user, user_folder = self._sections["user"].get(context.get("user") or "", ({}, folder))
        server = str(cluster.get("server") or "").rstrip("/")
        if not server:
            raise ValueError(f"cluster {context.get('cluster')} has no server")
        token_file = user.get("tokenFile")
        return Entry(
            server=server,
            authority=_pem(cluster, "certificate-authority", folder),
            server_name=cluster.get("tls-server-name"),
            verify=not cluster.get("insecure-skip-tls-verify"),
            proxy=cluster.get("proxy-url") or _proxy(server),
            certificate=_pem(user, "client-certificate", user_folder),
            key=_pem(user, "client-key", user_folder),
            header=_header(user),
            token_file=user_folder / token_file if token_file else None,
            plugin=bool(user.get("exec") or user.get("auth-provider")),
        )

    def _get(self, kind: str, name: str) -> tuple[Json, Path]:
        known = self._sections[kind]
        if name not in known:
            raise ValueError(f"it has no {kind} named {name!r}, only {', '.join(known) or 'none'}")
        return known[name]


def _mapping(value: Any, what: str) -> Json:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a mapping")  # noqa: TRY004  # a wrong file, not a wrong call
    return value


def _refuse_other_than_text(entry: Json, names: Iterable[str], what: str) -> None:
    # As kubectl, also in entries that nobody asks for.
    for name in names:
        if not isinstance(entry.get(name), str | None):
            raise ValueError(f"{name} of {what} is not a text, put it in quotes")  # noqa: TRY004  # a wrong file


def _pem(entry: Json, name: str, folder: Path) -> bytes | None:
    if data := entry.get(f"{name}-data"):
        try:
            return b64decode(data)
        except ValueError as error:
            raise ValueError(f"{name}-data is no base64: {error}") from error
    return (folder / entry[name]).read_bytes() if entry.get(name) else None


def _header(user: Json) -> str | None:
    if token := user.get("token"):
        return f"Bearer {token}"
    if "username" in user and "password" in user:
        return f"Basic {b64encode('{username}:{password}'.format(**user).encode()).decode()}"
    return None


def _proxy(server: str) -> str | None:
    """Return the proxy that the environment names for that server, as for kubectl.

    Rules: golang.org/x/net/http/httpproxy. What is on this machine is reached without one, whatever is named.
    """
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    # Here, because it takes 10 ms, and most have none.
    from urllib.request import getproxies_environment, proxy_bypass  # noqa: PLC0415

    parts = urlsplit(server)
    host = parts.hostname or ""
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme)
    named = f"{host}:{parts.port}" if parts.port else host
    if not proxy or proxy_bypass(named) or _is_near(host, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_near(host: str, networks: str) -> bool:
    """Tell whether the host is this machine, or has an address in one of the networks that are among those names."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for network in networks.split(","):
        with suppress(ValueError):
            if address in ip_network(network.strip(), strict=False):
                return True
    return address.is_loopback
