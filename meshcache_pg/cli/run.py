"""One run of the command: the options that every verb has, and the MeshCache that is made from them."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from meshcache_pg.cli.output import Output
from meshcache_pg.errors import MeshcacheError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from meshcache_pg.cache import MeshCache
    from meshcache_pg.catalog import InstalledView

# A server that does not answer at all is no reason to wait for minutes.
CONNECT_SECONDS = 10

# What one step of a sweep or a refresh may take beyond its --max-time before --timeout cuts it off.
STEP_SECONDS = 60

LOGGERS = ("meshcache_pg", "stamina")


class WrongUsage(MeshcacheError):
    """Arguments that do not go together."""

    exit_code = 2


@dataclass
class Run:
    """The global options, and what is made of them; typer.Context.obj of every verb."""

    dsn: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_color: bool = False
    timeout: float | None = None
    started: float = field(default_factory=time.monotonic)

    @cached_property
    def out(self) -> Output:
        """Where to print; not to be asked before the arguments are parsed."""
        return Output(as_json=self.json, quiet=self.quiet, no_color=self.no_color)

    @contextmanager
    def cache(self, max_time: float | None = None) -> Iterator["MeshCache"]:
        """The cache of the configured database. A --max-time that is longer than --timeout lengthens it."""
        from meshcache_pg.cache import MeshCache
        from meshcache_pg.settings import load

        settings = load(dsn=self.dsn, timeout_seconds=self.timeout)
        seconds = settings.timeout_seconds
        if max_time is not None and max_time >= seconds:
            seconds = max_time + STEP_SECONDS
        engine = _engine(settings.effective_dsn, seconds)
        try:
            with self._logging(), MeshCache(own_engine=engine, settings=settings) as cache:
                yield cache
        finally:
            engine.dispose()

    @contextmanager
    def _logging(self) -> Iterator[None]:
        # Without any handler Python would print warnings of its own accord.
        handler = logging.StreamHandler() if self.verbose else logging.NullHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        loggers = [logging.getLogger(name) for name in LOGGERS]
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.addHandler(handler)
            if self.verbose:
                logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.removeHandler(handler)
                logger.setLevel(level)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Return when it may be done: after --yes, or a yes on a terminal."""
        if yes:
            return
        if not self.out.asks:
            raise WrongUsage("this needs a yes, and there is no terminal to ask on", hint="Add --yes.")
        if not typer.confirm(question, err=True):
            raise MeshcacheError("not confirmed: nothing was changed")


def _engine(dsn: str, seconds: float) -> "Engine":
    from sqlalchemy import event

    from meshcache_pg.database import make_engine, parse_url

    url = parse_url(dsn)
    if "connect_timeout" not in url.query and "PGCONNECT_TIMEOUT" not in os.environ:
        url = url.update_query_dict({"connect_timeout": str(CONNECT_SECONDS)})
    engine = make_engine(url.render_as_string(hide_password=False), application_name="meshcache")

    def limit(connection: Any, _record: object) -> None:
        # As a statement, not as a startup option: a DSN may have options already, and poolers refuse them.
        connection.execute("select set_config('statement_timeout', %s, false)", (str(round(seconds * 1000)),))
        connection.commit()

    event.listen(engine, "connect", limit)
    return engine


def find(cache: "MeshCache", name: str) -> "InstalledView":
    """One cached view or rollup; the error says whether the schema or the name is missing."""
    from meshcache_pg import catalog

    with cache.begin() as connection:
        return catalog.find(connection, name)
