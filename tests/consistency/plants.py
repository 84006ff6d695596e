"""Mistakes to plant: each function breaks a rule of the protocol in the installed SQL of a database that is
then thrown away. The product has no switches for this: the text that the database itself gives back is
patched, and a patch fails when what it looks for is no longer there.

They hold for any definitions, so that they can be planted in a run of the harness; only the look-up at write
time knows the tables of tests.consistency.directed.
"""

import re
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.fixtures.fix_cache import refresh

# What a restored copy cannot have, as fresh.sql has it, and as the server prints it in a view.
_OWN = (
    r"e\.xmin = e\.opened_by::xid and e\.tableoid = e\.table_oid",
    r"v\.xmin = v\.written_as and v\.table_oid = \S+::regclass",
)

_OWN_IN_VIEWS = (
    r"\(e\.xmin = \(e\.opened_by\)::xid\) AND \(e\.tableoid = e\.table_oid\)",
    r"\(v\.xmin = v\.written_as\) AND \(v\.table_oid = \('[^']+'::regclass\)::oid\)",
)

_FUNCTIONS: LiteralString = """
select p.proname, pg_get_functiondef(p.oid) from pg_proc as p
where p.pronamespace = 'meshcache'::regnamespace and p.proname like %s
"""
_VIEWS: LiteralString = """
select c.relname, pg_get_viewdef(c.oid) from pg_class as c
where c.relnamespace = 'meshcache'::regnamespace and c.relkind = 'v' and c.relname like %s
"""


def change_functions(connection: psycopg.Connection, name: str, pattern: str, replacement: str) -> None:
    """Replace what a regular expression matches in every function whose name is like `name`."""
    changed = 0
    for _, text in connection.execute(_FUNCTIONS, (name,)).fetchall():
        patched, count = re.subn(pattern, replacement, text)
        if count:
            connection.execute(sql.SQL(patched))
        changed += count
    assert changed, f"no function like {name} contains {pattern!r} any more"


def change_views(connection: psycopg.Connection, name: str, pattern: str, replacement: str) -> None:
    """The same for the SELECT of every view."""
    changed = 0
    for view, select in connection.execute(_VIEWS, (name,)).fetchall():
        patched, count = re.subn(pattern, replacement, select)
        if count:
            identifier = sql.Identifier("meshcache", view)
            connection.execute(
                sql.SQL("create or replace view {} as {}").format(identifier, sql.SQL(patched))
            )
        changed += count
    assert changed, f"no view like {name} contains {pattern!r} any more"


def drop_triggers(connection: psycopg.Connection, suffix: str) -> None:
    """Drop the cache's triggers whose names end so, on every table."""
    found = connection.execute(
        "select t.tgrelid::regclass::text, t.tgname from pg_trigger as t"
        " where t.tgname ~ ('^meshcache_[0-9]+_' || %s || '$') and t.tgparentid = 0",
        (suffix,),
    ).fetchall()
    assert found, f"no trigger is called meshcache_…_{suffix} any more"
    for table, name in found:
        connection.execute(sql.SQL("drop trigger {} on {}").format(sql.Identifier(name), sql.SQL(table)))


def no_marks(connection: psycopg.Connection) -> None:
    """UPDATE leaves no mark."""
    change_functions(
        connection,
        r"\_mark\_%\_update",
        r'insert into (meshcache\."mark_\d+") (\([^()]+\)) values \(([^()]+)\)',
        r"insert into \1 \2 select \3 where false",
    )
    change_functions(
        connection,
        r"\_mark\_%\_update",
        r"from unnest\(([^()]+)\) as u (\([^()]+\)) where",
        r"\g<0> false and",
    )


def only_new_values(connection: psycopg.Connection) -> None:
    """UPDATE marks the new value of a column and not the old one."""
    change_functions(
        connection, r"\_mark\_%\_update", r"values \(([^()]+)\), \(([^()]+)\)\s+\) as p", r"values (\2)) as p"
    )
    change_functions(
        connection,
        r"\_mark\_%\_update",
        r'"v_o_\w+"(::text collate "C")? is distinct from "v_n_\w+"(::text collate "C")?',
        "false",
    )


