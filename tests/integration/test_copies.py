"""What the tests begin with is a copy: warm as what it was copied from, and a database of its own."""

from tests.fixtures.fix_shop import VIEWS, CrashShop, Shop
from tests.fixtures.fix_templates import Clone

HIT = {view: {"hit"} for view in VIEWS}


def test_a_copy_of_a_shop_is_warm_and_goes_its_own_way(filled: str, clone: Clone) -> None:
    with Shop(clone(filled).dsn) as one, Shop(clone(filled).dsn) as other:
        assert one.origins() == HIT
        one.run("update customers set name = 'only here' where id = 1", "delete from orders where id = 7")
        one.check()
        one.sweep()
        one.warm()
        one.check()
        assert other.origins() == HIT
        other.check()
        # A write there leaves its marks as everywhere, and a fill takes them back.
        other.run("update customers set name = 'there' where id = 1")
        assert other.origins()["city_list"] == {"stale"}
        other.check()
        other.warm()


def test_a_bare_shop_has_nothing_applied(bare_shop: Shop) -> None:
    assert bare_shop.rows("select name from meshcache.cached_view") == []
    assert bare_shop.value("select count(*) from order_lines") == 150


def test_a_copied_server_has_a_warm_shop(crash_shop: CrashShop) -> None:
    assert crash_shop.origins() == HIT
    crash_shop.check()
