"""The settings of `edge-agent`, apart from its code: `cloud-controller` needs their names, not an agent."""

from __future__ import annotations

from neptune.cli.settings import BROKER, LOGGING, Setting, one_of, seconds, whole

SETTINGS = (
    Setting("node", "this node's name in Kubernetes (default: the host name)", metavar="NAME"),
    *BROKER,
    Setting("broker-mode", "where programs on this node ask for its datasets: internal, a broker in the agent; "
            "external, the configured one; or both", "external", one_of("internal", "external", "both"), "MODE"),
    Setting("internal-port", "port of the internal broker on 127.0.0.1", 1884, whole(1, 65535), "PORT"),
    Setting("local-topics", "whether they may ask: on, off, or auto: not on an external broker alone", "auto",
            one_of("auto", "on", "off"), "WHEN"),
    Setting("root", "folder or url that datasets may lie in; may be given several times", ("/var/lib/neptune/data",),
            metavar="DIR", repeated=True),
    Setting("state-dir", "folder for what the agent has to remember", "/var/lib/neptune/state", metavar="DIR"),
    Setting("poll-seconds", "how often files are looked at, whatever inotify says", 2.0, seconds, "SECONDS"),
    Setting("url-seconds", "how often servers of http(s):// and s3:// datasets are asked", 60.0, seconds, "SECONDS"),
    Setting("task-command", "command to run for each task, in its folder; without one, workers come by themselves",
            metavar="COMMAND"),
    Setting("task-memory-mb", "data that each process of the command may have (MiB; default: no limit)", None,
            whole(1, 2**20), "MB"),
    Setting("task-parallel", "commands that run at a time", 1, whole(1, 256), "NUMBER"),
    Setting("task-retries", "how often a command that failed is started again", 3, whole(0, 1000), "NUMBER"),
    *LOGGING,
)  # fmt: skip
