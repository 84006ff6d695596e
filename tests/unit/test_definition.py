"""Definition files: what is read, and that whatever cannot be read gets one clear error."""

from datetime import timedelta
from pathlib import Path

import pytest

from meshcache_pg.definition import load, parse
from meshcache_pg.errors import DefinitionError
from meshcache_pg.headers import Depends, IndexTerm, Link, parse_duration

GOOD = """\
-- What it serves,
-- in two lines.
-- name: order_card
-- key: id
-- coverage: complete
-- tenant: shop_id
-- ttl: 1h30m
-- depends: orders(id) = (id) columns (id, status,
--     shop_id)
-- depends: sales."Order Lines"("Order Id") via orders(id -> id) = (id)
-- depends: settings flush
-- grant: app_reader
-- A comment about the SELECT.
select o.id, o.status, o.shop_id
from orders o;
"""


def test_every_header_is_read() -> None:
    definition = parse(GOOD, "order_card.sql")
    assert definition.name == "order_card"
    assert definition.kind == "cached_view"
    assert definition.key == ("id",)
    assert definition.coverage == "complete"
    assert definition.tenant == "shop_id"
    assert definition.ttl == timedelta(minutes=90)
    assert definition.readers == ("app_reader",)
    assert definition.description == "What it serves, in two lines."
    assert definition.query == "select o.id, o.status, o.shop_id\nfrom orders o"
    assert definition.depends == (
        Depends("orders", ("id",), ("id",), (), ("id", "status", "shop_id")),
        Depends('sales."Order Lines"', ("Order Id",), ("id",), (Link("orders", "id", "id"),), None),
        Depends("settings"),
    )


def test_indexes_are_read_with_their_order() -> None:
    text = GOOD.replace(
        "-- tenant: shop_id\n",
        '-- tenant: shop_id\n-- index: status, "Id" DESC\n-- index: id desc nulls last, status nulls first\n',
    )
    definition = parse(text, "a.sql")
    assert definition.indexes == (
        (IndexTerm("status"), IndexTerm("Id", descending=True)),
        (IndexTerm("id", descending=True, nulls_first=False), IndexTerm("status", nulls_first=True)),
    )
    assert definition.all_indexes() == ((IndexTerm("shop_id"),), *definition.indexes)


def test_an_index_that_begins_with_the_tenant_serves_for_it() -> None:
    definition = parse(GOOD.replace("-- ttl", "-- index: shop_id, id desc\n-- ttl"), "a.sql")
    assert definition.all_indexes() == ((IndexTerm("shop_id"), IndexTerm("id", descending=True)),)


@pytest.mark.parametrize("written", ["lower(status)", "status using hash", "status,", "status downwards"])
def test_an_index_that_cannot_be_read(written: str) -> None:
    with pytest.raises(DefinitionError, match="cannot read the index") as refused:
        parse(GOOD.replace("-- ttl", f"-- index: {written}\n-- ttl"), "a.sql")
    assert refused.value.hint


def test_the_name_defaults_to_the_file() -> None:
    text = "-- key: id\n-- depends: orders(id) = (id)\nselect id from orders"
    assert parse(text, "some/where/order_card.sql").name == "order_card"


def test_the_coverage_of_a_cached_view_is_on_demand_unless_said() -> None:
    text = "-- key: id\n-- depends: orders(id) = (id)\nselect id from orders"
    assert parse(text, "a.sql").coverage == "on_demand"


