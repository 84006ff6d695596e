"""A private PostgreSQL server for the demo and the tests: started in a second, gone without a trace.

It lives no longer than the process that started it, and its socket is in a directory closed to others.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from meshcache_pg.embedded import launch, reaper
from meshcache_pg.embedded.configuration import check_settings
from meshcache_pg.embedded.data_directory import await_detached, major_of
from meshcache_pg.embedded.installations import Installation, find_installation
from meshcache_pg.embedded.place import Place
from meshcache_pg.embedded.startup import make_cluster, start_server
from meshcache_pg.errors import EmbeddedServerError


class PrivateServer:
    """One server with its data directory; also a context manager.

    - `data_dir`: made if missing, never removed; None is a temporary one, removed by `stop()` unless `keep`.
    - `settings`: as in postgresql.conf.
    - `port`: None for the socket alone, 0 for a free TCP port on 127.0.0.1, or a port; TCP asks for a
      generated password, see `tcp_dsn`.
    - `user`: the superuser; `locale`: of the databases, in UTF-8. Both count when the data directory is made.
    - `seed`: the data directory of a stopped server of the same major and user; a new one begins as its copy
      instead of empty, so it has the same system identifier.
    - `timeout`: seconds for starting, and for each step of stopping.
    """

    def __init__(
        self,
        installation: Installation | None = None,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        keep: bool = False,
        user: str = "postgres",
        locale: str = "C.UTF-8" if os.uname().sysname == "Linux" else "C",
        seed: str | os.PathLike[str] | None = None,
        timeout: float = 60,
    ) -> None:
        self._named = Path(data_dir).expanduser().resolve() if data_dir is not None else None
        self.installation = installation or find_installation(major_of(self._named) if self._named else None)
        self.settings = dict(settings or {})
        check_settings(self.settings)
        self.user = user
        self._asked_port = port
        self._keep = keep
        self._locale = locale
        self._seed = Path(seed) if seed is not None else None
        self._timeout = timeout
        self._owner = os.getpid()
        self._process: Popen[bytes] | None = None
        self._place: Place | None = None

    def start(self) -> Self:
        """Start, or do nothing when it runs; after `kill()` on the same data."""
        self._check_owner()
        if self.is_running:
            return self
        fresh = self._place is None
        try:
            place = self._place = self._place or Place.make(self.installation, self._named, keep=self._keep)
            make_cluster(place, self.user, self._locale, self._seed, self._timeout)
            self._process = start_server(place, self.settings, self._asked_port, self._timeout)
            if self._asked_port is not None:
                from meshcache_pg.embedded.databases import set_password  # noqa: PLC0415

                set_password(self.dsn(), self.user, place.password)
        except BaseException:
            self._end("immediate")
            if fresh:
                self._discard(failed=True)
            raise
        if not place.temporary:
            # What is kept is as good as named: after stop(), start() finds the same data.
            self._named = place.data_dir
        return self

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop, by force if it does not obey, and remove everything that was temporary; fine when stopped."""
        self._check_owner()
        self._end(mode)
        self._discard()

    def halt(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and leave everything where it is, for `start()` or as somebody's `seed`; fine when stopped."""
        self._check_owner()
        self._end(mode)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> Self:
        """Stop and start on the same data, at the same DSN."""
        self.halt(mode)
        return self.start()

    def kill(self) -> None:
        """End all processes of the server as a crash would; when it returns, `start()` can recover."""
        self._check_owner()
        process, place = self._process, self._place
        if process is None or place is None:
            return
        if process.poll() is None:
            if not reaper.kill_family(process.pid, self._timeout):
                raise EmbeddedServerError(f"processes of the server in {place.data_dir} survive SIGKILL")
            process.wait()
        await_detached(place.data_dir)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the postmaster is alive now."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def version(self) -> str:
        """As the server says it, "18.6"."""
        return self.installation.version

    @property
    def major(self) -> int:
        """18 of "18.6"."""
        return self.installation.major

    @property
    def data_dir(self) -> Path:
        """Where the data is; EmbeddedServerError before the first start and after a temporary one is gone."""
        if self._place is None and self._named is not None:
            return self._named
        return self._existing().data_dir

    @property
    def port(self) -> int | None:
        """The TCP port on 127.0.0.1; None when only the socket is open."""
        return None if self._asked_port is None else self._existing().port

    def dsn(self, dbname: str = "postgres", user: str | None = None) -> str:
        """A libpq URL over the socket; SQLAlchemy takes it with the scheme `postgresql+psycopg`."""
        place = self._existing()
        host = quote(str(place.socket_dir), safe="")
        who = quote(user or self.user, safe="")
        return f"postgresql://{who}@/{quote(dbname, safe='')}?host={host}&port={place.port}"

    def tcp_dsn(self, dbname: str = "postgres") -> str:
        """A libpq URL over TCP with the superuser's password; EmbeddedServerError without `port`."""
        place = self._existing()
        if self._asked_port is None:
            raise EmbeddedServerError("this private server listens on no TCP port", hint="say port=0")
        who = f"{quote(self.user, safe='')}:{quote(place.password, safe='')}"
        return f"postgresql://{who}@127.0.0.1:{place.port}/{quote(dbname, safe='')}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database and return its DSN; nobody may be connected to `template`."""
        # psycopg loads here: finding and starting a server needs the standard library only.
        from meshcache_pg.embedded.databases import create_database  # noqa: PLC0415

        # To copy the files takes a sixth of the time that it takes to log each of their pages, which is the
        # default; the checkpoints that it needs bother nobody here.
        create_database(self.dsn(), name, template, "file_copy" if self.major >= 15 else None)
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, ending its connections; fine when it does not exist."""
        from meshcache_pg.embedded.databases import drop_database  # noqa: PLC0415

        drop_database(self.dsn(), name)

    def log_tail(self, lines: int = 40) -> str:
        """The end of the server's log."""
        return launch.tail(self._existing().log, lines)

    def __repr__(self) -> str:
        state = f"running as {self.pid}" if self.is_running else "stopped"
        return f"<PrivateServer {self.installation}, {state}>"

    def _end(self, mode: Literal["fast", "immediate"]) -> None:
        process, place = self._process, self._place
        if process is None or place is None:
            return
        if process.poll() is None:
            reaper.stop(place.cluster, mode, self._timeout)
            process.wait()
        await_detached(place.data_dir)
        self._process = None

    def _discard(self, *, failed: bool = False) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.remove(failed=failed)

    def _existing(self) -> Place:
        if self._place is None:
            raise EmbeddedServerError(
                "this private server is not started", hint="call start(), or use `with`"
            )
        return self._place

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise EmbeddedServerError(
                f"this private server belongs to process {self._owner}, not to its fork",
                hint="pass the DSN to child processes",
            )
