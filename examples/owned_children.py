"""A Site owns a ConfigMap, and a file outside the cluster that a finalizer removes; a condition tells how it is."""

import os
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from neptune.api import Condition, CrdOptions, KubeModel, ListMap, ObjectMeta, Resource, ResourceType, set_condition
from neptune.api.core import ConfigMap
from neptune.runtime import Finalizer, Manager, set_controller_ref

FOLDER = Path(os.environ.get("SITES", "/tmp/sites"))  # noqa: S108  # an example


class SiteSpec(KubeModel):
    text: Annotated[str, Field(max_length=4096)]


class SiteStatus(KubeModel):
    conditions: Annotated[list[Condition], ListMap("type")] = Field(default_factory=list)


class Site(Resource):
    """A page of text."""

    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Site", "sites")
    crd: ClassVar[CrdOptions] = CrdOptions(short_names=("st",))

    spec: SiteSpec
    status: SiteStatus = Field(default_factory=SiteStatus)


def file_of(site):
    return FOLDER / f"{site.metadata.uid}.txt"


async def reconcile(ctx, key):
    site = ctx.cache.get(Site, key)
    if site is None:
        return
    page = ConfigMap(metadata=ObjectMeta(namespace=key.namespace, name=key.name), data={"page": site.spec.text})
    current = ctx.cache.get(ConfigMap, key)
    if current is None or current.data != page.data:
        set_controller_ref(site, page)
        await ctx.client.apply(page, force=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    file_of(site).write_text(site.spec.text)
    ready = Condition(
        type="Ready",
        status="True",
        reason="Published",
        message=f"{len(site.spec.text)} characters",
        observed_generation=site.metadata.generation,
        last_transition_time=ctx.clock.now(),
    )
    if set_condition(site.status.conditions, ready):
        await ctx.client.status.patch(site)


async def cleanup(_ctx, site):
    file_of(site).unlink(missing_ok=True)


manager = Manager()
manager.controller(Site, Finalizer(Site, "example.com/file", reconcile, cleanup), owns=[ConfigMap])
if __name__ == "__main__":
    manager.run()
