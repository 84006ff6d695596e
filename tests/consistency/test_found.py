"""Wrong rows that the generator has found, each in the smallest form that shows it."""

from typing import LiteralString

import psycopg
import pytest

from meshcache_pg.errors import DefinitionError
from tests.consistency.checker import NotExact, exact
from tests.consistency.generate.plants import null_looked_up
from tests.consistency.through import through
from tests.fixtures.fix_cache import apply_definitions, refresh, set_up, sweep
from tests.fixtures.fix_db import Database

ITEMS: LiteralString = """
create table place (id integer primary key, area integer);
create table item (id integer, area integer, parent integer);
create table other (id integer, area integer, parent integer);
insert into place values (1, 1), (2, 2);
insert into item values (10, 1, null), (20, 2, null);
create view both_kinds as
    select o.id, o.id as area, o.parent from other as o union select i.parent, i.id, i.area from item as i;
"""

CARD = """
-- name: card
-- key: id
-- coverage: COVERAGE
select p.id, array_agg(b.parent order by b.parent) as n
from place as p
left join item as i on i.area = p.area
left join both_kinds as b on b.id = i.id
group by p.id
"""


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_a_row_is_not_looked_up_by_itself(fresh: Database, coverage: str) -> None:
    """The second arm of the UNION was marked by item.id, to be looked up in item: nothing for a row without
    an id, and nothing for one that is gone.
    """
    connection = set_up(fresh, ITEMS, CARD.replace("COVERAGE", coverage))
    through(
        connection,
        "insert into item values (null, 7, 10)",
        "insert into item values (30, 8, 20), (31, 8, 20)",
        "delete from item where id = 30",
        "delete from item where parent is not null",
    )


NULLS: LiteralString = """
create table a (id integer primary key, x integer, y integer);
create table c (id integer primary key, v text not null);
create table d (id integer, x integer);
insert into a values (1, null, 3), (2, 5, 4);
insert into c values (3, 'c'), (4, 'd');
insert into d values (3, null), (4, 5), (4, 5);
create view per_x as select max(d.id) as id, d.x, count(*)::integer as n from d group by d.x;
"""

PER_X = """
-- name: per_x_card
-- key: id
-- coverage: COVERAGE
-- flush: d
select i.id, c.v from (
    select a.id, a.x, a.y from a WORD select p.n, p.x, p.id from per_x as p
) as i inner join c on c.id = i.y
"""

CHANGES_OF_D: tuple[LiteralString, ...] = (
    "insert into d values (7, null)",
    "delete from d where id = 7",
    "update d set id = 4 where x is null",
    "update d set x = 5 where x is null",
    "update d set x = null",
)


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
@pytest.mark.parametrize("word", ["intersect", "except"])
def test_a_null_is_not_looked_up(fresh: Database, coverage: str, word: str) -> None:
    """INTERSECT takes two nulls for equal: d was marked by x, to be looked up in a by x, which finds none."""
    text = PER_X.replace("COVERAGE", coverage).replace("WORD", word)
    change_d(set_up(fresh, NULLS, text))


def change_d(connection: psycopg.Connection) -> None:
    for statement in CHANGES_OF_D:
        connection.execute(statement)
        exact(connection)
        assert sweep(connection) == "done"
        refresh(connection, "per_x_card")
        exact(connection)


@pytest.mark.parametrize("word", ["intersect", "except"])
def test_what_would_look_up_a_null_is_refused(fresh: Database, word: str) -> None:
    fresh.connect().execute(NULLS)
    text = PER_X.replace("COVERAGE", "complete").replace("WORD", word)
    with pytest.raises(DefinitionError, match="a change of d cannot be followed"):
        apply_definitions(fresh, text.replace("-- flush: d\n", ""))


@pytest.mark.parametrize("word", ["intersect", "except"])
def test_a_null_that_is_looked_up_is_noticed(
    fresh: Database, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    null_looked_up(monkeypatch)
    text = PER_X.replace("COVERAGE", "complete").replace("WORD", word).replace("-- flush: d\n", "")
    with pytest.raises(NotExact):
        change_d(set_up(fresh, NULLS, text))
