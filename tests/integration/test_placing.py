"""What replaces a cached view is made beside it, and takes its names at the end: until then nobody waits."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from psycopg import sql
from sqlalchemy import Connection, event

from meshcache_pg import catalog, install
from meshcache_pg.errors import DefinitionError
from meshcache_pg.patience import Patience
from meshcache_pg.sql import trusted
from tests.fixtures.fix_shop import (
    CITY_LIST,
    CUSTOMER_PAGE,
    ORDER_CARD,
    SKU_SALES,
    VIEWS,
    Shop,
    define,
    origin,
)

# Every name that DDL gives; those of types and constraints too, which follow a table only in part.
NAMES = """
select relnamespace::regnamespace || '.' || relname as name from pg_class
where relnamespace in ('meshcache'::regnamespace, 'meshcache_data'::regnamespace)
union all select 'type ' || typname from pg_type
where typnamespace in ('meshcache'::regnamespace, 'meshcache_data'::regnamespace)
union all select 'function ' || proname from pg_proc where pronamespace = 'meshcache'::regnamespace
union all select 'constraint ' || conrelid::regclass || ' ' || conname from pg_constraint
where connamespace in ('meshcache'::regnamespace, 'meshcache_data'::regnamespace)
order by name
"""

INDEXES = """
select c.relname from pg_index as i inner join pg_class as c on c.oid = i.indexrelid
where i.indrelid = cast(%s as regclass) order by c.relname
"""

# Another declaration of the same.
CHANGED = [
    ORDER_CARD.replace("-- key:", "-- ttl: 1h\n-- key:"),
    CUSTOMER_PAGE.replace("-- key:", "-- ttl: 1h\n-- key:"),
    CITY_LIST.replace("-- key:", "-- ttl: 1h\n-- key:"),
    SKU_SALES.replace("5m", "6m"),
]


def indexes(shop: Shop, view: str) -> list[str]:
    table = sql.Identifier("meshcache_data", view).as_string()
    return [name for (name,) in shop.rows(INDEXES, table)]


def test_all_names_are_as_before(shop: Shop) -> None:
    before = shop.rows(NAMES)
    assert [name for (name,) in before if ".new" in name] == []
    assert {step.action for step in shop.apply(*CHANGED)} == {"replace"}
    assert shop.rows(NAMES) == before
    assert shop.rows("select name, generation from meshcache.cached_view where generation <> 2") == []
    shop.refresh(*VIEWS)
    shop.run("call meshcache.refresh('sku_sales')")
    shop.check()


def test_indexes_are_called_what_the_server_would_call_them(shop: Shop) -> None:
    assert indexes(shop, "order_card") == ["order_card_customer_id_idx", "order_card_pkey"]
    assert indexes(shop, "sku_sales") == ["sku_sales_sku_idx"]
    if shop.value("select current_setting('server_version_num')::integer") >= 180000:
        constraints = "select conname from pg_constraint where conrelid = %s::regclass and contype = 'n'"
        names = {name for (name,) in shop.rows(constraints, "meshcache_data.city_list")}
        assert names == {
            f"city_list_{column}_not_null" for column in ("city", "_filled_in", "_filled_by", "_filled_at")
        }


PAIR = """
-- name: {name}
-- key: id
-- index: {index}
select c.id, c.name, c.city, c.note as city_name from customers as c
"""


def test_indexes_that_would_have_one_name(bare_shop: Shop) -> None:
    bare_shop.apply(PAIR.format(name="person", index="city_name"))
    bare_shop.apply(PAIR.format(name="person_city", index="name"))
    assert indexes(bare_shop, "person") == ["person_city_name_idx", "person_pkey"]
    assert indexes(bare_shop, "person_city") == ["person_city_name_idx1", "person_city_pkey"]
    # Its own name is free again, the other one is not.
    bare_shop.apply(PAIR.format(name="person_city", index="name, id"))
    bare_shop.apply(PAIR.format(name="person_city", index="name"))
    assert indexes(bare_shop, "person_city") == ["person_city_name_idx1", "person_city_pkey"]
    # Both at once.
    bare_shop.apply(
        PAIR.format(name="person", index="city_name, id"), PAIR.format(name="person_city", index="name, id")
    )
    assert indexes(bare_shop, "person_city") == ["person_city_name_id_idx1", "person_city_pkey"]
    bare_shop.refresh("person", "person_city")
    with bare_shop.connect() as reader:
        assert {origin(reader, name, 1) for name in ("person", "person_city")} == {"hit"}


def test_a_view_that_has_the_name_of_an_index(bare_shop: Shop) -> None:
    bare_shop.apply(PAIR.format(name="person", index="id"))
    before = bare_shop.rows(NAMES)
    with pytest.raises(DefinitionError, match=r"person_pkey: an index or a table in meshcache_data has this"):
        bare_shop.apply(PAIR.format(name="person_pkey", index="id"))
    assert bare_shop.rows(NAMES) == before
    # At once, the index gives way.
    pair = [PAIR.format(name=name, index="name") for name in ("person", "person_pkey")]
    bare_shop.apply(*pair)
    assert indexes(bare_shop, "person") == ["person_name_idx", "person_pkey1"]
    bare_shop.refresh("person", "person_pkey")
    with bare_shop.connect() as reader:
        assert {origin(reader, name, 1) for name in ("person", "person_pkey")} == {"hit"}


def test_a_name_that_somebody_else_has_taken(bare_shop: Shop) -> None:
    bare_shop.run("create table meshcache.person (id integer)")
    before = bare_shop.rows(NAMES)
    with pytest.raises(DefinitionError, match='schema meshcache: relation "person" already exists'):
        bare_shop.apply(PAIR.format(name="person", index="id"))
    assert bare_shop.rows(NAMES) == before


def test_names_that_are_as_long_as_they_may_be(bare_shop: Shop) -> None:
    name = "n" * 48
    columns = [f"{letter * 30}" for letter in "äöü"]
    carried = ", ".join(f"c.name as {column}" for column in columns)
    declared = (
        f"-- name: {name}\n-- key: id\n-- coverage: complete\n-- index: {', '.join(columns)}\n"
        f"-- index: {columns[0]}\n-- index: {columns[0]}, {columns[1]}\n"
        f"select c.id, {carried} from customers as c"
    )
    for ttl in ("", "-- ttl: 1h\n", "-- ttl: 2h\n"):
        bare_shop.apply(ttl + declared)
        found = indexes(bare_shop, name)
        assert len(set(found)) == 4
        assert [index for index in found if not index.startswith(name) or ".new" in index] == []
        bare_shop.refresh(name)
        with bare_shop.connect() as reader:
            assert origin(reader, trusted(name), 1) == "hit"


def test_a_rollup_becomes_a_cached_view_and_back(shop: Shop) -> None:
    as_view = SKU_SALES.replace("-- kind: rollup\n", "").replace(
        "-- refresh_every: 5m\n", "-- coverage: complete\n"
    )
    before = shop.rows(NAMES)
    shop.apply(as_view)
    shop.refresh("sku_sales")
    with shop.connect() as reader:
        assert origin(reader, "sku_sales", "sku 1") == "hit"
    shop.apply(SKU_SALES)
    assert shop.rows(NAMES) == before
    shop.run("call meshcache.refresh('sku_sales')")
    assert shop.value("select count(*) from meshcache.sku_sales") == 7


def test_nobody_waits_while_it_is_made(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is ready, and nothing dropped yet: reads, fills, sweeps and writes of others go on."""
    ready, go_on = Event(), Event()
    drop_objects = install.drop_objects

    def later(connection: Connection, names: Sequence[str], patience: Patience) -> None:
        ready.set()
        assert go_on.wait(60)
        drop_objects(connection, names, patience)

    monkeypatch.setattr(install, "drop_objects", later)
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(shop.apply, *CHANGED)
        try:
            assert ready.wait(60)
            # Whatever it waited for would fail.
            with shop.connect(options="-c lock_timeout=1ms") as other:
                for view in VIEWS:
                    query = sql.SQL("table {}").format(sql.Identifier("meshcache", view))
                    assert other.execute(query).fetchall()
                assert other.execute("select _origin from meshcache.order_card_get(3)").fetchone() == ("hit",)
                other.execute("update customers set city = 'Ulm' where id = 2")
                other.execute("insert into order_lines values (1000, 3, 'sku 1', 1, 1)")
                other.execute("select meshcache.customer_page_fill(array[2])")
                other.execute("call meshcache.refresh('order_card')")
                other.execute("call meshcache.refresh('sku_sales')")
                swept = other.execute("call meshcache.sweep(null, 10)").fetchone()
                assert swept is not None
                assert swept[0]["state"] == "done"
        finally:
            go_on.set()
        applied.result()
    assert shop.rows("select name from meshcache.cached_view where generation <> 2") == []
    shop.check()
    shop.refresh(*VIEWS)
    shop.check()


