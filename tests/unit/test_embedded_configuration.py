"""The configuration that a private server is given, and what a caller may not put into it."""

from pathlib import Path

import pytest

from meshcache_pg.embedded.configuration import check_settings, write_configuration, write_hba
from meshcache_pg.errors import EmbeddedServerError


def test_values_are_quoted_and_the_callers_come_last(tmp_path: Path) -> None:
    settings = {"max_connections": "7", "a.b": "it's \\ a\nline"}
    written = write_configuration(tmp_path, Path("/it's/data"), settings).read_text().splitlines()
    assert written[0] == "include '/it''s/data/postgresql.conf'"
    assert written[1:] == ["max_connections = '7'", "shared_buffers = '128MB'", "a.b = 'it''s \\\\ a\\nline'"]


@pytest.mark.parametrize("name", ["", "work mem", "work_mem=", "a.", "a\nb", "work_mem'", "1a"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(EmbeddedServerError, match="is not the name of a PostgreSQL setting"):
        check_settings({name: "1"})


@pytest.mark.parametrize("name", ["port", "PORT", "listen_addresses", "hba_file", "data_directory"])
def test_what_is_the_launchers_is_refused_with_the_way_to_go(name: str) -> None:
    with pytest.raises(EmbeddedServerError, match=f"{name} of a private server cannot be chosen") as refused:
        check_settings({name: "1"})
    assert refused.value.hint


def test_tcp_never_trusts(tmp_path: Path) -> None:
    socket_only = write_hba(tmp_path, tcp=False).read_text()
    assert "host" not in socket_only
    hosts = [
        line for line in write_hba(tmp_path, tcp=True).read_text().splitlines() if line.startswith("host")
    ]
    assert hosts
    assert all(line.endswith("127.0.0.1/32 scram-sha-256") for line in hosts)
