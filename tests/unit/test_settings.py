"""The environment: names, defaults, and one clear error for a wrong value."""

import pytest

from meshcache_pg import settings
from meshcache_pg.database import parse_url
from meshcache_pg.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MESHCACHE_DSN", "DATABASE_URL", "MESHCACHE_FILL", "MESHCACHE_FILLS_PER_SECOND"):
        monkeypatch.delenv(name, raising=False)


def test_the_dsn_comes_from_the_flag_then_from_ours_then_from_the_well_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.load().effective_dsn == ""
    monkeypatch.setenv("DATABASE_URL", "postgresql://b")
    assert settings.load().effective_dsn == "postgresql://b"
    monkeypatch.setenv("MESHCACHE_DSN", "postgresql://a")
    assert settings.load().effective_dsn == "postgresql://a"
    assert settings.load(dsn="postgresql://flag").effective_dsn == "postgresql://flag"
    assert settings.load(dsn=None).effective_dsn == "postgresql://a"


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHCACHE_FILLS_PER_SECOND", "many")
    with pytest.raises(ConfigurationError, match="MESHCACHE_FILLS_PER_SECOND is wrong"):
        settings.load()


def test_names_of_secrets_replace_the_defaults_or_come_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    default = settings.load().secret_names
    assert "*password*" in default
    monkeypatch.setenv("MESHCACHE_SECRET_NAMES", "*pin*, *iban* ")
    assert settings.load().secret_names == ("*pin*", "*iban*")
    monkeypatch.setenv("MESHCACHE_SECRET_NAMES", "+*pin*,*iban*")
    assert settings.load().secret_names == (*default, "*pin*", "*iban*")
    monkeypatch.setenv("MESHCACHE_SECRET_SCHEMAS", "")
    assert settings.load().secret_schemas == ()
    assert settings.load(secret_names=("a",)).secret_names == ("a",)


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgres://u@h:1/d", "postgresql+psycopg://u@h:1/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+psycopg://u@h/d?sslmode=require"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("", "postgresql+psycopg://"),
    ],
)
def test_dsns_as_users_write_them(dsn: str, expected: str) -> None:
    assert parse_url(dsn).render_as_string(hide_password=False) == expected


def test_key_value_dsns_are_libpqs() -> None:
    assert dict(parse_url("host=/run/pg dbname=shop user=me").query) == {
        "host": "/run/pg",
        "dbname": "shop",
        "user": "me",
    }


@pytest.mark.parametrize("dsn", ["mysql://h/d", "postgresql+asyncpg://h/d", "://", "nonsense", "host"])
def test_a_dsn_that_cannot_be_used_is_refused(dsn: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_url(dsn)
    assert refused.value.hint
