"""The environment, read and validated once. Every setting is a MESHCACHE_* variable; two well-known ones are
honoured for the connection: DATABASE_URL after MESHCACHE_DSN, and libpq's own PG* variables where neither is
set.
"""

import os
from datetime import timedelta

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

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
