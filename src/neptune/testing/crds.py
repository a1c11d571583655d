"""CustomResourceDefinitions from classes, put on a server that a test uses.

Neighbours: `api.crd` makes them; the fixtures call this once a session.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from pydantic import Field

from neptune.api.crd import crd_for
from neptune.api.meta import Json, Resource, ResourceKey, ResourceType
from neptune.runtime.client import Client
from neptune.runtime.errors import NotFound

#: A new kind is served within a second; on a busy machine it takes a few.
SERVED_SECONDS = 30.0
_POLL_SECONDS = 0.05


class CustomResourceDefinition(Resource):
    """The kind of kinds, as far as a test needs it."""

    resource: ClassVar[ResourceType] = ResourceType(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
    )

    spec: Json = Field(default_factory=dict)
    status: Json = Field(default_factory=dict)


async def install_crds(client: Client, *classes: type[Resource]) -> None:
    """Apply the CRDs of these classes and return once the server serves them.

    Raises:
        NotStructural: a class has no structural schema.
        ApiError: the server refuses a CRD.
        TimeoutError: a kind is not served within `SERVED_SECONDS`.
    """
    crds = [CustomResourceDefinition.from_dict(crd_for(cls)) for cls in classes]
    for crd in crds:
        await client.apply(crd, force=True)
    async with asyncio.timeout(SERVED_SECONDS):
        for cls, crd in zip(classes, crds, strict=True):
            while not await _is_served(client, cls, crd.key):  # noqa: ASYNC110  # the server has no event for it
                await asyncio.sleep(_POLL_SECONDS)


async def _is_served(client: Client, cls: type[Resource], key: ResourceKey) -> bool:
    live = await client.get(CustomResourceDefinition, key)
    conditions: list[dict[str, Any]] = live.status.get("conditions") or []  # null at first
    if not any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
        return False
    try:
        # The condition comes a moment before the paths do.
        await client.list(cls)
    except NotFound:
        return False
    return True