def test_the_hash_changes_with_the_text_but_not_with_white_space() -> None:
    definition = parse(GOOD, "a.sql")
    assert parse(GOOD.replace("\n", "  \n") + "\n\n", "a.sql").content_hash == definition.content_hash
    assert parse(GOOD.replace("o.status,", ""), "a.sql").content_hash != definition.content_hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("-- key: id\n", ""), "no key"),
        (("-- key: id", "-- key: id, id"), "named twice"),
        (("-- name: order_card", "-- name: Order"), "cannot be the name"),
        (("-- name: order_card", f"-- name: {'x' * 49}"), "49 bytes"),
        (("-- name: order_card", "-- name: cached_view"), "reserved"),
        (("-- name: order_card", "-- name: order_source"), "reserved"),
        (("-- name: order_card", "-- name: mark_1"), "reserved"),
        (("complete", "everything"), "coverage cannot be 'everything'"),
        (("-- coverage:", "-- covrage:"), "unknown header 'covrage'"),
        (("1h30m", "soon"), "'soon' is no duration"),
        (("1h30m", "0s"), "not positive"),
        (("-- key: id\n", "-- key: id\n-- key: id\n"), "there twice"),
        (("-- key: id\n", "-- key:\n"), "has no value"),
        (("settings flush", "settings"), "cannot read the dependency"),
        (("orders(id) = (id) columns", "orders(id, no) = (id) columns"), "pairs 2 with 1"),
        (("via orders(id -> id)", "via orders(id)"), "cannot read the links"),
        (("select o.id, o.status, o.shop_id\nfrom orders o;\n", ""), "no SELECT"),
        (("-- coverage: complete\n", "-- coverage: complete\n-- refresh_every: 5m\n"), "is for rollups"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_file_and_the_reason(
    change: tuple[str, str], message: str
) -> None:
    assert change[0] in GOOD
    with pytest.raises(DefinitionError) as refused:
        parse(GOOD.replace(*change), "views/order_card.sql")
    assert message in str(refused.value)
    assert str(refused.value).startswith("views/order_card.sql: ")


def test_a_cached_view_need_not_say_what_it_depends_on() -> None:
    assert parse("-- key: id\nselect 1 as id", "a.sql").depends == ()


def test_tables_to_flush_are_read_as_written() -> None:
    definition = parse('-- key: id\n-- flush: a, s."B, c"\nselect 1 as id', "a.sql")
    assert definition.flush == ("a", 's."B, c"')


@pytest.mark.parametrize("flush", ["a b", "a,", "a(b)", "-- depends"])
def test_tables_to_flush_that_cannot_be_read(flush: str) -> None:
    with pytest.raises(DefinitionError, match="cannot read the tables"):
        parse(f"-- key: id\n-- flush: {flush}\nselect 1 as id", "a.sql")


def test_flush_is_for_derived_dependencies() -> None:
    with pytest.raises(DefinitionError, match="derived"):
        parse("-- key: id\n-- flush: a\n-- depends: b(id) = (id)\nselect 1 as id", "a.sql")


@pytest.mark.parametrize("header", ["-- ttl: 1h", "-- depends: a flush", "-- coverage: complete"])
def test_a_rollup_has_no_headers_of_a_cached_view(header: str) -> None:
    with pytest.raises(DefinitionError, match="rollup"):
        parse(f"-- kind: rollup\n-- key: id\n{header}\nselect 1 as id", "a.sql")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("1h30m", 5400), ("7d", 604_800), ("250ms", 0.25)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "here").total_seconds() == seconds


def test_folders_are_read_in_order_of_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.sql").write_text("-- key: id\n-- depends: t(id) = (id)\nselect id from t")
    assert [d.name for d in load([tmp_path])] == ["a", "b"]


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_text("-- key: id\n-- depends: t(id) = (id)\nselect id from t")
    assert len(load([tmp_path, path])) == 1


def test_a_name_declared_twice_is_refused(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.sql").write_text(
            "-- name: x\n-- key: id\n-- depends: t(id) = (id)\nselect id from t"
        )
    with pytest.raises(DefinitionError, match=r"'x' is declared in .*a\.sql too"):
        load([tmp_path])


def test_missing_and_empty_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no such file"):
        load([tmp_path / "none.sql"])
    with pytest.raises(DefinitionError, match="no definition"):
        load([tmp_path])
    (tmp_path / "a.sql").write_bytes(b"\xff\xfe")
    with pytest.raises(DefinitionError, match="cannot be read"):
        load([tmp_path])
