"""Credentials: what a Secret has for a Dataset's url reaches the node that asks for it, and nothing else does.

Flow: `link` hands a node's question in; the Secret is read with a plain get, there and then; the answer goes out.
Invariants: nothing of a Secret is kept, logged, or shown in an event; only the keys that the url calls for are sent.
That the Dataset is of the node, and both connections are encrypted, `protocol.credentials` has checked.
Neighbours: the node makes a condition of a refusal (`edge.keyring`), this an event.
"""

from __future__ import annotations

from collections.abc import Mapping

from neptune.api import Dataset, ResourceKey
from neptune.api.core import Secret
from neptune.controllers.dataset.upstream import find
from neptune.controllers.link import Link
from neptune.protocol import messages
from neptune.protocol.credentials import CredentialsAsked, CredentialsTold
from neptune.runtime import Cache, Context, Mailbox
from neptune.runtime.errors import Forbidden, NotFound

#: The ClusterRole of `deploy/cloud` that a namespace binds to let its Secrets be used.
ROLE = "neptune-dataset-credentials"
#: What each kind of url takes: alternatives of keys that are needed, and keys that may be there.
NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "s3": (("accessKeyID", "secretAccessKey"),),
    "http": (("token",), ("username", "password")),
    "https": (("token",), ("username", "password")),
}
OPTIONAL: Mapping[str, tuple[str, ...]] = {"s3": ("sessionToken", "region", "endpoint")}
#: Most servers read a header of no more (Apache's LimitRequestFieldSize is 8190 bytes).
MAX_VALUE_LENGTH = 8000


class Unusable(Exception):
    """A Secret lacks what a url needs. The text says what to do, and shows no value."""


class Credentials:
    """The reconciler and its mailbox."""

    def __init__(self, link: Link, cache: Cache) -> None:
        self.mailbox: Mailbox[CredentialsAsked] = Mailbox()
        self._link = link
        self._cache = cache

    def take(self, asked: CredentialsAsked) -> None:
        """Sort a question: to the mailbox, or straight back with a refusal."""
        dataset = find(self._cache, asked.uid) if asked.code == messages.OK else None
        if dataset is not None:
            self.mailbox.put(dataset.key, asked)
        elif asked.code == messages.OK:
            self._tell(asked, messages.FORBIDDEN, "the dataset is gone")
        else:
            self._tell(asked, asked.code, asked.reason)

    async def reconcile(self, ctx: Context, key: ResourceKey) -> None:
        """Answer the newest question for a Dataset's credentials; an API server that is away is asked again."""
        asked = self.mailbox.peek(key)
        if asked is None:
            return
        dataset = ctx.cache.get(Dataset, key)
        if dataset is None or dataset.metadata.uid != asked.uid:
            self.mailbox.discard(key, asked)
            return
        code, reason, values = await _read(ctx, dataset)
        self.mailbox.discard(key, asked)
        if code != messages.OK:
            ctx.events.warning(dataset, "NoCredentials", reason, action="ReadSecret")
        self._tell(asked, code, reason, values)

    def _tell(self, asked: CredentialsAsked, code: int, reason: str, values: Mapping[str, str] | None = None) -> None:
        self._link.tell(asked.node, CredentialsTold(asked.uid, asked.event_id, code, reason, values or {}))


async def _read(ctx: Context, dataset: Dataset) -> tuple[int, str, Mapping[str, str]]:
    namespace, name = dataset.key.namespace, dataset.spec.credential_name
    if not name:
        return messages.NOT_FOUND, "spec.credentialName is empty", {}
    try:
        secret = await ctx.client.get(Secret, ResourceKey(namespace, name))
        return messages.OK, "", chosen(dataset.spec.url, secret.data)
    except NotFound:
        return messages.NOT_FOUND, f"there is no Secret {namespace}/{name}: create it, or mend spec.credentialName", {}
    except Forbidden:
        why = f"cloud-controller may not read Secret {namespace}/{name}: bind the ClusterRole {ROLE} to its account in "
        return messages.FORBIDDEN, f"{why}namespace {namespace} (deploy/cloud/dataset-credentials.yaml says how)", {}
    except Unusable as error:
        return messages.INVALID, f"Secret {namespace}/{name} {error}", {}


def chosen(url: str, data: Mapping[str, bytes]) -> Mapping[str, str]:
    """Return what a Secret has for a url.

    Raises:
        Unusable: it lacks a key, or a value cannot be sent to a server.
    """
    scheme = url.partition("://")[0].lower()
    alternatives = NEEDED.get(scheme, ())
    if not alternatives:
        raise Unusable("is not used: credentials are for http(s):// and s3:// urls")
    for needed in alternatives:
        if all(key in data for key in needed):
            keys = (*needed, *(key for key in OPTIONAL.get(scheme, ()) if key in data))
            return {key: _text(key, data[key]) for key in keys}
    lists = ", or ".join(" and ".join(needed) for needed in alternatives)
    raise Unusable(f"has not the keys that {scheme}:// urls need: {lists}")


def _text(key: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not 0 < len(text) <= MAX_VALUE_LENGTH:
        raise Unusable(
            f"has under {key} what is no text of 1 to {MAX_VALUE_LENGTH} characters on one line: "
            "make it with kubectl create secret --from-literal, or without a line break at the end of its file"
        )
    return text
