"""Federated averaging (McMahan et al., 2017): each node trains on its own samples, one of them averages, all go on.

Weights go through the model's url, here a folder that all nodes reach; neptune carries the task there and what comes of
it back. A worker that was killed starts at the last average that is there. `edge-agent --task-command` runs this.
"""

import os
import time
from pathlib import Path

import numpy as np

from neptune.edge.worker import Task, wait_for_task


def main() -> None:
    with wait_for_task() as task:
        rounds, steps, rate = (float(task.parameters[name]) for name in ("rounds", "steps", "rate"))
        # Not that of another task, nor of this one before its spec was edited.
        shared = Path(task.models[0].url) / f"{task.uid}-{task.generation}"
        train, held = samples(task, "train"), samples(task, "held")
        done = max((int(path.stem.removeprefix("global-")) for path in shared.glob("global-*.npz")), default=0)
        weights = np.load(shared / f"global-{done}.npz")["weights"] if done else np.zeros((65, 10))
        for number in range(done + 1, int(rounds) + 1):
            mine = fit(weights, *train, steps=int(steps), rate=rate)
            save(shared / f"round-{number}" / f"{task.node}.npz", weights=mine, samples=len(train[0]))
            common = shared / f"global-{number}.npz"
            if "aggregator" in task.roles:
                save(common, weights=average(task, shared / f"round-{number}"))
            wait(task, common.exists)
            weights = np.load(common)["weights"]
            found = {"accuracy": accuracy(weights, *held), "round": number}
            task.report(found, progress=100 * number / rounds, samples=len(train[0]))
        if "aggregator" in task.roles:
            save(Path(task.models[0].url) / "model.npz", weights=weights)
        task.complete({"accuracy": accuracy(weights, *held), "rounds": int(rounds)}, samples=len(train[0]))


def samples(task: Task, part: str) -> tuple[np.ndarray, np.ndarray]:
    split = {"train": "4/5", "held": "1/5"}
    lines = [line.decode() for dataset in task.datasets for line in task.samples(dataset.name).split(split)[part]]
    rows = np.loadtxt(lines, delimiter=",", ndmin=2)
    return np.column_stack([rows[:, 1:] / 16, np.ones(len(rows))]), rows[:, 0].astype(int)


def fit(weights: np.ndarray, pixels: np.ndarray, digits: np.ndarray, *, steps: int, rate: float) -> np.ndarray:
    for _ in range(steps):  # gradient descent on the cross-entropy of softmax regression
        odds = np.exp(pixels @ weights - (pixels @ weights).max(axis=1, keepdims=True))
        wrong = odds / odds.sum(axis=1, keepdims=True) - np.eye(10)[digits]
        weights = weights - rate * pixels.T @ wrong / len(digits)
    return weights


def accuracy(weights: np.ndarray, pixels: np.ndarray, digits: np.ndarray) -> float:
    return round(float(((pixels @ weights).argmax(axis=1) == digits).mean()), 4)


def average(task: Task, folder: Path) -> np.ndarray:
    wait(task, lambda: len(list(folder.glob("*.npz"))) == task.part.of)
    parts = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    return np.average([part["weights"] for part in parts], axis=0, weights=[int(part["samples"]) for part in parts])


def wait(task: Task, ready) -> None:
    while not ready():
        task.raise_if_over()
        time.sleep(0.05)


def save(path: Path, **arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(f".{os.getpid()}.part").open("wb") as file:
        np.savez(file, **arrays)
    Path(file.name).replace(path)  # others see all of it or nothing


if __name__ == "__main__":
    main()
