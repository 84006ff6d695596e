"""A row as the JSON document that a cache outside of PostgreSQL keeps: all columns in one object."""

from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import orjson

from benchmarks.contenders.application import COLUMNS, made
from meshcache_pg.meshhook import WorkflowDefinition

_values: Final = attrgetter(*COLUMNS)


def encode(row: WorkflowDefinition) -> bytes:
    """The document; UUIDs and moments become strings."""
    return orjson.dumps(dict(zip(COLUMNS, _values(row), strict=True)))


def decode(document: Any) -> WorkflowDefinition:
    """The row again, with the types that it had."""
    row = orjson.loads(document)
    row["id"] = UUID(row["id"])
    row["project_id"] = UUID(row["project_id"])
    row["user_id"] = UUID(row["user_id"]) if row["user_id"] else None
    row["created_at"] = datetime.fromisoformat(row["created_at"])
    row["updated_at"] = datetime.fromisoformat(row["updated_at"])
    # In the order of COLUMNS: that is how it was encoded.
    return made(tuple(row.values()))
