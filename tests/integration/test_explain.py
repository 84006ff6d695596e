"""MeshCache.explain: the dependencies and why they are of their kind, what writes and reads cost, the
verdict, and that nothing of it changes or locks anything.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, LiteralString

import psycopg
import pytest
from sqlalchemy import event, text

from meshcache_pg import MeshCache, measure_reads, measure_writes, parse, timing
from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError, LockBusy, MissingRight
from meshcache_pg.explain import Explanation
from tests.fixtures.fix_cache import migrate_database
from tests.fixtures.fix_db import Database, Server
from tests.fixtures.fix_templates import Clone

TABLES: LiteralString = """
create table region (id integer primary key, name text);
create table customer (id integer primary key, region_id integer, name text, mail text unique, note text);
create table orders (id integer primary key, customer_id integer not null, status text, note text);
create index on orders (customer_id);
create table line (id integer primary key, order_id integer, quantity integer);
create table tag (id integer primary key, line_id integer, label text);
create table loose (order_id integer, word text);
create table event (id integer, day integer, order_id integer, primary key (id, day))
    partition by range (day);
create table event_1 partition of event for values from (0) to (10);
create table empty (id integer primary key, order_id integer, word text);
create schema other;
create table other.orders (id integer primary key, word text);
create view open_orders as select * from orders where status = 'open';

