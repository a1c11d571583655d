"""How to reach the API server and prove who we are: the only door to `kubernetes`.

Invariant: what a kubeconfig, a pod's service account or an exec plugin says is taken as kubectl would take it, and what
cannot be used is a SettingsError that names the file and the remedy.
Neighbours: `kubeconfig` reads the files, `http` calls this in a thread, and again when the credentials stop working.
Log-ins by plugin (`exec`, `auth-provider`) are those of `kubernetes.config`: they are the part that users must be able
to trust. It is loaded for them alone, and nothing above it: its models and informer cost more than they give.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neptune.errors import SettingsError
from neptune.runtime import kubeconfig as files
from neptune.runtime.errors import ApiUnreachable


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server: its address, TLS, proxy, and where the `Authorization` header comes from.

    `authorization` may block: it reads files and runs plugins. `anonymous` when there are no credentials at all.
    """

    url: str
    tls: ssl.SSLContext | bool
    server_hostname: str | None
    proxy: str | None
    authorization: Callable[[], str | None]
    anonymous: bool


def load_access(kubeconfig: str | os.PathLike[str] | None = None, context: str | None = None) -> Access:
    """Read the configuration as kubectl would. Blocks: it reads files and may run an exec plugin.

    Searched in this order: `kubeconfig`, the variable KUBECONFIG, the service account of a pod, `~/.kube/config`.

    Raises:
        SettingsError: nothing was found or it cannot be used; the text names the file and the remedy.
    """
    source = str(kubeconfig or os.environ.get("KUBECONFIG", ""))
    name = "the service account of this pod"
    try:
        entry = None if source else files.service_account()
        if entry is None:
            source = str(Path(source or "~/.kube/config").expanduser())
            name = f"kubeconfig {source}"
            entry = files.read(_paths(source), context)
        authorization: Callable[[], str | None] = entry.authorization
        if entry.plugin:
            entry, authorization = _logged_in(entry, source, context)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{name} cannot be used: {error}. Compare it with `kubectl config view`; "
            "choose a context with `kubectl config use-context NAME` or the context option"
        ) from error
    return Access(
        url=entry.server,
        tls=_tls(entry, name),
        server_hostname=entry.server_name,
        proxy=entry.proxy,
        authorization=lambda: _authorization(entry.server, authorization),
        anonymous=not (entry.certificate or entry.header or entry.token_file),
    )


def _paths(source: str) -> list[Path]:
    paths = [Path(part).expanduser() for part in source.split(os.pathsep) if part]
    if not any(path.exists() for path in paths):
        raise SettingsError(
            f"there is no kubeconfig at {source}: pass its path, set KUBECONFIG, or run inside a cluster"
        )
    return paths


def _logged_in(entry: files.Entry, source: str, context: str | None) -> tuple[files.Entry, Callable[[], str | None]]:
    """Return the entry with what its plugin gave, and what gives the header from now on."""
    # Here, because it takes 60 ms and 9 MB, and most need no plugin.
    from kubernetes import config  # noqa: PLC0415
    from kubernetes.client import Configuration  # noqa: PLC0415

    configuration: Any = Configuration()
    load: Any = config.load_kube_config  # untyped
    try:
        load(config_file=source, context=context, client_configuration=configuration)
    # Entries of a plugin that have not the expected shape end in any of the last three.
    except (config.ConfigException, AttributeError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error

    def header() -> str | None:
        value: str | None = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return value

    certificate, key = configuration.cert_file, configuration.key_file
    return replace(
        entry,
        certificate=Path(certificate).read_bytes() if certificate else None,
        key=Path(key).read_bytes() if key else None,
        header=configuration.api_key.get("BearerToken"),
    ), header


def _tls(entry: files.Entry, name: str) -> ssl.SSLContext | bool:
    if not entry.server.lower().startswith("https:"):
        return True
    try:
        if entry.authority is not None and not entry.authority.strip():
            raise ValueError("the authority is empty")  # noqa: TRY301  # said below, with the rest
        context = ssl.create_default_context(cadata=entry.authority.decode() if entry.authority else None)
        if entry.certificate:
            _load_certificate(context, entry.certificate, entry.key)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{name} holds a certificate or key that cannot be read: {error}. "
            "Look at certificate-authority, client-certificate and client-key"
        ) from error
    # kubeadm's authorities lack the key identifier that Python 3.13 began to insist on; kubectl accepts them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not entry.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes | None) -> None:
    # OpenSSL takes it from a file alone; this one is in memory, so that no disk ever holds the key.
    with os.fdopen(os.memfd_create("client-certificate"), "wb", buffering=0) as file:
        file.write(certificate + b"\n" + (key or b""))
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")


def _authorization(server: str, header: Callable[[], str | None]) -> str | None:
    try:
        return header()
    except Exception as error:  # whatever a plugin raises
        raise ApiUnreachable(
            f"the credentials for {server} cannot be refreshed: {error}; "
            "check the token file or the exec plugin that the kubeconfig names"
        ) from error
