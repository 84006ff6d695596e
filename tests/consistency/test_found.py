"""Wrong rows that the generator has found, each in the smallest form that shows it."""

from typing import LiteralString

import pytest

from tests.consistency.through import through
from tests.fixtures.fix_cache import set_up
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
