"""The environment, read and validated once. Every setting is a MESHCACHE_* variable; two well-known ones are
honoured for the connection: DATABASE_URL after MESHCACHE_DSN, and libpq's own PG* variables where neither is
set.
"""

import os
from datetime import timedelta
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from meshcache_pg.errors import ConfigurationError


class Settings(BaseSettings):
    """All settings with their defaults; units are in the names."""

    model_config = SettingsConfigDict(env_prefix="MESHCACHE_", extra="ignore", frozen=True)

    dsn: str | None = Field(default=None, description="Where the cache is: a URL or libpq's key=value.")
    fill: bool = Field(default=True, description="Whether a miss is filled after the read.")
    fills_per_second: float = Field(
        default=200.0,
        gt=0,
        description="At most so many fills by this process; each one burns a transaction id.",
    )
    fill_timeout_ms: int = Field(default=1000, ge=1, description="statement_timeout of a fill.")
    lock_timeout_ms: int = Field(default=100, ge=1, description="lock_timeout of a fill.")
    flush_seconds: float = Field(
        default=10.0, ge=0, description="How often counters are written to the database."
    )
    timeout_seconds: float = Field(
        default=600.0, gt=0, description="How long one command of the CLI may work."
    )
    secret_names: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("*secret*", "*token*", "*password*", "*encrypted*", "*api_key*", "*private*"),
        description="Patterns of table and column names that are not copied unasked.",
    )
    secret_schemas: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("auth", "vault", "pgsodium"), description="Schemas of which nothing is copied unasked."
    )
    key_check_seconds: float = Field(
        default=5.0, ge=0.001, description="How long plan and apply may look for keys that are not unique."
    )

    @field_validator("secret_names", "secret_schemas", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Words between commas, as the environment has them."""
        if not isinstance(value, str):
            return value
        return tuple(filter(None, (word.strip() for word in value.split(","))))

    @model_validator(mode="before")
    @classmethod
    def _add(cls, values: dict[str, object]) -> dict[str, object]:
        """What begins with a `+` comes to the defaults instead of replacing them."""
        for name in ("secret_names", "secret_schemas"):
            value = values.get(name)
            if isinstance(value, str) and value.lstrip().startswith("+"):
                default = cls.model_fields[name].default
                values[name] = ",".join([*default, value.lstrip().removeprefix("+")])
        return values

    @property
    def effective_dsn(self) -> str:
        """The DSN to use; an empty one leaves everything to libpq's PG* variables."""
        return self.dsn or os.environ.get("DATABASE_URL", "")

    @property
    def flush_interval(self) -> timedelta:
        """`flush_seconds` as a duration."""
        return timedelta(seconds=self.flush_seconds)


def load(**overrides: object) -> Settings:
    """Read the environment; `overrides` (of None are ignored) come from flags. Raises ConfigurationError."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks the values
    except ValidationError as error:
        first = error.errors()[0]
        name = "MESHCACHE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(
            f"{name} is wrong: {first['msg']}", hint="meshcache --help names the settings."
        ) from error