def equal_values_unmarked(connection: psycopg.Connection) -> None:
    """UPDATE takes values for unchanged that are equal by their type's own operator."""
    change_functions(connection, r"\_mark\_%\_update", r"operator\(pg_catalog\.\*<>\)", "<>")


def no_wildcard_over_the_limit(connection: psycopg.Connection) -> None:
    """A statement over more than 1,000 values leaves neither their marks nor a wildcard."""
    change_functions(
        connection, r"\_mark\_%", "if v_wildcard then", "if v_wildcard then null; elsif false then"
    )


def no_marks_in_a_cascade(connection: psycopg.Connection) -> None:
    """What a foreign key's cascade deletes or updates leaves no mark.

    It is told by the client's statement, which does not name the table.
    """
    for event in ("update", "delete"):
        change_functions(
            connection,
            rf"\_mark\_%\_{event}",
            "if v_rows is null and",
            "if strpos(current_query(), tg_table_name) = 0 then null; elsif v_rows is null and",
        )


def no_truncate_trigger(connection: psycopg.Connection) -> None:
    """TRUNCATE leaves no mark, and nobody misses the trigger."""
    change_functions(connection, r"\_wanted\_triggers", r",\s+\('truncate', 'before', ''\)", "")
    drop_triggers(connection, "mark_truncate")


def no_replica_trigger(connection: psycopg.Connection) -> None:
    """Sessions in replica mode leave no mark, and nobody misses the triggers."""
    change_functions(connection, r"\_wanted\_triggers", r"where c\.relkind = 'r'", "where false")
    drop_triggers(connection, "mark_row")


def no_guard(connection: psycopg.Connection) -> None:
    """Reads in the middle of a statement do not know that its marks are still to come."""
    change_functions(
        connection,
        "%",
        r"coalesce\(pg_catalog\.current_setting\('meshcache\.writing', true\), ''\) = ''",
        "true",
    )
    change_views(
        connection,
        "%",
        r"\(COALESCE\(current_setting\('meshcache\.writing'::text, true\), ''::text\) = ''::text\)",
        "true",
    )


def partitions_not_compared(connection: psycopg.Connection) -> None:
    """Readers take the partitions of the install for those of now."""
    change_functions(connection, "%", r"t\.trusted and t\.children = array\(", "true or t.children = array(")
    change_views(connection, "%", r"\(t\.trusted AND \(t\.children = ", "(true OR (t.children = ")


def lookup_at_write_time(connection: psycopg.Connection) -> None:
    """A change of an owner marks the items that it has now, instead of itself."""
    row = connection.execute(
        "select s.id, m.id from meshcache.source_table as s, meshcache.mark_table as m"
        " inner join meshcache.source_table as i on i.id = m.source_id"
        " where s.relation = 'owner'::regclass and i.relation = 'item'::regclass and m.columns = '{id}'"
    ).fetchone()
    assert row is not None, "items are no longer marked by their id"
    connection.execute(
        sql.SQL(
            "create or replace function {}() returns trigger language plpgsql security definer as $$ begin"
            " insert into {} (id) select i.id from public.item as i"
            " inner join new_rows as n on n.id = i.owner_id on conflict do nothing;"
            " perform set_config("
            "'meshcache.writing', substr(current_setting('meshcache.writing', true), 2), true);"
            " return null; end $$"
        ).format(
            sql.Identifier("meshcache", f"_mark_{row[0]}_update"),
            sql.Identifier("meshcache", f"mark_{row[1]}"),
        )
    )


def own_marks_not_told(connection: psycopg.Connection) -> None:
    """What the transaction of a fill has written, or writes after it, counts as known to the fill."""
    change_views(connection, "%", r"\(m\.xid = c\._filled_by\) OR ", "")


def fills_after_writes(connection: psycopg.Connection) -> None:
    """A transaction that has written may fill."""
    change_functions(connection, r"\_begin\_fill", r"pg_current_xact_id_if_assigned\(\) is not null", "false")


def fills_in_old_snapshots(connection: psycopg.Connection) -> None:
    """A transaction may fill in whatever snapshot it has, as old as that may be."""
    change_functions(
        connection,
        r"\_begin\_fill",
        r"current_setting\('transaction_isolation'\) <> 'read committed'",
        "false",
    )


