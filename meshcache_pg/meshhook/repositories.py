"""MeshHook's reads as typed methods, so that no caller knows which cached view answers, or that one does.

    with engine.connect() as connection:
        route = WorkflowRepository(cache, connection).by_slug("import-orders-7")
        if route:
            start(route.unwrap().workflow_id)

All methods read on the caller's Connection or Session, in its transaction and snapshot, its own writes
included (a Session is flushed first if it has autoflush on). They answer before the pack is applied, without
any right on the cache and when the cache is gone: then from the source, and `origin` says so. Only rollups
may lag, by `age`.

Raises: InvalidKey for a value that no such column can have; the transaction stays usable. Whatever else the
server refuses passes as psycopg's error, as it would from a plain query.
"""

from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from meshcache_pg.answers import Listing, Result
from meshcache_pg.bound_view import BoundView
from meshcache_pg.cache import MeshCache
from meshcache_pg.meshhook.pack import definition
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

T = TypeVar("T")

# What one page of a list shows where the caller asks for nothing else.
PAGE = 50


class _Repository:
    def __init__(self, cache: MeshCache, where: Connection | Session) -> None:
        """`where` stays the caller's: it is neither committed nor closed here."""
        self._cache = cache
        self._where = where

    def _view(self, name: str, row_type: type[T]) -> BoundView[T]:
        # Bound anew for each read: a Session has another connection after each commit.
        if isinstance(self._where, Session) and self._where.autoflush:
            self._where.flush()
        return self._cache.view(definition(name), self._where, row_type)


class WorkflowRepository(_Repository):
    """Workflows: routing, the list, the editor."""

    def by_slug(self, slug: str) -> Result[WebhookRoute]:
        """The workflow that an inbound webhook starts: the highest version, across all projects and statuses.

        Where several projects share slug and version, the oldest definition.
        """
        return self._view("webhook_route", WebhookRoute).get(slug)

    def get(self, workflow_id: UUID) -> Result[WorkflowDefinition]:
        """One workflow with its graph."""
        return self._view("workflow_definition", WorkflowDefinition).get(workflow_id)

    def get_many(self, workflow_ids: Iterable[UUID]) -> dict[UUID, Result[WorkflowDefinition]]:
        """Several in one round trip, in the order asked for."""
        return self._view("workflow_definition", WorkflowDefinition).get_many(workflow_ids)

    def card(self, workflow_id: UUID) -> Result[WorkflowCard]:
        """One entry of the list."""
        return self._view("workflow_card", WorkflowCard).get(workflow_id)

    def cards(self, project_id: UUID, *, limit: int | None = None, offset: int = 0) -> Listing[WorkflowCard]:
        """A project's workflows, the one changed last first; all of them unless `limit` says otherwise."""
        return self._view("workflow_card", WorkflowCard).list(
            project_id=project_id, order_by=("-updated_at", "id"), limit=limit, offset=offset
        )


class NodeConfigRepository(_Repository):
    """Settings of single nodes, for workers."""

    def get(self, workflow_id: UUID, node_id: str) -> Result[NodeConfig]:
        """The settings of one node of one workflow."""
        return self._view("node_config", NodeConfig).get(workflow_id, node_id)

    def get_many(self, keys: Iterable[tuple[UUID, str]]) -> dict[tuple[UUID, str], Result[NodeConfig]]:
        """Several (workflow, node) in one round trip, in the order asked for."""
        return self._view("node_config", NodeConfig).get_many(keys)


class RunRepository(_Repository):
    """Runs: lists, the run page, and what a worker asks at every tick."""

    def recent(self, project_id: UUID, *, limit: int | None = PAGE, offset: int = 0) -> Listing[RunCard]:
        """A project's runs, newest first."""
        return self._cards(limit, offset, project_id=project_id)

    def for_workflow(
        self, workflow_id: UUID, *, limit: int | None = PAGE, offset: int = 0
    ) -> Listing[RunCard]:
        """A workflow's runs, newest first."""
        return self._cards(limit, offset, workflow_id=workflow_id)

    def card(self, run_id: UUID) -> Result[RunCard]:
        """One entry of the runs list."""
        return self._view("run_card", RunCard).get(run_id)

    def state(self, run_id: UUID) -> Result[RunState]:
        """Where a run stands."""
        return self._view("run_state", RunState).get(run_id)

    def states(self, run_ids: Iterable[UUID]) -> dict[UUID, Result[RunState]]:
        """Several in one round trip, in the order asked for."""
        return self._view("run_state", RunState).get_many(run_ids)

    def detail(self, run_id: UUID) -> Result[RunDetail]:
        """The run page."""
        return self._view("run_detail", RunDetail).get(run_id)

    def _cards(self, limit: int | None, offset: int, **where: UUID) -> Listing[RunCard]:
        return self._view("run_card", RunCard).list(
            order_by=("-created_at", "-id"), limit=limit, offset=offset, **where
        )


class StatsRepository(_Repository):
    """Dashboards. As of the last refresh of the rollup, which `Listing.age` tells."""

    def workflows(
        self,
        *,
        project_id: UUID | None = None,
        workflow_id: UUID | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Listing[WorkflowStats]:
        """Runs per workflow and hour, newest hour first; of one project or workflow, or of all."""
        return self._view("workflow_stats", WorkflowStats).list(
            order_by=("-hour", "workflow_id"),
            limit=limit,
            offset=offset,
            **_given(project_id=project_id, workflow_id=workflow_id),
        )

    def queues(
        self, *, queue_name: str | None = None, limit: int | None = None, offset: int = 0
    ) -> Listing[QueueStats]:
        """Jobs per queue and hour, newest hour first; of one queue or of all."""
        return self._view("queue_stats", QueueStats).list(
            order_by=("-hour", "queue_name"), limit=limit, offset=offset, **_given(queue_name=queue_name)
        )


def _given(**filters: Any) -> dict[str, Any]:
    # To a list read None means `is null`; to our callers it means "any".
    return {column: value for column, value in filters.items() if value is not None}