insert into region select n, 'region ' || n from generate_series(1, 3) as n;
insert into customer select n, 1 + n % 3, 'name ' || n, n || '@a' from generate_series(1, 10) as n;
insert into orders select n, 1 + n % 10, 'open' from generate_series(1, 60) as n;
insert into line select n, 1 + n % 60, n % 4 from generate_series(1, 200) as n;
insert into tag select n, n, 'tag ' || n % 5 from generate_series(1, 200) as n;
insert into loose select 1 + n % 60, 'word' from generate_series(1, 60) as n;
insert into event select n, n % 10, 1 + n % 60 from generate_series(1, 60) as n;
insert into other.orders select n, 'word' from generate_series(1, 60) as n;
"""

COUNTED = "select o.id, (select count(*) from line as l where l.order_id = o.id) as lines from orders as o"
PAGE = """select c.id, c.name, (
    select sum(l.quantity) from orders as o join line as l on l.order_id = o.id where o.customer_id = c.id
) as total from customer as c"""
DEEP = """select c.id, (
    select count(*) from orders as o join line as l on l.order_id = o.id join tag as t on t.line_id = l.id
    where o.customer_id = c.id
) as tags from customer as c"""
NAMED = "select o.id, o.customer_id, c.name from orders as o join customer as c on c.id = o.customer_id"

BY_CUSTOMER = """select o.customer_id, count(*) as n from orders as o join line as l on l.order_id = o.id
group by 1"""
RANKED = """select o.id, w.place from orders as o join (
    select l.id, rank() over (order by l.quantity) as place from line as l
) as w on w.id = o.id"""

ORDERS = ("key", "id", "id", "orders.id = id of the key", "")
BUYER = ("key", "customer_id", "id", "orders.customer_id = customer.id = id of the key", "")
LINE = ("key", "order_id", "id", "line.order_id = orders.id = id of the key", "")
CUSTOMER = ("key", "id", "id", "customer.id = id of the key", "")
INSIDE = "is read in a sub-query, and a cached row carries columns of the outermost FROM only"
FAR_LINE = (
    "linked",
    "order_id",
    "orders(id -> customer_id) id",
    f"line.order_id = orders.id of the row whose {BUYER[3]}",
    f"orders {INSIDE}",
)
WINDOW = "a window function that is not partitioned by what leads to the key"
NOTHING = "no condition that a column of it equals a column of another table or of the key"

Line = tuple[str, str, str, str, str]

# name: (headers, SELECT, table: (kind, column, way to the key, why, what kept it from a finer kind))
SHAPES: dict[str, tuple[str, str, dict[str, Line]]] = {
    "key": ("", COUNTED, {"orders": ORDERS, "line": LINE}),
    "carried": (
        "",
        NAMED,
        {
            "orders": ORDERS,
            "customer": (
                "carried",
                "id",
                "customer_id",
                "customer.id = orders.customer_id = column customer_id",
                "no equality leads on from there to the key",
            ),
        },
    ),
    "carried along": (
        "",
        "select o.id, c.name from orders as o join customer as c on c.id = o.customer_id",
        {
            "orders": ORDERS,
            "customer": (
                "carried",
                "id",
                "_carried_1",
                "customer.id = orders.customer_id = column _carried_1",
                "no equality leads on from there to the key",
            ),
        },
    ),
    "linked": ("", PAGE, {"customer": CUSTOMER, "orders": BUYER, "line": FAR_LINE}),
    "linked twice": (
        "",
        DEEP,
        {
            "customer": CUSTOMER,
            "orders": BUYER,
            "line": FAR_LINE,
            "tag": (
                "linked",
                "line_id",
                "line(id -> order_id) orders(id -> customer_id) id",
                f"tag.line_id = line.id of the row whose {FAR_LINE[3]}",
                f"line {INSIDE}",
            ),
        },
    ),
    "several rows of one key": (
        "",
        BY_CUSTOMER,
        {
            "orders": (
                "key",
                "customer_id",
                "customer_id",
                "orders.customer_id = customer_id of the key",
                "",
            ),
            "line": (
                "linked",
                "order_id",
                "orders(id -> customer_id) customer_id",
                "line.order_id = orders.id of the row whose orders.customer_id = customer_id of the key",
                "a key can have several rows of orders",
            ),
        },
    ),
    "a window in the way": (
        "-- flush: line\n",
        RANKED,
        {"orders": ORDERS, "line": ("flush", "", "", WINDOW, WINDOW)},
    ),
    "flush": (
        "-- flush: region\n",
        "select o.id, (select count(*) from region) as regions from orders as o",
        {"orders": ORDERS, "region": ("flush", "", "", NOTHING, NOTHING)},
    ),
    "through a view": ("", "select o.id, o.status from open_orders as o", {"orders": ORDERS}),
    "another schema": (
        "",
        "select o.id, p.word from orders as o join other.orders as p on p.id = o.id",
        {
            "orders": ORDERS,
            "other.orders": ("key", "id", "id", "other.orders.id = orders.id = id of the key", ""),
        },
    ),
}


# Those among them that leave different objects behind, if any are left.
DIFFERENT = ("carried along", "linked twice", "flush")


def define(select: str, headers: str = "", key: str = "id", name: str = "card") -> Definition:
    return parse(f"-- name: {name}\n-- key: {key}\n{headers}{select}", name)


def shape(name: str) -> Definition:
    headers, select, _ = SHAPES[name]
    key = "customer_id" if "group by" in select else "id"
    return define(select, headers, key, name.replace(" ", "_"))


def lines(found: Explanation) -> dict[str, Line]:
    return {
        one.table: (
            one.kind,
            ", ".join(one.columns),
            " ".join([*one.via, *one.view_columns]),
            one.why,
            one.hindrance,
        )
        for one in found.dependencies
    }


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[str]:
    """The tables and the cache's schema, to be copied."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    with ExitStack() as opened:
        opened.callback(server.drop_database, name)
        with ExitStack() as building:
            database = Database(server, name, building)
            database.connect().execute(TABLES)
            migrate_database(database)
        yield name


@pytest.fixture(scope="module")
def stage(server: Server, template: str) -> Iterator[Database]:
    """A database that the tests of this module share: explain changes nothing."""
    name = f"explain_{uuid.uuid4().hex[:12]}"
    with ExitStack() as opened:
        server.create_database(name, template)
        opened.callback(server.drop_database, name)
        yield Database(server, name, opened)


@pytest.fixture
def cache(stage: Database) -> Iterator[MeshCache]:
    with MeshCache(stage.dsn) as cache:
        yield cache


