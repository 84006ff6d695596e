"""A key that stops being one: two rows of it, or a null. Whatever the cache does then, it serves no row that
the source does not have, leaves none out, and the application's write is none of its business.
"""

from typing import LiteralString

import pytest

from tests.fixtures.fix_cache import set_up, sweep
from tests.fixtures.fix_db import Database

TABLES: LiteralString = """
create table person (id integer primary key, mail text, city text, name text);
insert into person select n, 'p' || n, 'city ' || n % 3, 'name ' || n from generate_series(1, 9) as n;
"""

BY_MAIL = """
-- name: by_mail
-- key: mail
-- coverage: COVERAGE
select p.mail, p.name from person as p
"""

BY_CITY = """
-- name: by_city
-- key: city
-- coverage: complete
select p.city, count(*) as persons from person as p group by p.city
"""


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_two(fresh: Database, coverage: str) -> None:
    connection = set_up(fresh, TABLES, BY_MAIL.replace("COVERAGE", coverage))
    connection.execute("update person set mail = 'p1' where id in (2, 3)")
    print(connection.execute("select * from meshcache.by_mail_get('p1')").fetchall())
    print(connection.execute("select meshcache.by_mail_fill(array['p1'])").fetchall())
    print(connection.execute("select * from meshcache.by_mail_get('p1')").fetchall())
    print(sweep(connection))
    print(connection.execute("select meshcache.by_mail_fill(array['p1'])").fetchall())
    print(connection.execute("select * from meshcache.by_mail_get('p1')").fetchall())
    print(connection.execute("select * from meshcache.by_mail order by 1").fetchall())
    assert 0


def test_null(fresh: Database) -> None:
    connection = set_up(fresh, TABLES, BY_CITY)
    connection.execute("insert into person values (20, 'x', null, 'name')")
    print(connection.execute("select * from meshcache.by_city order by 1").fetchall())
    print(connection.execute("select * from meshcache.by_city_source order by 1").fetchall())
    print(sweep(connection))
    print(connection.execute("select * from meshcache.by_city order by 1").fetchall())
    connection.execute("update person set city = null where id = 1")
    print(connection.execute("select * from meshcache.by_city order by 1").fetchall())
    assert 0
