"""The application changes its tables: what PostgreSQL refuses on account of a cached view, what goes through,
and the way to do the rest.
"""

from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from meshcache_pg import catalog, suspended
from meshcache_pg.errors import DefinitionError, MeshcacheError
from tests.fixtures.fix_cli import RunCli
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_shop import ORDER_CARD, SHOP, VIEWS, Shop, define

HIT = {view: {"hit"} for view in VIEWS}

# By what the server says: dependent objects, and a type that a view uses.
REFUSED: dict[LiteralString, type[psycopg.Error]] = {
    "alter table orders drop column status": psycopg.errors.DependentObjectsStillExist,
    "alter table order_lines alter column quantity type bigint": psycopg.errors.FeatureNotSupported,
    "drop table order_lines": psycopg.errors.DependentObjectsStillExist,
    "drop table customers, orders, order_lines": psycopg.errors.DependentObjectsStillExist,
}

ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

REVISION = """
import sqlalchemy as sa
from alembic import op

from meshcache_pg import parse, suspended

revision, down_revision = "0001", None


def upgrade() -> None:
    changed = parse({changed!r}, "order_card.sql")
    with suspended(op.get_bind(), "orders", "order_lines", definitions=[changed]):
        op.alter_column("orders", "status", new_column_name="state")
        op.alter_column("order_lines", "quantity", type_=sa.BigInteger())
        op.drop_column("order_lines", "sku")
"""

STATE_CARD = ORDER_CARD.replace("customer_id, status)", "customer_id, state)").replace("o.status", "o.state")


@pytest.mark.parametrize("statement", list(REFUSED))
def test_a_change_that_would_break_a_view_is_refused_by_the_server(
    shop: Shop, statement: LiteralString
) -> None:
    with pytest.raises(REFUSED[statement]) as refused:
        shop.run(statement)
    assert "meshcache." in (refused.value.diag.message_detail or "")
    assert shop.origins() == HIT
    shop.check()


