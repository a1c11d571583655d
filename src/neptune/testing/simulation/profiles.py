"""What a schedule has much of.

Most situations take a few things that happen often and nothing else that heals what came of them: where everything
goes wrong a little, each reconnect and each restart brings all into step again. So half of the seeds draw a profile
with a subject, and the others anything (Groce et al., "Swarm Testing", 2012).
Neighbours: `schedule` has the actions that are named here; `simulation` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Profile:
    """The subject of a schedule.

    `often` names actions of `schedule.Schedule`: users do these more often than others, and there are no faults but
    these. With none named, each fault is drawn to be frequent, rare or absent.
    """

    name: str
    often: frozenset[str] = frozenset()
    #: The chance that a message may be lost while its connection stands, and that the server may be set back.
    lossy: float = 0.5
    #: The chance that a node has so long objects that an answer has several parts.
    large: float = 0.08
    #: The chance that a node has so many objects that it compares digests of them with the cloud.
    many: float = 0.04
    #: The chance that there are tasks, models and workers.
    tasks: float = 0.1
    #: The chance that clouds compete for a lease; else a second one is only told from the first by its epoch.
    elected: float = 0.5


ANY = Profile("any")
#: Messages overtake each other and come twice, and there is no reconnect to mend it.
DISORDER = Profile("disorder", frozenset({"edit_again", "write_again", "change_weather"}), lossy=0.0)
#: Objects go from node to node, and nodes lie.
OWNERS = Profile("owners", frozenset({"move", "recreate", "forge"}), lossy=0.0)
#: Connections break while objects come and go.
LINKS = Profile("links", frozenset({"delete", "recreate", "cut", "partition", "restart_broker"}), lossy=0.0)
#: Clouds come, go and come back, and what they said arrives late.
CLOUDS = Profile(
    "clouds", frozenset({"create_many", "edit", "edit_again", "depose", "change_weather"}), lossy=0.0, elected=0.2
)
#: Programs die on both sides, with their disks or without.
CRASHES = Profile("crashes", frozenset({"write_again", "kill_node", "kill_cloud", "doom", "api_away"}), lossy=0.0)
#: The API server fails, and an earlier state of it comes back.
SERVERS = Profile("servers", frozenset({"create", "edit", "restore", "break_watches", "trouble"}), lossy=1.0)
#: Answers have many parts, and some of them are lost.
PARTS = Profile("parts", frozenset({"change_weather", "cut", "restart_broker"}), lossy=1.0, large=1.0)
#: Nodes have many objects, which go by the dozen while nobody hears of it.
MANY = Profile(
    "many", frozenset({"create_many", "delete_many", "change_weather", "partition", "cut", "kill_node"}), many=1.0
)
#: Tasks come, go and are edited while their workers report and programs die.
TASKS = Profile(
    "tasks",
    frozenset(
        {"create_task", "edit_task", "recreate_task", "kill_node", "kill_cloud", "doom", "change_weather", "forge"}
    ),
    lossy=0.2,
    tasks=1.0,
)

PROFILES = {each.name: each for each in (ANY, DISORDER, OWNERS, LINKS, CLOUDS, CRASHES, SERVERS, PARTS, MANY, TASKS)}


def drawn_profile(seed: int) -> Profile:
    """Return the profile of a seed for which nobody named one."""
    rng = Random(f"profile {seed}")  # noqa: S311  # a schedule, no secret
    return ANY if rng.random() < 0.5 else rng.choice([each for each in PROFILES.values() if each is not ANY])
