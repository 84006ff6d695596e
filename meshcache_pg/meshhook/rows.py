"""What the repositories return: a frozen dataclass per definition of the pack, its fields the columns.

JSON documents are the dicts that the driver decoded. They are typed as read-only mappings, and must not be
changed: whoever shares a row shares them. Moments are aware datetimes, durations numbers of milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WebhookRoute:
    """webhook_route: the workflow that an inbound webhook with this slug starts."""

    slug: str
    workflow_id: UUID
    project_id: UUID
    version: int


@dataclass(frozen=True, slots=True)
class WorkflowCard:
    """workflow_card: one entry of the workflow list."""

    id: UUID
    project_id: UUID
    project_name: str
    slug: str
    version: int
    name: str
    description: str | None
    status: str
    user_id: UUID | None
    node_count: int
    run_count: int
    running_count: int
    succeeded_count: int
    failed_count: int
    paused_count: int
    canceled_count: int
    last_run_id: UUID | None
    last_run_status: str | None
    last_run_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """workflow_definition: one workflow with its graph, `definition`, which must not be changed."""

    id: UUID
    project_id: UUID
    project_name: str
    slug: str
    version: int
    name: str
    description: str | None
    status: str
    user_id: UUID | None
    definition: Document
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """node_config: the settings of one node, `config`, which must not be changed."""

    workflow_id: UUID
    node_id: str
    project_id: UUID
    node_type: str | None
    label: str | None
    config: Document


@dataclass(frozen=True, slots=True)
class RunCard:
    """run_card: one entry of the runs list."""

    id: UUID
    project_id: UUID
    workflow_id: UUID
    workflow_slug: str
    workflow_name: str
    workflow_version: int
    status: str
    started_at: datetime
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RunState:
    """run_state: where a run stands. `node_states` maps a node's id to its `status` and `attempts`."""

    run_id: UUID
    project_id: UUID
    workflow_id: UUID
    status: str
    event_count: int
    last_event_id: int | None
    last_event_at: datetime | None
    current_node: str | None
    next_node: str | None
    node_states: Mapping[str, Document]


@dataclass(frozen=True, slots=True)
class RunDetail:
    """run_detail: the run page. `recent_events` are the last 50, oldest first, without their payloads."""

    run_id: UUID
    project_id: UUID
    workflow_id: UUID
    workflow_slug: str
    workflow_name: str
    workflow_version: int
    status: str
    started_at: datetime
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime
    event_count: int
    recent_events: Sequence[Document]
    node_states: Mapping[str, Document]


@dataclass(frozen=True, slots=True)
class WorkflowStats:
    """workflow_stats: one workflow in one hour (UTC). Percentiles are of how long finished runs took."""

    workflow_id: UUID
    hour: datetime
    project_id: UUID
    run_count: int
    succeeded_count: int
    failed_count: int
    finished_count: int
    p50_ms: int | None
    p95_ms: int | None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """queue_stats: one queue in one hour (UTC)."""

    queue_name: str
    hour: datetime
    job_count: int
    completed_count: int
    failed_count: int
    dead_count: int
    waiting_count: int
    running_count: int
    retried_count: int
    oldest_open_at: datetime | None
    wait_p50_ms: int | None
    wait_p95_ms: int | None
    work_p95_ms: int | None
