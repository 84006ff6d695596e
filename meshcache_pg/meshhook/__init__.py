"""The MeshHook pack: MeshHook is the first user of this cache; what is written for it alone lives here."""

from meshcache_pg.meshhook.pack import definition, pack
from meshcache_pg.meshhook.repositories import (
    NodeConfigRepository,
    RunRepository,
    StatsRepository,
    WorkflowRepository,
)
from meshcache_pg.meshhook.rows import (
    NodeConfig,
    QueueStats,
    RunCard,
    RunDetail,
    RunState,
    WebhookRoute,
    WorkflowCard,
    WorkflowDefinition,
    WorkflowStats,
)

__all__ = [
    "NodeConfig",
    "NodeConfigRepository",
    "QueueStats",
    "RunCard",
    "RunDetail",
    "RunRepository",
    "RunState",
    "StatsRepository",
    "WebhookRoute",
    "WorkflowCard",
    "WorkflowDefinition",
    "WorkflowRepository",
    "WorkflowStats",
    "definition",
    "pack",
]
