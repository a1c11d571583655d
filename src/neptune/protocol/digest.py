"""Digests of what one side has, so that two sides find out with a few hundred bytes whether they have the same.

    entry   the first 16 bytes of SHA-256 of what identifies the state of one object
    bucket  0 to 255, the first byte of SHA-256(uid); its digest: the first 8 bytes of SHA-256(its entries, sorted)
    root    the first 16 bytes of SHA-256(the 256 bucket digests in order)

On the wire each is base64 (RFC 4648, section 4) without padding. Invariant: equal contents give equal roots, whatever
the order in which they came; a change costs one bucket, not all. This is a Merkle tree of two levels, as anti-entropy
in Dynamo has it (DeCandia et al., 2007, 4.7).
Neighbours: `desired` and `status` keep a tree each on the node, `inventory` keeps the cloud's; `sync` compares.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from neptune.protocol.codec import fitting
from neptune.protocol.messages import DesiredObject, Json, StatusReport

BUCKETS = 256
_ENTRY_BYTES, _BUCKET_BYTES = 16, 8
#: The condition of a report that the API server keeps; others take no part.
READY = "Ready"
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _hashed(data: bytes, length: int) -> bytes:
    return sha256(data).digest()[:length]


def _text(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


_EMPTY_BUCKET = _hashed(b"", _BUCKET_BYTES)


def bucket_of(uid: str) -> int:
    """Return the bucket that an object is in."""
    return sha256(uid.encode()).digest()[0]


def spec_hash(spec: Json) -> str:
    """Return what a cloud puts into `hash`: a node compares it and never computes it."""
    return _text(_hashed(_CANONICAL.encode(spec).encode(errors="replace"), _ENTRY_BYTES))


def object_entry(item: DesiredObject) -> str:
    """Return the entry of an object: uid, generation and hash, joined by NUL."""
    return _entry(item.uid, str(item.generation), item.hash)


def status_entry(report: StatusReport) -> str:
    """Return the entry of a status: what the API server keeps of it, joined by NUL, an empty text for what is absent.

    The fields: uid, observed_generation, number_of_samples, update_time; status, reason and message of `Ready`;
    fingerprint, which for a task is the id of its report.
    """
    samples = "" if report.number_of_samples is None else str(report.number_of_samples)
    ready = next((item for item in report.conditions if item.type == READY), None)
    words = (ready.status, fitting(ready.reason), fitting(ready.message)) if ready else ("", "", "")
    content = report.work.id if report.work else report.fingerprint or ""
    return _entry(report.uid, str(report.observed_generation), samples, report.update_time or "", *words, content)


def _entry(*fields: str) -> str:
    return _text(_hashed("\0".join(fields).encode(errors="replace"), _ENTRY_BYTES))


@dataclass(slots=True)
class DigestTree:
    """The entries of one side, by uid, and their digests. Only buckets that changed are hashed again."""

    _entries: dict[str, str] = field(default_factory=dict)
    _members: dict[int, set[str]] = field(default_factory=dict)
    _clean: dict[int, bytes] = field(default_factory=dict)
    _root: str = ""

    def put(self, uid: str, entry: str) -> None:
        """Set the entry of an object."""
        if self._entries.get(uid) != entry:
            self._entries[uid] = entry
            bucket = bucket_of(uid)
            self._members.setdefault(bucket, set()).add(uid)
            self._changed(bucket)

    def remove(self, uid: str) -> None:
        """Take an object out, if it is in."""
        if self._entries.pop(uid, None) is not None:
            bucket = bucket_of(uid)
            self._members[bucket].discard(uid)
            if not self._members[bucket]:
                del self._members[bucket]
            self._changed(bucket)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    def get(self, uid: str) -> str | None:
        """Return the entry of an object, or None."""
        return self._entries.get(uid)

    @property
    def root(self) -> str:
        """The digest of everything."""
        if not self._root:
            self._root = _text(_hashed(b"".join(self._digests()), _ENTRY_BYTES))
        return self._root

    def buckets(self) -> str:
        """Return all bucket digests, one after the other."""
        return _text(b"".join(self._digests()))

    def differing(self, buckets: str) -> tuple[int, ...]:
        """Return the buckets that differ from the other side's, which its `buckets` gave; all if that makes no sense.

        >>> DigestTree().differing(DigestTree().buckets())
        ()
        """
        try:
            theirs = b64decode(buckets + "=" * (-len(buckets) % 4), validate=True)
        except ValueError:
            theirs = b""
        pairs = enumerate(self._digests())
        return tuple(n for n, mine in pairs if theirs[n * _BUCKET_BYTES : (n + 1) * _BUCKET_BYTES] != mine)

    def entries(self, buckets: Iterable[int] = range(BUCKETS)) -> dict[str, str]:
        """Return the entries of some buckets by uid."""
        return {uid: self._entries[uid] for bucket in buckets for uid in sorted(self._members.get(bucket, ()))}

    def _digests(self) -> list[bytes]:
        for bucket in self._members.keys() - self._clean.keys():
            entries = sorted(_bytes(self._entries[uid]) for uid in self._members[bucket])
            self._clean[bucket] = _hashed(b"".join(entries), _BUCKET_BYTES)
        return [self._clean.get(bucket, _EMPTY_BUCKET) for bucket in range(BUCKETS)]

    def _changed(self, bucket: int) -> None:
        self._clean.pop(bucket, None)
        self._root = ""


def _bytes(entry: str) -> bytes:
    return b64decode(entry + "==")
