"""Values come in the binary format where psycopg makes the same of both; no caller can tell."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.string import TextLoader
from sqlalchemy import Connection, text

from meshcache_pg import MeshCache
from meshcache_pg.answers import Origin
from meshcache_pg.driver import is_binary
from tests.fixtures.fix_cache import set_up
from tests.fixtures.fix_db import Database

EVERY_TYPE = """
create table everything as
select
    n as id,
    (n - 2)::smallint as small,
    n::bigint << 40 as big,
    n = 2 as flag,
    n / 3.0::double precision as float,
    (n * 1.10)::numeric(10, 2) as price,
    (n * 1e20 + 0.5000)::numeric as number,
    'tëxt ' || n as words,
    ('v' || n)::varchar(5) as short,
    date '2024-02-28' + n as day,
    timestamp '1999-12-31 23:59:59.999999' as moment,
    timestamptz '2024-03-31 00:30:00+00' + n * interval '1 hour' as instant,
    ('\\x00ff0' || n)::bytea as bytes,
    md5(n::text)::uuid as uuid,
    jsonb_build_object('n', n, 'list', jsonb_build_array(null, 1.50, 'ü')) as document,
    json_build_object('n', n)::json as plain
from generate_series(1, 3) as n;
insert into everything (id) values (4);
alter table everything add primary key (id);
"""
CARD = """
-- name: card
-- key: id
-- coverage: complete
select {columns} from everything as e
"""


def _image(values: Any) -> list[str]:
    return [f"{type(value).__name__} {value!r}" for value in values]


def _rows(connection: Connection, cache: MeshCache) -> list[list[str]]:
    view = cache.view("card", connection)
    listed = view.list(order_by=["id"])
    assert listed.origin == Origin.HIT
    keys = [row["id"] for row in listed]
    assert [view.get(key).unwrap() for key in keys] == list(listed)
    assert [one.unwrap() for one in view.get_many(keys).values()] == list(listed)
    return [_image(row.values()) for row in listed]


def _source(connection: Connection) -> list[list[str]]:
    return [_image(row) for row in connection.execute(text("select * from everything order by id"))]


def _set_up(database: Database, columns: str = "e.*") -> MeshCache:
    set_up(database, EVERY_TYPE, CARD.format(columns=columns)).close()
    return MeshCache(database.engine())


def test_values_are_those_of_the_text_format(fresh: Database) -> None:
    with _set_up(fresh) as cache, fresh.engine().connect() as connection:
        target = cache.target(connection, "card")
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        assert is_binary(raw, target.column_types), target.column_types
        for zone in ("UTC", "Europe/Berlin", "Asia/Kathmandu"):
            connection.execute(text("select set_config('timezone', :zone, false)"), {"zone": zone})
            assert _rows(connection, cache) == _source(connection)


def test_types_that_psycopg_knows_as_text_alone(fresh: Database) -> None:
    database = fresh.connect()
    database.execute("create type mood as enum ('good', 'bad'); create domain label as text")
    columns = "e.id, 'good'::mood as mood, e.words::label as label, 1.1::real as real"
    with _set_up(fresh, columns) as cache, fresh.engine().connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        assert not is_binary(raw, cache.target(connection, "card").column_types)
        row = cache.view("card", connection).get(1).unwrap()
    assert row == {"id": 1, "mood": "good", "label": "tëxt 1", "real": 1.1}


def test_a_loader_of_the_application_is_used(fresh: Database) -> None:
    class Loud(TextLoader):
        def load(self, data: Any) -> Any:
            return "uuid", super().load(data)

    with _set_up(fresh, "e.id, e.uuid") as cache, fresh.engine().connect() as connection:
        plain = cache.view("card", connection).get(1).unwrap()["uuid"]
        assert isinstance(plain, UUID)
    with fresh.engine().connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.adapters.register_loader("uuid", Loud)
        assert cache.view("card", connection).get(1).unwrap()["uuid"] == ("uuid", str(plain))
