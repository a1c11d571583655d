"""Samples by number, and parts of them: for training, evaluation and federated work on the data of a node.

```python
samples = open_samples("/var/lib/neptune/data/reviews.txt")
parts = samples.split({"train": 0.8, "eval": 0.2}, seed=7)
loader = DataLoader(parts["train"], batch_size=32, num_workers=4)
mine = samples.shard(2, 10).split({"train": "9/10", "eval": "1/10"})
```

A sample is `bytes`, without its line ending: `json.loads` and `csv.reader` take it from there. It never changes its
part while the file grows; `parts` has the bound on how exact each prefix is.
Within: `parts` draws (pure), `index` finds samples in a file, `samples` reads them, `write` writes parts out.
"""

from neptune.edge.split.index import IndexFailed
from neptune.edge.split.samples import Samples, SamplesUnreadable, format_of, open_samples
from neptune.edge.split.write import CannotWriteParts, write_files, write_index

__all__ = [
    "CannotWriteParts",
    "IndexFailed",
    "Samples",
    "SamplesUnreadable",
    "format_of",
    "open_samples",
    "write_files",
    "write_index",
]
