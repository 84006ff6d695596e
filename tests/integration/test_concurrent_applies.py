"""What one apply takes away while another is about to need it: triggers and mark tables that nobody used."""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import event

from meshcache_pg import catalog
from meshcache_pg.errors import LockBusy
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import CITY_LIST, CUSTOMER_PAGE, ORDER_CARD, Shop, define

ORDER_PAGE = ORDER_CARD.replace("order_card", "order_page")

# Rows of the live view that are not the source's, or the other way round.
WRONG = """
(table meshcache.order_page except table meshcache.order_page_source)
union all
(table meshcache.order_page_source except table meshcache.order_page)
"""

UNUSED = """
select m.id from meshcache.mark_table as m
where not exists (select from meshcache.dependency as d where d.mark_id = m.id)
"""


WAITING = """
select exists (
    select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
)
"""


def drop(shop: Shop, name: str) -> None:
    with shop.engine().begin() as connection:
        catalog.apply(connection, [s for s in catalog.plan(connection, [], prune=True) if s.name == name])


@pytest.mark.parametrize("beside", [None, CITY_LIST], ids=["the last one", "one of two"])
def test_what_is_about_to_be_needed_stays(bare_shop: Shop, beside: str | None) -> None:
    """Where another view stays, its triggers do, and must not write to a mark table that is gone."""
    bare_shop.apply(ORDER_CARD, *filter(None, [beside]))
    dropped: list[str] = []

    def drop_meanwhile(*found: object) -> None:
        if "insert into meshcache.cached_view" in str(found[2]) and not dropped:
            dropped.append("order_card")
            drop(bare_shop, "order_card")
            bare_shop.run("update customers set name = 'between' where id = 1")

    with bare_shop.engine().begin() as connection:
        event.listen(connection, "before_cursor_execute", drop_meanwhile)
        catalog.apply(connection, catalog.plan(connection, define(ORDER_PAGE)))
    assert dropped
    bare_shop.run(
        "call meshcache.refresh('order_page')",
        "update customers set name = 'after' where id = 1",
        "update orders set status = 'paid' where id = 2",
        "delete from order_lines where order_id = 3",
    )
    assert bare_shop.rows(WRONG) == []
    assert bare_shop.value("select count(*) from meshcache.order_page_rows where _origin = 'stale'") == 7
    assert bare_shop.rows(UNUSED) == []


def test_what_is_being_taken_away_is_not_used(bare_shop: Shop) -> None:
    bare_shop.apply(ORDER_CARD)
    with bare_shop.engine().begin() as connection:
        catalog.apply(connection, catalog.plan(connection, [], prune=True))
        with pytest.raises(LockBusy):
            bare_shop.apply(ORDER_PAGE)
    bare_shop.apply(ORDER_PAGE)
    bare_shop.run("call meshcache.refresh('order_page')", "update customers set name = 'after' where id = 1")
    assert bare_shop.rows(WRONG) == []


def test_what_is_gone_after_the_wait_for_it_asks_to_try_again(bare_shop: Shop) -> None:
    """Both use the same tables, so that no lock on these keeps the two apart."""
    bare_shop.apply(ORDER_CARD, CUSTOMER_PAGE)
    deleting = Event()

    def let_it_wait(*found: object) -> None:
        if "delete from meshcache.mark_table" in str(found[2]):
            deleting.set()
            eventually(lambda: bare_shop.value(WAITING), "apply waits")

    def drop_slowly() -> None:
        with bare_shop.engine().begin() as connection:
            event.listen(connection, "before_cursor_execute", let_it_wait)
            catalog.apply(connection, catalog.plan(connection, define(CUSTOMER_PAGE), prune=True))

    with ThreadPoolExecutor(1) as pool, bare_shop.engine().begin() as connection:
        dropped: list[Future[None]] = []

        def drop_meanwhile(*found: object) -> None:
            if "insert into meshcache.mark_table" in str(found[2]) and not dropped:
                dropped.append(pool.submit(drop_slowly))
                assert deleting.wait(30)

        steps = catalog.plan(connection, define(ORDER_PAGE))
        event.listen(connection, "before_cursor_execute", drop_meanwhile)
        with pytest.raises(LockBusy):
            catalog.apply(connection, steps)
        dropped[0].result()