def no_barrier(connection: psycopg.Connection) -> None:
    """The sweep does not wait for fills."""
    change_functions(
        connection,
        r"\_barrier",
        r"perform pg_advisory_xact_lock\(meshcache\._lock_class\('fill'\), p_view_id\);",
        "null;",
    )


def no_fill_lock(connection: psycopg.Connection) -> None:
    """Fills do not take the lock that the sweep waits for."""
    change_functions(
        connection,
        r"\_begin\_fill",
        r"if not pg_try_advisory_xact_lock_shared\(meshcache\._lock_class\('fill'\)",
        "if false and not pg_try_advisory_xact_lock_shared(meshcache._lock_class('fill')",
    )


def no_refresh_lock(connection: psycopg.Connection) -> None:
    """Fills by key, and whatever rewrites a view, do not keep out of each other's way."""
    change_functions(
        connection,
        r"\_begin\_fill",
        "if not (pg_try_[a-z_]+)\\(meshcache\\._lock_class\\('refresh'\\)",
        r"if false and not \1(meshcache._lock_class('refresh')",
    )


def no_turns(connection: psycopg.Connection) -> None:
    """Definitions are changed by several transactions at once."""
    change_functions(
        connection,
        r"\_begin\_apply",
        r"perform pg_advisory_xact_lock\(meshcache\._lock_class\('apply'\), 0\);",
        "null;",
    )


def older_replaces_newer(connection: psycopg.Connection) -> None:
    """A fill replaces a row that was filled in a newer snapshot."""
    change_functions(
        connection,
        "%",
        r"where pg_snapshot_xmax\(c\._filled_in\) <= pg_snapshot_xmax\(excluded\._filled_in\)"
        r"\s+and pg_snapshot_xmin\(c\._filled_in\) <= pg_snapshot_xmin\(excluded\._filled_in\)",
        "",
    )


def no_horizon(connection: psycopg.Connection) -> None:
    """The sweep deletes all marks that it sees, also of transactions that were open when it resolved them."""
    change_functions(
        connection, r"\_delete\_marks", r"where m\.xid < (\$1|p_below)", r"where m.xid < \1 or true"
    )


def marks_deleted_too_early(connection: psycopg.Connection) -> None:
    """The sweep deletes marks when the first view that reads them is resolved."""
    change_functions(
        connection,
        "sweep",
        r"(v_rows := v_rows \+ v_count;)",
        r"\1 v_marks := v_marks + meshcache._delete_marks(v_horizon);",
    )


def quiet_without_a_look(connection: psycopg.Connection) -> None:
    """A list takes what is cached for all there is, without a look for marks."""
    change_functions(
        connection, r"\_%\_quiet", r"return([\s\S]*?) and not \([\s\S]*\);\s*end", r"return\1; end"
    )


def empty_is_complete(connection: psycopg.Connection) -> None:
    """A complete view that was filled once is taken for complete, whatever became of its rows."""
    views = connection.execute(
        "select v.name from meshcache.cached_view as v where v.kind = 'cached_view' order by v.name"
    ).fetchall()
    refresh(connection, *(name for (name,) in views))
    change_functions(
        connection,
        r"\_%\_usable",
        r"return(\s+\(\s+select true from meshcache_data\.view_state as v\s+where v\.view_id = (\d+))",
        r"if not exists (select from meshcache_data.view_state as s where s.view_id = \2) then return true;"
        r" end if; return\1",
    )


def no_epoch_horizon(connection: psycopg.Connection) -> None:
    """After a crash fills do not wait for the transactions from before it."""
    change_functions(connection, "%", r"e\.opened_by <= pg_snapshot_xmin\(pg_current_snapshot\(\)\)", "true")


def restored_rows_trusted(connection: psycopg.Connection) -> None:
    """Rows that a dump brought along count as filled here."""
    for own in _OWN:
        change_functions(connection, "%", own, "true")
    for own in _OWN_IN_VIEWS:
        change_views(connection, "%", own, "true")
    change_views(connection, "%", r"\((c\.)?xmin = \(?\(?(c\.)?_filled_by\)?::xid\)\)?", "true")


def expired_rows_served(connection: psycopg.Connection) -> None:
    """The time to live is written down and never looked at."""
    change_views(connection, "%", r"\((c\.)?_expires_at > statement_timestamp\(\)\)", "true")
