"""Packed files: the data in them, cut anywhere, from several members, in constant memory; and what is damaged."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.edge import compression
from neptune.edge.compression import DamagedError, Decoder, find_decoder, is_compressed
from neptune.edge.problems import Problem, Reason

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstd.compress, "": bytes}


def decoder(suffix: str) -> Decoder:
    found = find_decoder(f"/data/a.txt{suffix}")
    assert not isinstance(found, Problem)
    return found()


def unpack(suffix: str, *parts: bytes) -> tuple[bytes, bool]:
    """Return the data, and whether it was whole."""
    inner = decoder(suffix)
    data = b"".join(piece for part in parts for piece in inner.feed(part))
    return data, inner.is_whole


@settings(deadline=None)
@given(st.sampled_from(sorted(PACKERS)), st.lists(st.binary(max_size=50), max_size=4), st.integers(1, 9))
def test_members_one_after_the_other_are_one_stream_wherever_they_are_cut(
    suffix: str, members: list[bytes], step: int
) -> None:
    packed = b"".join(map(PACKERS[suffix], members))
    parts = [packed[at : at + step] for at in range(0, len(packed), step)]
    assert unpack(suffix, *parts) == (b"".join(members), True)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_what_is_cut_off_is_not_whole(suffix: str) -> None:
    packed = PACKERS[suffix](b"line\n" * 1000)
    assert all(not unpack(suffix, packed[:end])[1] for end in range(1, len(packed)))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_what_is_something_else_is_damaged(suffix: str) -> None:
    with pytest.raises(DamagedError):
        unpack(suffix, b"plain text that only has the name\n")
    with pytest.raises(DamagedError):
        unpack(suffix, PACKERS[suffix](b"a") + b"garbage")


def test_zero_bytes_between_members_of_gzip_are_padding() -> None:
    assert unpack(".gz", gzip.compress(b"a") + b"\0" * 512, b"\0\0" + gzip.compress(b"b") + b"\0") == (b"ab", True)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_small_file_of_much_data_is_unpacked_piece_by_piece(suffix: str) -> None:
    packed = PACKERS[suffix](bytes(32 * 2**20))
    tracemalloc.start()
    try:
        inner = decoder(suffix)
        sizes = [len(piece) for piece in inner.feed(packed)]
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert (sum(sizes), max(sizes) <= 2**16, inner.is_whole) == (32 * 2**20, True, True)


def test_data_that_fills_the_last_piece_is_not_lost() -> None:
    for size in range(2**16 - 3, 2**16 + 4):
        packer = zlib.compressobj(wbits=31)
        packed = packer.compress(b"x" * size) + packer.flush()
        assert len(unpack(".gz", packed)[0]) == size


def test_the_name_decides() -> None:
    assert [is_compressed(name) for name in ("a.GZ", "a.zst", "a.gz.txt", "gz")] == [True, True, False, False]


def test_without_a_library_for_zstd_the_condition_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(compression, "import_module", missing)
    found = find_decoder("/data/a.zst")
    assert isinstance(found, Problem)
    assert found.reason is Reason.MISSING_LIBRARY
    assert "neptune-edge[zstd]" in found.message
