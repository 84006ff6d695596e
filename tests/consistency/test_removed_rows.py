"""A sweep and a refresh look at the rows that marks concern, and nowhere else: what the source no longer has
must be among them, because the marks that keep it from being served go away with the sweep.
"""

from typing import LiteralString

import pytest

from tests.consistency.checker import exact
from tests.fixtures.fix_cache import set_up, sweep
from tests.fixtures.fix_db import Database

TABLES: LiteralString = """
create table owner (id integer primary key, name text);
create table item (id integer primary key, owner_id integer, name text);
insert into owner select n, 'owner ' || n from generate_series(1, 5) as n;
insert into item select n, 1 + n % 5, 'item ' || n from generate_series(1, 40) as n;
"""
CARD = """
-- name: card
-- key: id
-- coverage: complete
select i.id, i.owner_id, o.name as owner, i.name from item as i inner join owner as o on o.id = i.owner_id
"""


@pytest.mark.parametrize("how", ["sweep", "refresh stale"])
@pytest.mark.parametrize(
    "write",
    [
        "delete from item where id = 3",
        "delete from item where id < 9",
        "update item set id = 100 where id = 3",
        "update item set owner_id = null where id in (3, 4)",
        "delete from owner where id = 2",
    ],
)
def test_what_the_source_no_longer_has_is_removed(fresh: Database, write: LiteralString, how: str) -> None:
    connection = set_up(fresh, TABLES, CARD)
    connection.execute(write)
    if how == "refresh stale":
        connection.execute("call meshcache.refresh('card', p_mode => 'stale')")
    else:
        sweep(connection)
    exact(connection)
    cached = connection.execute("select count(*) from meshcache_data.card").fetchone()
    assert cached == connection.execute("select count(*) from meshcache.card_source").fetchone()
    sweep(connection)
    exact(connection)
