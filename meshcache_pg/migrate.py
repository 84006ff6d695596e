"""The one runner of migrations and routines. `meshcache migrate`, the project's own Alembic environment and
an application's revision (`meshcache_pg.migrate.upgrade(op.get_bind())`) all come here, so that no Alembic
environment is ever started inside another one.

Migrations are the SQL pairs of sql/migrations, in the order of the Alembic revisions that name them; the
version stands in meshcache.schema_version, a table of ours. Routines (sql/routines) are run again whenever
their text changed.
"""

import hashlib

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql as composing
from sqlalchemy import Connection, text

from meshcache_pg import sql
from meshcache_pg.database import check_server, execute_ddl
from meshcache_pg.errors import NotInstalled

VERSION_TABLE = "schema_version"
SCHEMA = "meshcache"


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(sql.alembic_dir()))


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "version_table_schema": SCHEMA}
    )


def _exists(connection: Connection) -> bool:
    found: bool = connection.scalar(text("select to_regclass('meshcache.schema_version') is not null"))
    return found


def current(connection: Connection) -> str | None:
    """The installed version, or None where nothing is installed."""
    return _context(connection).get_current_revision() if _exists(connection) else None


def require(connection: Connection) -> None:
    """Raise NotInstalled unless this database has exactly the schema of this package version."""
    version, wanted = current(connection), _scripts().get_current_head()
    if version is None:
        raise NotInstalled("this database has no meshcache schema", hint="Run: meshcache migrate")
    if version != wanted or _changed_routines(connection):
        raise NotInstalled(
            f"this database has meshcache schema {version}, this package needs {wanted} and its routines",
            hint="Run: meshcache migrate",
        )


def _routines() -> list[tuple[str, str]]:
    files = sorted((sql.sql_dir() / "routines").glob("*.sql"))
    return [(file.name, file.read_text(encoding="utf-8")) for file in files]


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _changed_routines(connection: Connection) -> list[tuple[str, str]]:
    known = {
        r.name: r.content_hash
        for r in connection.execute(text("select name, content_hash from meshcache.routine"))
    }
    return [(name, body) for name, body in _routines() if known.get(name) != _hash(body)]


def run_migration(connection: Connection, name: str, direction: str) -> None:
    """Execute one SQL pair's half; `direction` is up or down."""
    execute_ddl(connection, sql.read(f"migrations/{name}.{direction}.sql"))


def run_routines(connection: Connection) -> list[str]:
    """Run the routine files whose text is not the installed one; returns their names."""
    changed = _changed_routines(connection)
    for name, body in changed:
        execute_ddl(connection, body)
        connection.execute(
            text(
                "insert into meshcache.routine (name, content_hash) values (:name, :hash) "
                "on conflict (name) do update set content_hash = excluded.content_hash"
            ),
            {"name": name, "hash": _hash(body)},
        )
    return [name for name, _ in changed]


def upgrade(connection: Connection) -> list[str]:
    """Bring the caller's database to this package's schema, inside the caller's transaction; [] when it was
    there.

    Needs: CREATE on the database. Returns what was run. Raises UnsupportedServer below PostgreSQL 13.
    """
    check_server(connection)
    scripts, done = _scripts(), []
    execute_ddl(connection, "create schema if not exists meshcache")
    context = _context(connection)
    version = context.get_current_revision() if _exists(connection) else None
    for revision in reversed(list(scripts.iterate_revisions("head", version or "base"))):
        if revision.revision == version:
            continue
        run_migration(connection, revision.module.NAME, "up")
        context.stamp(scripts, revision.revision)
        done.append(revision.module.NAME)
    done += run_routines(connection)
    connection.execute(text("select meshcache._ensure_data()"))
    return done


def _insert(table: str, *values: str) -> str:
    row = composing.SQL(", ").join(composing.Literal(v) for v in values)
    name = composing.Identifier(SCHEMA, table)
    return sql.text(composing.SQL("insert into {} values ({});").format(name, row))


def script() -> str:
    """The SQL of a fresh installation as one transaction, for those who run migrations by other means."""
    parts = ["begin;", "create schema if not exists meshcache;"]
    revisions = list(reversed(list(_scripts().iterate_revisions("head", "base"))))
    parts += [sql.read(f"migrations/{revision.module.NAME}.up.sql") for revision in revisions]
    parts.append(
        "create table meshcache.schema_version "
        "(version_num varchar(32) not null constraint schema_version_pkc primary key);"
    )
    parts.append(_insert("schema_version", revisions[-1].revision))
    for name, body in _routines():
        parts += [body, _insert("routine", name, _hash(body))]
    parts += ["select meshcache._ensure_data();", "commit;"]
    return "\n".join(parts) + "\n"
