"""Which part each sample belongs to, and where the samples of a part are: arithmetic, without a table and without I/O.

Invariant: what a sample's part is depends on the seed, the ratios and the sample's number alone, never on how many
there are. So a file may grow and no sample moves, and every program that knows the three agrees on the answer.

How: systematic sampling with a random position in each stratum. Of two parts the smaller has the share `a/b`; the
samples are cut into runs of `b/a` (rounded so that runs end on whole samples), and the seed draws one of each run. More
parts are a chain of such cuts: the largest part against the rest, the next one against the rest of that.

Bound: in every prefix of `n` samples a part has its `ratio * n` samples, off by less than one with two parts and by
less than `k - 1` with `k`; by nothing at all when each `ratio * n` is a whole number.
Neighbours: `samples` reads what is found here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from typing import overload

from neptune.errors import SettingsError

#: What a ratio may be written as. A float means the decimal number that it prints as: 0.1 is a tenth.
Ratio = float | str | Fraction | Decimal
_LARGE_EXPONENT = re.compile(r"[eE][+-]?[0-9_]{4}")


def exact_ratios(ratios: Mapping[str, Ratio]) -> dict[str, Fraction]:
    """Return the ratios as fractions.

    Raises:
        SettingsError: there is none, one is not above zero, or they do not add up to one.
    """
    found = {name: _fraction(name, ratio) for name, ratio in ratios.items()}
    total = sum(found.values(), Fraction(0))
    if total != 1:
        shown = " + ".join(f"{name} {ratios[name]}" for name in found) or "no part"
        raise SettingsError(f"the ratios ({shown}) add up to {float(total):.6g}, not 1; a third is written 1/3")
    return found


def _fraction(name: str, ratio: Ratio) -> Fraction:
    try:
        # Such a number's digits alone would take all memory.
        found = Fraction(_LARGE_EXPONENT.sub("too large", str(ratio)))
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(f"the ratio of {name} is {ratio!r}: write a number such as 0.8 or 4/5") from error
    if not 0 < found <= 1:
        raise SettingsError(f"the ratio of {name} is {ratio}: it has to be above 0, and 1 at most")
    return found


def apportion(ratios: Mapping[str, Fraction], total: int) -> dict[str, int]:
    """Return how many of `total` each part gets, by the method of largest remainders: each is off by less than one."""
    counts = {name: int(ratio * total) for name, ratio in ratios.items()}
    by_remainder = sorted(ratios, key=lambda name: (counts[name] - ratios[name] * total, name))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


@dataclass(frozen=True, slots=True)
class Cut:
    """Divides the numbers from 0 on in two: one *drawn* out of each run, and the others, *left*.

    The run `j` is `floor(j/q) .. floor((j+1)/q)` with the share `q = a/b <= 1/2` of the drawn, so that a run has two
    numbers at least.
    """

    a: int
    b: int
    key: bytes

    def drawn_at(self, j: int) -> int:
        """Return the drawn number of the run `j`, which is the `j`-th drawn number."""
        start, end = self._start(j), self._start(j + 1)
        digest = blake2b(j.to_bytes(8, "little"), digest_size=8, key=self.key).digest()
        return start + int.from_bytes(digest, "little") % (end - start)

    def left_at(self, k: int) -> int:
        """Return the `k`-th number that is left."""
        # Before the run j are floor(j/q) - j = floor(j * (b - a)/a) numbers that are left.
        j = _ceil((k + 1) * self.a, self.b - self.a) - 1
        place = self._start(j) + k - j * (self.b - self.a) // self.a
        return place + (place >= self.drawn_at(j))

    def drawn_before(self, n: int) -> int:
        """Return how many of the first `n` numbers are drawn."""
        if n == 0:
            return 0
        j = _ceil(n * self.a, self.b) - 1
        return j + (self.drawn_at(j) < n)

    def is_drawn(self, i: int) -> bool:
        """Tell whether the number `i` is drawn."""
        return self.drawn_at(_ceil((i + 1) * self.a, self.b) - 1) == i

    def _start(self, j: int) -> int:
        return j * self.b // self.a


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


@dataclass(frozen=True, slots=True)
class Step:
    """One link of the chain: the part `name` against all that follow. `drawn` when it is the smaller of the two."""

    name: str
    cut: Cut
    drawn: bool

    def own(self, k: int) -> int:
        """Return the number, one link up, of the part's `k`-th sample."""
        return self.cut.drawn_at(k) if self.drawn else self.cut.left_at(k)

    def rest(self, k: int) -> int:
        """Return the number, one link up, of the `k`-th sample of those that follow."""
        return self.cut.left_at(k) if self.drawn else self.cut.drawn_at(k)

    def own_before(self, n: int) -> int:
        """Return how many of the first `n` are the part's."""
        drawn = self.cut.drawn_before(n)
        return drawn if self.drawn else n - drawn


class Partition:
    """Parts by name, drawn by a seed."""

    __slots__ = ("_last", "_steps")

    def __init__(self, ratios: Mapping[str, Fraction], seed: int) -> None:
        """Take what `exact_ratios` returned. The order of the names is of no effect."""
        self._steps: list[Step] = []
        rest = Fraction(1)
        *names, self._last = sorted(ratios, key=lambda name: (-ratios[name], name))
        for level, name in enumerate(names):
            share = ratios[name] / rest
            smaller = min(share, 1 - share)
            key = blake2b(f"{seed}/{level}".encode(), digest_size=16).digest()
            self._steps.append(Step(name, Cut(*smaller.as_integer_ratio(), key), drawn=share == smaller))
            rest -= ratios[name]

    def part_of(self, i: int) -> str:
        """Return the part of the sample `i`."""
        for step in self._steps:
            own = step.own_before(i)
            if step.cut.is_drawn(i) == step.drawn:
                return step.name
            i -= own
        return self._last

    def count(self, name: str, total: int) -> int:
        """Return how many of the first `total` samples are in the part."""
        for step in self._steps:
            own = step.own_before(total)
            if step.name == name:
                return own
            total -= own
        return total

    def position(self, name: str, k: int) -> int:
        """Return the number of the part's `k`-th sample."""
        above: list[Step] = []
        for step in self._steps:
            if step.name == name:
                k = step.own(k)
                break
            above.append(step)
        for step in reversed(above):
            k = step.rest(k)
        return k


class Positions(Sequence[int]):
    """The numbers of one part's samples among the first `total`, rising; each is worked out when asked for."""

    __slots__ = ("_length", "_name", "_partition")

    def __init__(self, partition: Partition, name: str, total: int) -> None:
        self._partition, self._name = partition, name
        self._length = partition.count(name, total)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        wanted = range(self._length)[index]
        if isinstance(wanted, range):
            return [self._partition.position(self._name, k) for k in wanted]
        return self._partition.position(self._name, wanted)

    def __iter__(self) -> Iterator[int]:
        return (self._partition.position(self._name, k) for k in range(self._length))


def positions(ratios: Mapping[str, Fraction], total: int, *, seed: int, contiguous: bool) -> dict[str, Sequence[int]]:
    """Return where the samples of each part are among the first `total`.

    `contiguous` cuts the whole in runs, one a part in the order of `ratios`, by largest remainders. The cuts move when
    `total` grows: hold it to the first samples, or use it for data that stays as it is.
    """
    if not contiguous:
        partition = Partition(ratios, seed)
        return {name: Positions(partition, name, total) for name in ratios}
    found: dict[str, Sequence[int]] = {}
    start = 0
    for name, count in apportion(ratios, total).items():
        found[name] = range(start, start + count)
        start += count
    return found