def alembic(tmp_path: Path, shop: Shop, changed: str) -> Config:
    """An application with one revision of its own."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(ENVIRONMENT)
    (tmp_path / "versions" / "0001_retype.py").write_text(REVISION.format(changed=changed))
    config = Config()
    config.set_main_option("script_location", str(tmp_path))
    url = shop.engine().url.render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def test_a_migration_of_the_application(shop: Shop, tmp_path: Path) -> None:
    shop.apply(*SHOP[:3], prune=True)
    command.upgrade(alembic(tmp_path, shop, STATE_CARD), "head")
    shop.check()
    assert shop.value("select state from meshcache.order_card where id = 1") == "open"
    shop.refresh(*VIEWS)
    assert shop.origins() == HIT
    shop.run(
        "update orders set state = 'paid' where id = 1",
        "update order_lines set quantity = 5000000000 where order_id = 2",
    )
    shop.check()
    assert {step.action for step in shop.plan(STATE_CARD, *SHOP[1:3])} == {"keep"}


def test_a_migration_whose_definitions_do_not_fit_changes_nothing(shop: Shop, tmp_path: Path) -> None:
    shop.apply(*SHOP[:3], prune=True)
    with pytest.raises(MeshcacheError, match="status"):
        command.upgrade(alembic(tmp_path, shop, ORDER_CARD), "head")
    assert shop.origins() == HIT
    assert shop.value("select to_regclass('alembic_version')") is None
    shop.run("update orders set status = 'paid' where id = 1")
    shop.check()


def test_only_what_reads_the_table_is_suspended(shop: Shop) -> None:
    readers = ["customer_page", "order_card", "sku_sales"]
    with shop.engine().begin() as connection:
        assert catalog.readers(connection, ["order_lines"]) == readers
        assert catalog.suspend(connection, ["order_lines"]) == readers
    assert shop.origins("city_list") == {"city_list": {"hit"}}
    assert shop.sweep()["state"] == "done"
    shop.run("update order_lines set quantity = 9", "drop table order_lines")
    with pytest.raises(MeshcacheError, match="order_lines"), shop.engine().begin() as connection:
        catalog.resume(connection)
    assert shop.origins("city_list") == {"city_list": {"hit"}}


def test_a_table_is_found_through_views_and_partitions(bare_shop: Shop) -> None:
    bare_shop.run(
        "create view line_total as select order_id, quantity * price as total from order_lines",
        "create table visits (id integer, day date, primary key (id, day)) partition by range (day)",
        "create table visits_1 partition of visits for values from ('2026-01-01') to ('2026-02-01')",
    )
    bare_shop.apply(
        "-- name: totals\n-- key: order_id\n-- depends: order_lines(order_id) = (order_id)\n"
        "select order_id, sum(total) as total from line_total group by order_id",
        "-- name: visit\n-- key: id, day\n-- depends: visits(id) = (id)\nselect id, day from visits",
    )
    with bare_shop.engine().begin() as connection:
        assert catalog.readers(connection, ["order_lines"]) == ["totals"]
        assert catalog.readers(connection, ["line_total"]) == ["totals"]
        assert catalog.readers(connection, ["visits_1"]) == ["visit"]
        assert catalog.readers(connection, ["customers"]) == []


def test_a_table_that_is_not_there(shop: Shop) -> None:
    with pytest.raises(DefinitionError, match="no table ordres"), shop.engine().begin() as connection:
        catalog.suspend(connection, ["ordres"])


def test_nothing_to_suspend_where_the_cache_is_not_installed(db: Database) -> None:
    with Shop(db.dsn) as shop:
        shop.run("create table orders (id integer)")
        with shop.engine().begin() as connection, suspended(connection, "orders") as names:
            connection.execute(text("alter table orders alter column id type bigint"))
        assert names == []


def test_the_block_is_one_transaction(shop: Shop) -> None:
    with shop.engine().begin() as connection:
        with suspended(connection, "orders", definitions=define(ORDER_CARD)):
            connection.execute(text("alter table orders alter column status type varchar(40)"))
        assert connection.scalar(text("select count(*) from meshcache.order_card")) == 50
    shop.check()


def test_the_block_minds_its_own_business(shop: Shop) -> None:
    # A view that somebody has broken, and the waits that the application allows itself.
    shop.run("drop view meshcache.city_list")
    with shop.engine().begin() as connection:
        connection.execute(text("set local lock_timeout = '7s'"))
        with suspended(connection, "order_lines"):
            assert connection.scalar(text("show lock_timeout")) == "7s"
            connection.execute(text("alter table order_lines alter column quantity type bigint"))
        assert connection.scalar(text("show lock_timeout")) == "7s"
    assert shop.value("select to_regclass('meshcache.city_list')") is None
    shop.check("order_card", "customer_page")


def test_suspend_and_resume_on_the_command_line(cli: RunCli, shop: Shop) -> None:
    assert cli("suspend", "orders", "-n").lines == [["suspend", "customer_page"], ["suspend", "order_card"]]
    assert shop.origins() == HIT
    assert cli("suspend", "orders", "--json").data["suspended"] == ["customer_page", "order_card"]
    assert cli("suspend", "nothing").err.startswith("error: there is no table nothing")
    shop.run("alter table orders alter column status type varchar(40)")
    tried = cli("resume", "--dry-run", "--json").data
    assert [(s["action"], s["name"]) for s in tried["steps"] if s["action"] != "keep"] == [
        ("repair", "customer_page"),
        ("repair", "order_card"),
    ]
    answer = cli("resume", "--json")
    assert answer.code == 0
    assert [filled["name"] for filled in answer.data["filled"]] == ["order_card"]
    assert shop.origins("order_card") == {"order_card": {"hit"}}
    shop.check()
    assert cli("resume").err.startswith("nothing to do")
