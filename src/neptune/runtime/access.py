"""Where the API server is and how to prove who we are: the only door to `kubernetes`.

Invariant: what a kubeconfig, a pod's service account or an exec plugin says is taken as kubectl would take it, and what
cannot be used is a SettingsError that names the file and the remedy.
Neighbours: `http` calls this in a thread, and again when the credentials stop working.
`kubernetes.config` and `Configuration` are used, nothing above them: reading kubeconfigs and cloud log-ins is the part
that users must be able to trust, and its models and informer cost more than they give.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import yaml

from neptune.errors import SettingsError
from neptune.runtime.errors import ApiUnreachable

_SERVICE_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


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
    # Here, because a program that only prints its help need not spend 170 ms and 30 MB.
    from kubernetes.client import Configuration  # noqa: PLC0415

    configuration: Any = Configuration()
    source = str(kubeconfig or os.environ.get("KUBECONFIG", ""))
    if not source and "KUBERNETES_SERVICE_HOST" in os.environ and _SERVICE_TOKEN.exists():
        _load(configuration, "the service account of this pod", _in_cluster)
    else:
        source = str(Path(source or "~/.kube/config").expanduser())
        if not any(Path(part).expanduser().exists() for part in source.split(os.pathsep)):
            raise SettingsError(
                f"there is no kubeconfig at {source}: pass its path, set KUBECONFIG, or run inside a cluster"
            )
        _load(configuration, f"kubeconfig {source}", lambda target: _from_file(target, source, context))
    host = urlsplit(configuration.host).hostname or ""
    return Access(
        url=configuration.host.rstrip("/"),
        tls=_tls(configuration, source),
        server_hostname=configuration.tls_server_name,
        proxy=None if proxy_bypass(host) else configuration.proxy,
        authorization=lambda: _authorization(configuration),
        anonymous=not configuration.api_key and not configuration.cert_file,
    )


def _in_cluster(configuration: Any) -> None:
    from kubernetes import config  # noqa: PLC0415  # as in load_access

    load: Any = config.load_incluster_config  # untyped
    load(client_configuration=configuration)


def _from_file(configuration: Any, source: str, context: str | None) -> None:
    from kubernetes import config  # noqa: PLC0415  # as in load_access

    load: Any = config.load_kube_config  # untyped
    load(config_file=source, context=context, client_configuration=configuration)


def _load(configuration: Any, name: str, load: Callable[[Any], None]) -> None:
    from kubernetes.config import ConfigException  # noqa: PLC0415  # as in load_access

    try:
        load(configuration)
    # A file that is not a mapping of the expected shape ends in any of the last four.
    except (ConfigException, yaml.YAMLError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{name} cannot be used: {error}. Compare it with `kubectl config view`; "
            "choose a context with `kubectl config use-context NAME` or the context option"
        ) from error


def _tls(configuration: Any, source: str) -> ssl.SSLContext | bool:
    if not configuration.host.startswith("https"):
        return True
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{source or 'the service account'} holds a certificate or key that cannot be read: {error}. "
            "Look at certificate-authority, client-certificate and client-key"
        ) from error
    # kubeadm's authorities lack the key identifier that Python 3.13 began to insist on; kubectl accepts them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _authorization(configuration: Any) -> str | None:
    try:
        header: str | None = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    except Exception as error:  # whatever a plugin raises
        raise ApiUnreachable(
            f"the credentials for {configuration.host} cannot be refreshed: {error}; "
            "check the token file or the exec plugin that the kubeconfig names"
        ) from error
    return header
