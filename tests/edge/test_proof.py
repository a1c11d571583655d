"""What a proof holds on to, and that it depends on the content alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.edge.proof import Proof, Prover

STRIDE = 64 * 1024
DATA = bytes(range(251)) * 17_000  # 4 MB that do not repeat at any stride


def prove(data: bytes, cuts: list[int], known: Proof | None = None, tail: bytes = b"") -> Proof:
    prover = Prover(known, tail)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        prover.feed(data[start:end])
    return prover.proof()


def holds(proof: Proof, data: bytes) -> bytes | None:
    return proof.holds(lambda offset, length: data[offset : offset + length])


# Cuts that meet the edges of blocks, and sizes on both sides of a doubled stride.
near_blocks = st.builds(lambda number, off: max(0, number * STRIDE + off), st.integers(0, 40), st.integers(-3, 4100))


@given(st.lists(near_blocks, max_size=6), near_blocks)
def test_where_the_data_is_cut_does_not_matter(cuts: list[int], size: int) -> None:
    data = DATA[:size]
    assert prove(data, [cut for cut in cuts if cut <= size]) == prove(data, [])


@given(near_blocks, near_blocks)
def test_going_on_gives_what_one_pass_gives(first: int, second: int) -> None:
    before, after = sorted((first, second))
    known = prove(DATA[:before], [])
    tail = holds(known, DATA)
    assert tail is not None
    assert prove(DATA[before:after], [], known, tail) == prove(DATA[:after], [])


@pytest.mark.parametrize(
    "where", [0, 4095, STRIDE * 8, STRIDE * 8 + 4095, STRIDE * 56, 4_000_000 - 1, 4_000_000 - 4096]
)
def test_a_byte_that_differs_in_a_kept_block_is_seen(where: int) -> None:
    data = DATA[:4_000_000]
    proof = prove(data, [])
    assert proof.stride == 4 * STRIDE
    assert holds(proof, data) is not None
    assert holds(proof, data[:where] + b"\xff" + data[where + 1 :]) is None


def test_whatever_moves_the_data_is_seen_wherever_it_happened() -> None:
    data = DATA[:4_000_000]
    proof = prove(data, [])
    for where in range(1, 4_000_000, 99_991):
        assert holds(proof, data[:where] + b"x" + data[where:]) is None
        assert holds(proof, data[:where] + data[where + 1 :] + b"x") is None


def test_a_fingerprint_is_that_of_the_content() -> None:
    assert prove(b"abc", []).fingerprint() == prove(b"abc", [1]).fingerprint() != prove(b"abd", []).fingerprint()
    assert len(prove(DATA, []).fingerprint()) == 32


def test_it_stays_small_whatever_the_size() -> None:
    assert len(prove(DATA * 20, []).blocks) <= 16 * 16
