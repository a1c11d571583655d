"""The settings of `edge-agent`, apart from its code: `cloud-controller` needs their names, not an agent."""

from __future__ import annotations

from neptune.cli.settings import BROKER, LOGGING, Setting, seconds

SETTINGS = (
    Setting("node", "this node's name in Kubernetes (default: the host name)", metavar="NAME"),
    *BROKER,
    Setting("root", "folder or url that datasets may lie in; may be given several times", ("/var/lib/neptune/data",),
            metavar="DIR", repeated=True),
    Setting("state-dir", "folder for what the agent has to remember", "/var/lib/neptune/state", metavar="DIR"),
    Setting("poll-seconds", "how often files are looked at, whatever inotify says", 2.0, seconds, "SECONDS"),
    Setting("url-seconds", "how often servers of http(s):// and s3:// datasets are asked", 60.0, seconds, "SECONDS"),
    *LOGGING,
)  # fmt: skip
