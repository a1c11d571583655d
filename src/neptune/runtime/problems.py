"""What an error says, and what to do about a list or watch that fails, for the person who reads the log. No I/O.

Neighbours: `watch`, `controller` and `threads` log it.
"""

from __future__ import annotations

from neptune.api.meta import Resource
from neptune.errors import SettingsError
from neptune.runtime.errors import ApiError, ApiUnreachable, Forbidden, NotFound, Unauthorized
from neptune.runtime.query import describe


def problem(cls: type[Resource], error: Exception) -> str:
    """Return what is wrong and what to do about it, for a person."""
    name = describe(cls)
    match error:
        case NotFound():
            return f"the API server does not know {name}: apply its CustomResourceDefinition, `neptune crds` writes it"
        case Unauthorized():
            return "the API server does not accept the credentials: renew the token or certificate in the kubeconfig"
        case Forbidden():
            remedy = f"grant get, list and watch on {name} to this user (a ClusterRole and its binding)"
            if "system:anonymous" in error.message:  # as who did not say who it is, which no role will mend
                remedy = "look at the user in the kubeconfig, and run the exec plugin that it may name by hand"
            return f"{error.message}: {remedy}"
        case ApiUnreachable() | SettingsError():
            return str(error)
        case ApiError():
            return f"the API server answered {error.status} {error.reason}: {error.message}"
        case _:
            return f"the answer is not a list or object of Kubernetes, is a proxy on the way? {error!r}"


def text(error: BaseException) -> str:
    """Return what an error says, or what it is when it says nothing. Foreign errors may fail even at that."""
    try:
        return str(error) or repr(error)
    except Exception:  # noqa: BLE001  # foreign code
        return f"{type(error).__name__}, which fails to say more"
