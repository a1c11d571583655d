"""Write scikit-learn's handwritten digits as one txt file for each of three nodes: `python digits.py FOLDER`.

A line is a sample: the digit, then its 8 x 8 pixels from 0 to 16. The nodes do not see the same: all digits are equally
common on the first, four of five are below 5 on the second, and above 4 on the third.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def main(folder: Path) -> None:
    pixels, digits = load_digits(return_X_y=True)
    rows = np.column_stack([digits, pixels]).astype(int)
    random = np.random.default_rng(1)
    random.shuffle(rows)
    even, rest = rows[:797], rows[797:]
    on_second = (rest[:, 0] < 5) ^ (random.random(len(rest)) < 0.2)
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate([even, rest[on_second], rest[~on_second]]):
        np.savetxt(folder / f"digits-{number}.txt", part, fmt="%d", delimiter=",")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
