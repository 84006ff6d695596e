"""SQL that a verb would run, found by running it and rolling it back. What it prints runs in psql and does
the same, as long as the catalog is still what it was: ids and names of generated objects are literal in it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from sqlalchemy import Connection, event

from meshcache_pg.errors import MeshcacheError

# What only reads is left out; these are SELECTs that do something.
_READS = re.compile(r"(?:select|show|with recursive)\b")
_ACTS = re.compile(
    r"\b(?:set_config|_ensure_data|_reserve_pages|_run_in_time|_sync_triggers|_drop_triggers|invalidate"
    r"|\w+_invalidate)\"?\("
)
_COMMENTS = re.compile(r"^\s*--[^\n]*\n", re.MULTILINE)

# Identity columns do not go back with a rollback, so the script sets them to where they were.
_SEQUENCES = ("cached_view_id_seq", "source_table_id_seq", "mark_table_id_seq")
_STATE = """
select md5(concat_ws(' ',
    (
        select string_agg(concat_ws(' ', v.id, v.generation, v.definition_hash), ' ' order by v.id)
        from meshcache.cached_view as v
    ),
    (select string_agg(s.id || s.relation::text, ' ' order by s.id) from meshcache.source_table as s),
    (select string_agg(m.id::text, ' ' order by m.id) from meshcache.mark_table as m)
))
"""
_GUARD = """do $guard$
begin
    if ({state}) <> {digest} then
        raise exception 'the catalog has changed since this script was printed'
            using hint = 'Print it again.';
    end if;
end
$guard$"""


def captured(connection: Connection, work: Callable[[Connection], object]) -> list[str]:
    """The statements that change something among those that `work` executes; all of them are rolled back."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise MeshcacheError("SQL can only be printed through psycopg")
    cursor = psycopg.ClientCursor(raw)
    found: list[str] = []

    def note(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        literal = context is not None and context.execution_options.get("no_parameters")
        for values in parameters if many else [parameters]:
            text = statement if literal else cursor.mogrify(statement.encode(), values)
            start = _COMMENTS.sub("", text).lstrip().lower()
            if not _READS.match(start) or _ACTS.search(start):
                found.append(text.strip())

    savepoint = connection.begin_nested()
    event.listen(connection, "before_cursor_execute", note)
    try:
        work(connection)
    finally:
        event.remove(connection, "before_cursor_execute", note)
        savepoint.rollback()
    return found


def guarded(connection: Connection, work: Callable[[Connection], object]) -> list[str]:
    """The same, with statements before it that hold the catalog and the search_path to what they are now; it
    waits for its turn before it looks.
    """
    cursor = psycopg.ClientCursor(connection.connection.driver_connection)  # type: ignore[arg-type]
    digest = connection.exec_driver_sql(_STATE).scalar_one()
    path = connection.exec_driver_sql("show search_path").scalar_one()
    before = [
        # For the wait for that turn; what comes later sets its own.
        "set local lock_timeout = '500ms'",
        "select meshcache._begin_apply()",
        psycopg.sql.SQL(_GUARD).format(state=psycopg.sql.SQL(_STATE), digest=digest).as_string(cursor),
        cursor.mogrify("select set_config('search_path', %s, true)", [path]),
    ]
    for sequence in _SEQUENCES:
        name = psycopg.sql.Identifier("meshcache", sequence)
        query = psycopg.sql.SQL("select last_value, is_called from {}").format(name).as_string(None)
        last, called = connection.exec_driver_sql(query).one()
        before.append(cursor.mogrify("select setval(%s, %s, %s)", [f"meshcache.{sequence}", last, called]))
    return before + captured(connection, work)


def script(statements: Iterable[str], *comments: str) -> str:
    """Statements as one transaction for psql, below comments on what they depend on."""
    body = (text + ("\n;" if "--" in text.rsplit("\n", 1)[-1] else ";") for text in statements)
    return "\n".join([*(f"-- {comment}" for comment in comments), "begin;", *body, "commit;"])
