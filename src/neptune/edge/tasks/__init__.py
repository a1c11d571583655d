"""Tasks on a node: work is handed to a process of any language in a folder, and its reports are taken from there.

`keeper` has the tasks of a node, `handover` one of them; `orders` says what a worker gets to know, `reports` what it
may say, `ledger` which report counts and when it is told; `folder` is the disk, and `command` starts workers.
"""
