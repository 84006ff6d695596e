"""The command among other programs: terminals, pipes, signals, environments, servers that do not answer."""

import os
import signal
import subprocess
from pathlib import Path
from typing import LiteralString

import pytest

from meshcache_pg.errors import ConnectionFailed
from tests.fixtures.fix_cli import RunCli, StartCli, on_terminal
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import Shop

NOWHERE = "host=localhost port=1 dbname=none"


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_data_goes_to_stdout_and_talk_to_stderr(start_cli: StartCli, shop: Shop) -> None:
    code, out, err = finish(start_cli("get", "order_card", "1", "-d", shop.dsn))
    assert code == 0
    assert out.splitlines()[0] == "column         value"
    assert err.startswith("hit, ")
    code, out, err = finish(start_cli("-d", shop.dsn, "-q", "refresh", "--all"))
    assert (code, out, err) == (0, "", "")


@pytest.mark.parametrize("variable", ["MESHCACHE_DSN", "DATABASE_URL"])
def test_dsn_comes_from_the_environment_where_no_option_gives_it(
    run_cli: RunCli, shop: Shop, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, shop.dsn)
    assert len(run_cli("list", "--json").data["views"]) == 4
    assert run_cli("list", "-d", NOWHERE).code == ConnectionFailed.exit_code


@pytest.mark.parametrize(
    "dsn", [NOWHERE, "postgresql://localhost:1/none", "postgresql://nowhere.invalid/none"]
)
def test_server_that_cannot_be_reached_is_exit_3(run_cli: RunCli, dsn: str) -> None:
    answer = run_cli("-d", dsn, "list", "--json")
    error, hint = answer.err.splitlines()
    assert answer.code == 3
    assert error.startswith("error: ")
    assert hint.startswith("hint: Check the DSN")
    assert answer.data["error"]["exit_code"] == 3


@pytest.mark.parametrize("dsn", ["mysql://localhost/none", "postgresql+asyncpg://localhost/none", "host"])
def test_dsn_that_cannot_be_read_is_exit_3(run_cli: RunCli, dsn: str) -> None:
    answer = run_cli("list", "--dsn", dsn)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.splitlines()[1].startswith("hint: ")


def test_setting_that_is_wrong_is_exit_3(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHCACHE_TIMEOUT_SECONDS", "soon")
    answer = run_cli("list", "-d", NOWHERE)
    assert answer.code == 3
    assert answer.err.startswith("error: MESHCACHE_TIMEOUT_SECONDS is wrong")


def test_traceback_only_when_asked_for(run_cli: RunCli) -> None:
    assert "Traceback" not in run_cli("list", "-d", NOWHERE).err
    verbose = run_cli("list", "-d", NOWHERE, "-v")
    assert "Traceback" in verbose.err
    assert verbose.err.splitlines()[-1].startswith("hint: ")


def test_verb_that_takes_too_long_ends_with_the_timeout(cli: RunCli, shop: Shop) -> None:
    with shop.connect(autocommit=False) as other:
        other.execute("lock table customers in access exclusive mode")
        answer = cli("verify", "city_list", "--timeout", "0.2")
    assert answer.code == 1
    assert answer.err.splitlines()[1] == "hint: Give it longer: --timeout SECONDS."


def test_interrupt_is_exit_130_without_a_traceback(start_cli: StartCli, shop: Shop) -> None:
    waiting: LiteralString = """
        select exists (
            select from pg_stat_activity
            where application_name = 'meshcache' and datname = current_database() and wait_event_type = 'Lock'
        )
    """
    with shop.connect(autocommit=False) as other:
        other.execute("lock table customers in access exclusive mode")
        with start_cli("verify", "city_list", "-d", shop.dsn) as process:
            eventually(lambda: shop.value(waiting), "verify waits for the table")
            process.send_signal(signal.SIGINT)
            assert finish(process) == (130, "", "interrupted\n")
        # Nobody is left behind who still waits on the server.
        eventually(lambda: not shop.value(waiting), "its statement is cancelled")


def test_reader_that_has_gone_is_no_failure(start_cli: StartCli, shop: Shop) -> None:
    for verb in (["list"], ["stats", "--json"], ["sql", "sweep"]):
        with start_cli(*verb, "-d", shop.dsn, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == ""
        assert process.returncode == 0


def test_terminal_is_asked_and_no_means_no(start_cli: StartCli, shop: Shop) -> None:
    code, shown = on_terminal(start_cli, ["drop", "order_card", "-d", shop.dsn], "n\n")
    assert code == 1
    assert "Drop the cached view order_card?" in shown
    assert "nothing was changed" in shown
    shop.check("order_card")
    code, shown = on_terminal(start_cli, ["drop", "order_card", "-d", shop.dsn], "y\n")
    assert code == 0
    assert "dropped order_card" in shown


def test_terminal_gets_colours_unless_it_does_not_want_them(
    start_cli: StartCli, bare_shop: Shop, views: Path
) -> None:
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)

    def shown(*argv: str, **also: str) -> str:
        def start(*argv: str, **options: object) -> "subprocess.Popen[str]":
            return start_cli(*argv, env=environment | also, **options)

        return on_terminal(start, ["plan", str(views), "-d", bare_shop.dsn, *argv], "")[1]

    green = "\x1b[32m"
    assert green in shown()
    assert green not in shown("--no-color")
    assert green not in shown(NO_COLOR="1")
