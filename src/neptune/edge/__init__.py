"""The node side: keeps what the cloud desires, counts the samples of the data on this node, reports the numbers.

From the outside in:

- `agent`: the composition root; joins transport, protocol, store and monitor. `Agent(settings, transport).run(stop)`.
- `store`: desired objects and last results in sqlite, so that a node counts and remembers with the cloud away.
- `monitor`: looks at files when `schedule` says so, has them counted, hands the news on; `watches` wakes it early.
- `schedule`: the rules of when to look and what to say; pure.
- `counting`: one pass over one file, from a checkpoint where that is proved right.
- `paths`: from a url to a file below the roots, or a `Problem`.
- `formats`: how samples are told apart.
- `remote`: objects at urls, for the counting processes only.
- `split`: samples by number and in parts, for those who train on the data; the agent does not use it.
- `results`, `problems`, `snapshot`: the values that travel between these.

An edge node stays small: nothing here imports `neptune.api`, `neptune.runtime` or a library that they need.
"""
