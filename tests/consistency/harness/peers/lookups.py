"""Which change of which table concerns which key, written by hand as an application's author would, and the
triggers that are made of it. A join is followed at the time of the write: that is what a trigger can see.
"""

from collections.abc import Callable
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.consistency.harness.peers.workload import VIEWS, PlainView

SCHEMA = "peer"

# By view and table: a query for keys; `changed` has the rows of the table before and after.
_LOOKUPS: dict[str, dict[str, LiteralString]] = {
    "run_card": {
        "workflow_runs": "select c.id from changed as c",
        "workflow_definitions": (
            "select r.id from workflow_runs as r inner join changed as c on r.workflow_id = c.id"
        ),
    },
    "run_state": {
        "workflow_runs": "select c.id from changed as c",
        "workflow_events": "select c.run_id from changed as c",
    },
    "workflow_card": {
        "workflow_definitions": "select c.id from changed as c",
        "workflow_runs": "select c.workflow_id from changed as c",
        "projects": (
            "select d.id from workflow_definitions as d inner join changed as c on d.project_id = c.id"
        ),
    },
    "ledger_total": {"ledger": "select c.writer from changed as c"},
}

# A trigger may have transition tables for one kind of statement only.
_STATEMENTS: dict[LiteralString, tuple[LiteralString, LiteralString]] = {
    "insert": ("new table as new_rows", "select n.* from new_rows as n"),
    "delete": ("old table as old_rows", "select o.* from old_rows as o"),
    "update": (
        "old table as old_rows new table as new_rows",
        "select o.* from old_rows as o union all select n.* from new_rows as n",
    ),
}

# In the order of keys, so that two writers meet in the same order.
_TRIGGER: LiteralString = """
create function {function}() returns trigger language plpgsql as $peer$
declare
    keys {type}[] := array(
        with changed as ({changed})
        select distinct k.key from ({lookup}) as k (key) order by k.key
    );
begin
    if cardinality(keys) > 0 then
        {action};
    end if;
    return null;
end $peer$;
create trigger {trigger} after {statement} on {table} referencing {tables}
for each statement execute function {function}()
"""


def create_triggers(connection: psycopg.Connection, action: Callable[[PlainView], sql.Composed]) -> None:
    """Triggers that run `action`, one or more statements of PL/pgSQL, with the array `keys` in reach."""
    for view in VIEWS:
        for table, lookup in _LOOKUPS[view.name].items():
            for statement, (tables, changed) in _STATEMENTS.items():
                name = f"{view.name}_of_{table}_{statement}"
                query = sql.SQL(_TRIGGER).format(
                    function=sql.Identifier(SCHEMA, name),
                    trigger=sql.Identifier(f"peer_{name}"),
                    type=sql.SQL(view.key_type),
                    changed=sql.SQL(changed),
                    lookup=sql.SQL(lookup),
                    action=action(view),
                    statement=sql.SQL(statement),
                    table=sql.Identifier(table),
                    tables=sql.SQL(tables),
                )
                connection.execute(query)


def create_schema(connection: psycopg.Connection) -> None:
    """The schema of a peer: by its name one can tell what the server says of the peer."""
    connection.execute(sql.SQL("create schema {}").format(sql.Identifier(SCHEMA)))
