"""Finding PostgreSQL, on machines made of a few scripts that know their version."""

from collections.abc import Callable
from pathlib import Path

import pytest

from meshcache_pg.embedded import Installation, find_installation, find_installations, installations
from meshcache_pg.errors import EmbeddedServerError

Place = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine without PostgreSQL; each call installs one."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(installations, "_PLACES", (f"{tmp_path.relative_to('/')}/lib/*/bin",))
    monkeypatch.setattr(installations, "_wheel_bindir", lambda: None)

    def install(directory: str, version: str, *, without: str = "") -> Path:
        bindir = tmp_path / directory
        bindir.mkdir(parents=True)
        for name in {"postgres", "initdb"} - {without}:
            (bindir / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
            (bindir / name).chmod(0o755)
        return bindir

    return install


def found() -> list[tuple[str, str]]:
    return [(one.version, one.source) for one in find_installations()]


def test_newest_first_and_one_per_major(place: Place) -> None:
    place("lib/a/bin", "15.9 (Debian 15.9-1)")
    place("lib/b/bin", "15.18")
    place("lib/c/bin", "18.2")
    place("lib/d/bin", "9.6.24")
    place("lib/e/bin", "12.22")
    place("lib/f/bin", "19beta1")
    assert found() == [("19beta1", "system"), ("18.2", "system"), ("15.18", "system")]
    assert [one.major for one in find_installations()] == [19, 18, 15]


def test_a_release_is_newer_than_its_beta(place: Place) -> None:
    place("lib/a/bin", "19.0")
    place("lib/b/bin", "19beta3")
    assert found() == [("19.0", "system")]


def test_links_to_some_of_the_programs_lead_to_all(place: Place, tmp_path: Path) -> None:
    bindir = place("somewhere/17/bin", "17.1")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "postgres").symlink_to(bindir / "postgres")
    assert [one.bindir for one in find_installations()] == [bindir]


def test_pg_config_leads_to_the_programs(place: Place, tmp_path: Path) -> None:
    bindir = place("somewhere/17/bin", "17.1")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "pg_config").write_text(f"#!/bin/sh\necho '{bindir}'\n")
    (tmp_path / "path" / "pg_config").chmod(0o755)
    assert [one.bindir for one in find_installations()] == [bindir]


@pytest.mark.parametrize("missing", ["postgres", "initdb"])
def test_an_incomplete_installation_is_none(place: Place, missing: str) -> None:
    place("lib/a/bin", "18.1", without=missing)
    assert found() == []


def test_programs_that_do_not_run_here_are_none(place: Place) -> None:
    bindir = place("lib/a/bin", "18.1")
    (bindir / "postgres").write_bytes(b"\x7fELF of another machine")
    assert found() == []


def test_the_wheel_counts_when_it_is_newer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place("lib/a/bin", "18.6")
    wheel = place("wheel/bin", "18.6")
    monkeypatch.setattr(installations, "_wheel_bindir", lambda: wheel)
    assert found() == [("18.6", "system")]
    (wheel.parent / "newer").mkdir()
    newer = place("wheel/newer/bin", "18.7")
    monkeypatch.setattr(installations, "_wheel_bindir", lambda: newer)
    assert found() == [("18.7", "wheel")]


def test_one_major_can_be_asked_for(place: Place) -> None:
    place("lib/a/bin", "15.1")
    place("lib/b/bin", "18.1")
    assert find_installation().major == 18
    assert find_installation(15).major == 15
    with pytest.raises(EmbeddedServerError, match=r"no PostgreSQL 17 on this machine, only PostgreSQL 18\.1"):
        find_installation(17)


@pytest.mark.usefixtures("place")
def test_finding_none_says_what_to_install() -> None:
    assert find_installations() == []
    for major, wanted in ((None, "PostgreSQL "), (18, "PostgreSQL 18 ")):
        with pytest.raises(EmbeddedServerError, match=f"found no {wanted}") as missing:
            find_installation(major)
        assert missing.value.hint is not None
        assert "pip install 'meshcache-pg[embedded]'" in missing.value.hint


def test_an_installation_speaks_of_itself(tmp_path: Path) -> None:
    one = Installation(tmp_path, "18.6", "wheel")
    assert str(one) == f"PostgreSQL 18.6 (wheel: {tmp_path})"
    assert one.program("psql") == str(tmp_path / "psql")
    with pytest.raises(EmbeddedServerError, match="cannot read the PostgreSQL version"):
        assert Installation(tmp_path, "new", "system").major
