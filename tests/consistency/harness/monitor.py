"""Who waits for whom: samples pg_locks of one site, and keeps the longest wait of each kind."""

from typing import LiteralString

import psycopg

from tests.consistency.harness.worker import Worker

_WAITS: LiteralString = """
with locks as materialized (
    -- Asked once, before the locks are listed, which are thousands where transactions are serializable.
    select * from pg_locks where exists (select from pg_stat_activity as w where w.wait_event_type = 'Lock')
)
select
    substr(a.application_name, 4) as role, l.locktype, l.mode, l.classid::bigint, n.nspname, c.relname,
    -- From before this look: what it says has certainly been waited, however slow the look itself is.
    extract(epoch from statement_timestamp() - l.waitstart)::float8,
    array(
        select coalesce(b.application_name, 'a prepared transaction')
        from (
            -- Who waited for a row may wait for something else when its blockers are asked for.
            select h.pid from locks as h
            where h.granted and h.pid is distinct from l.pid and (
                h.transactionid = l.transactionid
                or (h.relation, h.page, h.tuple) = (l.relation, l.page, l.tuple)
            )
            union all
            select p.pid from unnest(pg_blocking_pids(l.pid)) as p (pid)
            where l.locktype not in ('transactionid', 'tuple')
        ) as p
        left join pg_stat_activity as b on b.pid = p.pid
        group by 1
    ),
    left(regexp_replace(a.query, '\\s+', ' ', 'g'), 120)
from locks as l
inner join pg_stat_activity as a on a.pid = l.pid
left join pg_class as c on c.oid = l.relation
left join pg_namespace as n on n.oid = c.relnamespace
where not l.granted and l.waitstart is not null and a.datname = current_database()
"""

# Of sql/routines/005_locks.sql.
_LOCK_CLASSES = range(1296257841, 1296257845)
_SCHEMAS = ("meshcache", "meshcache_data")
_MAINTENANCE = frozenset({"mc fill", "mc refresh", "mc sweep", "mc apply", "mc library"})

OF_THE_CACHE = "a lock of the cache"
OF_APPLY = "a definition that is being applied"
OF_ITS_DDL = "a source table while triggers are made"
OF_THE_APPLICATION = "a lock of the application"

# Who must not be kept waiting by the cache: writers, readers and fills.
CLIENTS = ("write", "migrate", "resolve", "read", "ask", "fill", "library", "")


class Monitor(Worker):
    """Looks up to 25 times a second: a wait is told to a few hundredths."""

    role = "monitor"

    def turn(self, connection: psycopg.Connection) -> None:
        self.doing = "looking at locks"
        for (
            role,
            locktype,
            mode,
            lock_class,
            schema,
            relation,
            seconds,
            blockers,
            query,
        ) in connection.execute(_WAITS):
            if not blockers:
                # It had its lock by the time of the second look.
                continue
            whose = self._whose(role, locktype, lock_class, schema, set(blockers))
            name = f"{role or 'pgbouncer'} waits for {whose}"
            place = f"{locktype} {schema}.{relation}" if relation else locktype
            self.site.tally.add("lock waits seen", name)
            self.site.tally.largest(
                name, seconds, f"{mode} on {place}, held by {', '.join(blockers)}: {query}"
            )
        self.site.pause(0.04)

    def _whose(
        self, role: str, locktype: str, lock_class: int | None, schema: str | None, blockers: set[str]
    ) -> str:
        if schema in _SCHEMAS or (locktype == "advisory" and lock_class in _LOCK_CLASSES):
            return OF_APPLY if "mc apply" in blockers else OF_THE_CACHE
        if schema is not None:
            return OF_ITS_DDL if blockers and blockers <= _MAINTENANCE else OF_THE_APPLICATION
        # A transaction that maintenance waits for, or is waited for: it holds nothing but rows of the cache.
        if f"mc {role}" in _MAINTENANCE - {"mc apply"} or (blockers and blockers <= _MAINTENANCE):
            return OF_THE_CACHE
        return OF_THE_APPLICATION