def test_readers_wait_for_few_round_trips(shop: Shop) -> None:
    """From the first lock on, each costs them time: on a busy machine, or over a long line, more than the
    work itself.
    """
    sent: list[str] = []

    def note(*found: object) -> None:
        sent.append(f"{found[2]} {found[3]}")

    with shop.engine().begin() as connection:
        steps = [step for step in catalog.plan(connection, define(*CHANGED)) if step.action == "replace"]
        event.listen(connection, "before_cursor_execute", note)
        catalog.apply(connection, steps)
    first = next(number for number, statement in enumerate(sent) if "drop view" in statement)
    # Drop, forget, register, rename, however many there are.
    assert (len(steps), len(sent) - first) == (4, 4)
    shop.check()


def test_what_cannot_be_made_leaves_everything_as_it_was(shop: Shop) -> None:
    before = shop.rows(NAMES)
    broken = CITY_LIST.replace("min(c.name) as first_name", "json_agg(c.name) as first_name").replace(
        "-- coverage", "-- index: first_name\n-- coverage"
    )
    with pytest.raises(DefinitionError, match=r"city_list: data type json has no default operator class"):
        shop.apply(CHANGED[0], broken)
    assert shop.rows(NAMES) == before
    assert shop.origins(*VIEWS) == {view: {"hit"} for view in VIEWS}