@pytest.fixture
def applied(clone: Clone, template: str) -> Iterator[Callable[..., MeshCache]]:
    """Makes a database of its own with these definitions applied and filled."""
    with ExitStack() as opened:

        def make(*definitions: Definition) -> MeshCache:
            cache = opened.enter_context(MeshCache(clone(template).dsn))
            cache.apply(definitions)
            for one in definitions:
                cache.refresh(one.name, "all")
            return cache

        yield make


@pytest.fixture(autouse=True)
def _few_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested is that there are figures, not how good they are."""
    monkeypatch.setattr(measure_reads, "TIMES", 1)
    monkeypatch.setattr(measure_reads, "KEYS", 4)
    monkeypatch.setattr(measure_writes, "ROWS", 2)
    monkeypatch.setattr(measure_writes, "WARM_UP", 1)
    monkeypatch.setattr(timing, "WARM_UP", 2)


# What makes rows stale, and why


@pytest.mark.parametrize("name", SHAPES)
def test_each_table_has_its_kind_its_way_and_what_kept_it_from_a_finer_one(
    cache: MeshCache, name: str
) -> None:
    found = cache.explain(shape(name), measure=False)
    assert lines(found) == SHAPES[name][2]
    assert (found.state, found.reads, found.not_measured) == ("not applied", None, ())


def test_an_applied_view_is_explained_as_its_definition_was(applied: Callable[..., MeshCache]) -> None:
    chosen = {name: shape(name) for name in SHAPES}
    cache = applied(*chosen.values())
    for name, definition in chosen.items():
        found = cache.explain(definition.name, measure=False)
        assert found.state == "applied"
        assert lines(found) == SHAPES[name][2]
        assert cache.explain(definition, measure=False) == found
    changed = define("select id, status from orders", name="key")
    assert cache.explain(changed, measure=False).state == "changed"


def test_columns_that_matter_are_those_that_are_read(cache: MeshCache) -> None:
    found = cache.explain(shape("carried"), measure=False)
    assert {one.table: one.matter for one in found.dependencies} == {
        "orders": ("customer_id", "id"),
        "customer": ("id", "name"),
    }
    whole = cache.explain(define("select o.id, to_jsonb(o) as doc from orders as o"), measure=False)
    assert whole.dependencies[0].matter is None
    assert whole.writes[0].unrelated_update == "every column matters"


def test_declared_lines_are_named_as_declared(cache: MeshCache) -> None:
    same = cache.explain(
        define(NAMED, "-- depends: orders(id) = (id)\n-- depends: customer(id) = (customer_id)\n"),
        measure=False,
    )
    assert {(one.declared, one.why, one.hindrance) for one in same.dependencies} == {
        (True, "declared in a depends line", "")
    }
    coarser = cache.explain(
        define(NAMED, "-- depends: orders(id) = (id)\n-- depends: customer flush\n"), measure=False
    )
    assert (
        coarser.dependencies[1].why
        == "declared in a depends line; from the SELECT follows customer(id) = (customer_id)"
    )


def test_a_rollup_has_no_dependency_and_costs_no_writer(cache: MeshCache) -> None:
    rollup = parse(
        "-- kind: rollup\n-- key: status\nselect status, count(*) as n from orders group by 1",
        "by_status",
    )
    found = cache.explain(rollup)
    assert (found.kind, found.dependencies, found.writes) == ("rollup", (), ())
    assert found.reads is not None
    assert (found.reads.basis, found.reads.miss_ms) == ("throwaway", None)


# Refused


OF_LOOSE = "select o.id, (select count(*) from loose as l where l.order_id = o.id) as n from orders as o"
OF_EVENT = "select o.id, (select count(*) from event as e where e.order_id = o.id) as n from orders as o"
OF_EMPTY = "select o.id, (select count(*) from empty as e where e.order_id = o.id) as n from orders as o"
SLOW = """select o.id, (
    select sum(g) from generate_series(1, 100000000) as g where g % o.id = 7
) as n from orders as o"""


def test_what_plan_refuses_explain_refuses_with_the_same_words(cache: MeshCache) -> None:
    for select in (
        "select o.id, (select count(*) from region) as regions from orders as o",
        "select o.id, now() as at from orders as o",
        "select o.id, o.nothing from orders as o",
        "select o.status from orders as o",
    ):
        definition = define(select)
        with pytest.raises(DefinitionError) as planned:
            cache.plan([definition])
        with pytest.raises(DefinitionError) as explained:
            cache.explain(definition, measure=False)
        assert (str(explained.value), explained.value.hint) == (str(planned.value), planned.value.hint)


def test_a_name_that_is_not_there_is_refused(cache: MeshCache) -> None:
    with pytest.raises(DefinitionError, match="no cached view or rollup is named 'nothing'"):
        cache.explain("nothing")


def test_who_may_not_apply_a_view_is_told_what_is_missing(stage: Database) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    admin = stage.connect()
    admin.execute(psycopg.sql.SQL("create role {} login").format(psycopg.sql.Identifier(role)))
    try:
        with MeshCache(stage.server.dsn(stage.name, role)) as theirs, pytest.raises(MissingRight) as error:
            theirs.explain(shape("key"))
        assert error.value.hint
    finally:
        admin.execute(psycopg.sql.SQL("drop role {}").format(psycopg.sql.Identifier(role)))


# What it costs


def test_the_cost_of_writes_without_measuring(cache: MeshCache) -> None:
    (orders, line) = cache.explain(shape("key"), measure=False).writes
    assert (orders.table, orders.triggers, orders.other_views, orders.partitions) == ("orders", (), (), 0)
    assert [(one.columns, one.name, one.shared_with) for one in line.marks] == [(("order_id",), None, ())]
    assert (line.marks_per_row, line.marks_per_updated_row, line.marks_per_statement) == (1, 2, 1000)
    assert (line.unrelated_update, line.measured) == ("no mark", ())
    flush = cache.explain(shape("flush"), measure=False).writes[1]
    assert (flush.flush, flush.marks, flush.marks_per_row, flush.marks_per_statement) == (True, (), 1, 1)
    assert flush.unrelated_update == "all rows stale"
    loose = define(
        "select o.id, (select count(*) from loose as l where l.order_id = o.id) as n from orders as o"
    )
    assert (
        cache.explain(loose, measure=False).writes[1].unrelated_update == "marks, for want of a primary key"
    )
    of_event = define(OF_EVENT)
    assert cache.explain(of_event, measure=False).writes[1].partitions == 1


def test_mark_tables_and_triggers_that_others_need_too_are_named(applied: Callable[..., MeshCache]) -> None:
    cache = applied(define(COUNTED, name="counted"), define(NAMED, name="named"))
    orders, customer = cache.explain("named", measure=False).writes
    assert orders.other_views == orders.marks[0].shared_with == ("counted",)
    assert customer.other_views == customer.marks[0].shared_with == ()
    with cache.begin() as connection:
        there = connection.scalars(
            text("select tgname from pg_trigger where tgrelid = 'orders'::regclass and tgenabled = 'O'")
        ).all()
        marks = connection.scalars(text("select to_regclass(:n)"), {"n": orders.marks[0].name}).one()
    assert set(orders.triggers) == {name for name in there if not name.endswith("truncate")}
    assert marks is not None
    # One that is not applied yet finds them there.
    new = cache.explain(define("select id, note from orders", name="noted"), measure=False)
    assert new.writes[0].marks[0].shared_with == ("counted", "named")


@pytest.mark.parametrize("name", ["key", "carried along", "linked twice", "flush", "several rows of one key"])
def test_everything_is_measured_before_it_is_applied(cache: MeshCache, name: str) -> None:
    found = cache.explain(shape(name))
    assert found.not_measured == ()
    assert found.reads is not None
    assert (found.reads.basis, found.reads.list) == ("throwaway", None)
    assert min(found.reads.source_ms, found.reads.hit_ms, found.reads.miss_ms or 0) > 0
    for cost in found.writes:
        assert [one.statement for one in cost.measured] == ["insert", "update", "delete"]
        assert all(one.with_us > 0 and one.without_us > 0 and one.added_us >= 0 for one in cost.measured)


def test_what_is_not_measured_has_its_reason(cache: MeshCache) -> None:
    empty = define(OF_EMPTY)
    found = cache.explain(empty)
    assert found.not_measured == ("writes of empty: it has no rows",)
    assert found.writes[1].measured == ()
    nothing = cache.explain(define("select id, word from empty"))
    assert nothing.not_measured == ("writes of empty: it has no rows", "the source has no row")
    assert nothing.verdict.word == "no gain"


def test_a_source_too_slow_to_measure_pays(cache: MeshCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_reads, "STATEMENT_MS", 500)
    found = cache.explain(define(SLOW))
    assert found.reads is None
    assert "a read of the source takes more than 0.5 s" in found.not_measured
    assert found.verdict.word == "pays"


def test_an_applied_view_is_measured_itself(applied: Callable[..., MeshCache]) -> None:
    headers = "-- coverage: complete\n-- tenant: customer_id\n"
    cache = applied(define(NAMED, headers, name="named"), define(COUNTED, name="counted"))
    named = cache.explain("named")
    assert named.not_measured == ()
    assert named.reads is not None
    assert named.reads.basis == "cache"
    assert named.reads.list is not None
    assert (named.reads.list.tenant, named.reads.list.rows) == ("customer_id", 6)
    on_demand = cache.explain("counted")
    assert on_demand.reads is not None
    assert (on_demand.reads.basis, on_demand.reads.list) == ("cache", None)
    # Cold again: a throwaway stands for it.
    cache.invalidate("counted")
    cold = cache.explain("counted").reads
    assert cold is not None
    assert cold.basis == "throwaway"


def test_what_was_counted_is_part_of_it(applied: Callable[..., MeshCache]) -> None:
    cache = applied(define(COUNTED, name="counted"))
    assert cache.explain("counted", measure=False).counted is None
    with cache.begin() as connection:
        view = cache.view("counted", connection)
        for _ in range(3):
            view.get(1)
    cache.flush()
    counted = cache.explain("counted", measure=False).counted
    assert counted is not None
    assert (counted.hits, counted.reads) == (3, 3)


# The verdict that follows from the query


@pytest.mark.parametrize(
    ("select", "key"),
    [
        ("select id, status, note from orders", "id"),
        ("select o.id as number, o.status from orders as o where o.status = 'open'", "number"),
        ("select id, mail, name from customer", "mail"),
        ("select id, status from open_orders", "id"),
        ("select id, day, order_id from event", "id, day"),
        ("select id, status, 'x'::text as kind from orders", "id"),
        ("select id, upper(status) as status from orders", "id"),
        ("select x.id, x.status from (select id, status from orders) as x", "id"),
    ],
)
def test_one_row_by_a_unique_key_gains_nothing_and_no_clock_is_asked(
    cache: MeshCache, select: str, key: str
) -> None:
    found = cache.explain(define(select, key=key), measure=False)
    assert found.verdict.word == "no gain"
    assert "is an index probe already" in found.verdict.reason


@pytest.mark.parametrize(
    ("select", "key"),
    [
        (COUNTED, "id"),
        (NAMED, "id"),
        ("select customer_id, count(*) as n from orders group by customer_id", "customer_id"),
        (
            "select distinct on (customer_id) customer_id, id from orders order by customer_id, id",
            "customer_id",
        ),
        ("select status, max(id) as id from orders group by status", "status"),
        ("select o.id, g.n from orders as o, generate_series(1, 1) as g (n)", "id"),
    ],
)
def test_anything_else_takes_a_measurement(cache: MeshCache, select: str, key: str) -> None:
    found = cache.explain(define(select, key=key), measure=False)
    assert (found.verdict.word, found.verdict.reason) == (None, "not measured")


# It changes nothing, and nobody waits for it

STATE: LiteralString = """
select (
    select jsonb_agg(to_jsonb(x) order by to_jsonb(x)::text) from (
        select c.oid, c.relname, c.relkind::text, c.relnatts, c.relchecks, c.relhastriggers, c.relacl::text
        from pg_class as c where c.relnamespace::regnamespace::text !~ '^pg_(toast_)?temp'
            and c.relkind <> 't'
    ) as x
), (select count(*) from pg_proc), (select count(*) from pg_trigger), (select count(*) from pg_type
    where typnamespace::regnamespace::text !~ '^pg_(toast_)?temp'),
