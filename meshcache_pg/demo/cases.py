"""Which reads the demo compares: the repository's method, the source's condition, and who asks for what."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from sqlalchemy import Connection

from meshcache_pg.answers import Listing, Result
from meshcache_pg.cache import MeshCache
from meshcache_pg.meshhook import (
    NodeConfig,
    NodeConfigRepository,
    QueueStats,
    RunCard,
    RunDetail,
    RunRepository,
    RunState,
    StatsRepository,
    WebhookRoute,
    WorkflowCard,
    WorkflowDefinition,
    WorkflowRepository,
    WorkflowStats,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One read. `popularity` gives keys with a weight as the last column, `where` is the source's condition
    and order; `heavy` reads aggregate or go over events: there the cache has to pay.
    """

    view: str
    title: str
    heavy: bool
    popularity: LiteralString
    where: LiteralString
    row_type: Callable[..., Any]
    cached: Callable[..., Listing[Any]]


def _one(method: Callable[..., Result[Any]]) -> Callable[..., Listing[Any]]:
    """A read by key as a list of one."""

    def ask(*key: Any) -> Listing[Any]:
        result = method(*key)
        return Listing((result.unwrap(),) if result else (), result.origin, 1, result.age)

    return ask


# Every run came in by a webhook.
_SLUGS: Final = """
    select d.slug, count(*) from workflow_runs as r
    inner join workflow_definitions as d on d.id = r.workflow_id group by d.slug order by d.slug
"""
# People look at what runs.
_PROJECTS: Final = "select r.project_id, count(*) from workflow_runs as r group by 1 order by 1"
# The half of the projects that runs least.
_QUIET_PROJECTS: Final = """
    select p.project_id, p.runs
    from (
        select r.project_id, count(*) as runs, percent_rank() over (order by count(*)) as place
        from workflow_runs as r group by 1
    ) as p
    where p.place <= 0.5 order by p.project_id
"""
_WORKFLOWS: Final = "select r.workflow_id, count(*) from workflow_runs as r group by 1 order by 1"
# Every run of a workflow passes its nodes.
_NODES: Final = """
    select d.id, n.value ->> 'id', w.runs
    from (
        select r.workflow_id, count(*) as runs from workflow_runs as r group by 1 order by 2 desc, 1 limit 500
    ) as w
    inner join workflow_definitions as d on d.id = w.workflow_id
    cross join lateral jsonb_array_elements(d.definition -> 'nodes') as n
    order by 1, 2
"""
# A worker asks at every event of a run that is under way, a run page as long as it is.
_RUNS_UNDER_WAY: Final = """
    select r.id, count(*) from workflow_runs as r inner join workflow_events as e on e.run_id = r.id
    where r.status = 'running' group by r.id order by r.id
"""
_RUNS_OVER: Final = """
    select r.id, count(*) from workflow_runs as r inner join workflow_events as e on e.run_id = r.id
    where r.status <> 'running'
        and r.created_at > (select max(l.created_at) from workflow_runs as l) - interval '7 days'
    group by r.id order by r.id
"""


def cases(cache: MeshCache, connection: Connection) -> list[Case]:
    """All of them, bound to a connection."""
    workflows = WorkflowRepository(cache, connection)
    nodes = NodeConfigRepository(cache, connection)
    runs = RunRepository(cache, connection)
    stats = StatsRepository(cache, connection)
    by_change = "where s.project_id = %s order by s.updated_at desc, s.id"
    return [
        Case("workflow_card", "of a project", True, _PROJECTS, by_change, WorkflowCard, workflows.cards),
        Case("workflow_card", "few runs", False, _QUIET_PROJECTS, by_change, WorkflowCard, workflows.cards),
        Case(
            "run_state", "under way", True, _RUNS_UNDER_WAY, "where s.run_id = %s", RunState, _one(runs.state)
        ),
        Case(
            "run_state", "short, over", False, _RUNS_OVER, "where s.run_id = %s", RunState, _one(runs.state)
        ),
        Case(
            "run_detail",
            "under way",
            True,
            _RUNS_UNDER_WAY,
            "where s.run_id = %s",
            RunDetail,
            _one(runs.detail),
        ),
        Case(
            "run_detail",
            "short, over",
            False,
            _RUNS_OVER,
            "where s.run_id = %s",
            RunDetail,
            _one(runs.detail),
        ),
        Case(
            "workflow_stats",
            "newest 100",
            True,
            "select 100, 1",
            "order by s.hour desc, s.workflow_id limit %s",
            WorkflowStats,
            lambda limit: stats.workflows(limit=limit),
        ),
        Case(
            "queue_stats",
            "newest 24",
            True,
            "select 24, 1",
            "order by s.hour desc, s.queue_name limit %s",
            QueueStats,
            lambda limit: stats.queues(limit=limit),
        ),
        Case(
            "webhook_route",
            "by slug",
            False,
            _SLUGS,
            "where s.slug = %s",
            WebhookRoute,
            _one(workflows.by_slug),
        ),
        Case(
            "workflow_definition",
            "by id",
            False,
            _WORKFLOWS,
            "where s.id = %s",
            WorkflowDefinition,
            _one(workflows.get),
        ),
        Case(
            "node_config",
            "by node",
            False,
            _NODES,
            "where s.workflow_id = %s and s.node_id = %s",
            NodeConfig,
            _one(nodes.get),
        ),
        Case(
            "run_card",
            "newest 50",
            False,
            _PROJECTS,
            "where s.project_id = %s order by s.created_at desc, s.id desc limit 50",
            RunCard,
            runs.recent,
        ),
    ]
