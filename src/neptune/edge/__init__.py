"""The node side: keeps what the cloud desires, counts the samples of the data on this node, reports the numbers.

From the outside in:

- `agent`: the composition root; joins transport, protocol, store and monitor. `Agent(settings, transport).run(stop)`.
- `store`: desired objects and last results in sqlite, so that a node counts and remembers with the cloud away.
- `monitor`: polls files, looks when `schedule` says so, has them counted, hands the news on; `watches` wakes it early.
- `schedule`: the rules of when to look and what to say; pure.
- `looking`: which files a dataset has, and which of them have to be counted.
- `counting`: one pass over one file, from a checkpoint where `proof` says that it is right.
- `children`, `counting_child`: the processes that count what is large, packed or a plug-in's.
- `stalls`, `threads`: blocking calls, and those that never come back.
- `paths`: from a url to a file below the roots, or a `Problem`; `sources` opens it, `compression` unpacks it.
- `formats`: how samples are told apart.
- `remote`: objects at urls, for the counting processes only.
- `split`: samples by number and in parts, for those who train on the data; the agent does not use it.
- `results`, `problems`, `snapshot`: the values that travel between these.

An edge node stays small: nothing here imports `neptune.api`, `neptune.runtime` or a library that they need.
"""