(select count(*) from pg_attribute), (select count(*) from pg_rewrite), (select count(*) from pg_namespace
    where nspname !~ '^pg_(toast_)?temp'),
(select jsonb_agg(to_jsonb(s) order by s.sequencename) from pg_sequences as s),
(select jsonb_agg(to_jsonb(v) order by v.id) from meshcache.cached_view as v),
(select jsonb_agg(to_jsonb(v) order by v.id) from meshcache.source_table as v),
(select jsonb_agg(to_jsonb(v) order by v.id) from meshcache.mark_table as v),
(select count(*) from meshcache.wildcard_mark),
(select jsonb_agg(to_jsonb(o) order by o.id) from orders as o),
(select jsonb_agg(to_jsonb(l) order by l.id) from line as l)
"""


def test_the_database_is_the_same_afterwards(applied: Callable[..., MeshCache]) -> None:
    cache = applied(define(COUNTED, "-- coverage: complete\n", name="counted"), define(NAMED, name="named"))

    def state() -> Any:
        with cache.begin() as connection:
            return connection.execute(text(STATE)).one()

    before = state()
    views: list[str | Definition] = ["counted", "named", *map(shape, DIFFERENT)]
    for view in views:
        cache.explain(view)
    with pytest.raises(DefinitionError):
        cache.explain(define("select o.id, (select count(*) from region) as regions from orders as o"))
    assert state() == before


def test_only_access_share_is_locked_on_tables_of_the_application(applied: Callable[..., MeshCache]) -> None:
    cache = applied(define(COUNTED, "-- coverage: complete\n-- tenant: id\n", name="counted"))
    modes: set[tuple[str, str]] = set()

    def look(connection: Any) -> None:
        # Locks are kept until the transaction ends: whatever it took is there now.
        with psycopg.connect(cache._engine.url.render_as_string(False).replace("+psycopg", "")) as other:
            modes.update(
                other.execute(
                    "select c.relname, l.mode from pg_locks as l join pg_class as c on c.oid = l.relation"
                    " where l.pid = %s and c.relnamespace in ('public'::regnamespace, 'other'::regnamespace)",
                    (connection.connection.driver_connection.info.backend_pid,),
                )
            )

    for name in ("rollback", "commit", "rollback_savepoint"):
        event.listen(cache._engine, name, lambda connection, *_: look(connection))
    views: list[str | Definition] = ["counted", *map(shape, DIFFERENT)]
    for view in views:
        cache.explain(view)
    assert {mode for _, mode in modes} == {"AccessShareLock"}
    assert {table for table, _ in modes} >= {"orders", "line", "customer", "tag", "region", "orders_pkey"}


def test_it_waits_for_no_writer_and_gives_up_behind_a_migration(stage: Database, cache: MeshCache) -> None:
    with stage.connect(autocommit=False) as writer:
        writer.execute("update orders set status = 'paid' where id = 1")
        writer.execute("lock table line in share row exclusive mode")
        assert cache.explain(shape("key")).not_measured == ()
        writer.execute("lock table line in access exclusive mode")
        with pytest.raises(LockBusy):
            cache.explain(shape("key"))
        writer.rollback()


def test_statements_do_not_grow_with_the_database(stage: Database, cache: MeshCache) -> None:
    executed: list[str] = []
    event.listen(
        cache._engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: executed.append(statement)
    )
    definition = shape("linked twice")
    cache.explain(definition, measure=False)
    few = len(executed)
    connection = stage.connect()
    for number in range(100):
        connection.execute(
            psycopg.sql.SQL(
                "create table more_{} (id integer primary key, a text, orders_id integer)"
            ).format(psycopg.sql.SQL(str(number)))
        )
    executed.clear()
    cache.explain(definition, measure=False)
    assert len(executed) == few < 150
    # Nothing of it reads rows: only the catalog is asked.
    assert not [one for one in executed if "from orders" in one and not one.startswith("create view")]
