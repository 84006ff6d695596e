"""A PgBouncer of our own in transaction mode, reached by a socket in a directory of its own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from meshcache_pg.embedded.reaper import wait_until

_PROGRAM = "pgbouncer"

_CONFIGURATION = """
[databases]
* = host={host} port={port} user=postgres

[pgbouncer]
pool_mode = transaction
auth_type = any
listen_addr =
listen_port = 6432
unix_socket_dir = {directory}
unix_socket_mode = 0777
default_pool_size = 6
server_login_retry = 1
server_check_delay = 0
ignore_startup_parameters = extra_float_digits, options, application_name
logfile = {directory}/pgbouncer.log
pidfile =
"""


def find_pooler() -> str | None:
    """The program; Debian keeps it where only root's PATH leads."""
    return shutil.which(_PROGRAM, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def pooler_version(program: str) -> str:
    """As it says itself."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


@contextmanager
def pooler(program: str, server_dsn: str) -> Iterator[str]:
    """Run it in front of a server that listens on a socket; yields the directory of its own socket."""
    server = conninfo_to_dict(server_dsn)
    # It refuses root, as the server does: whoever runs the server may run this, too.
    owner = Path(str(server["host"])).stat()
    other = None if owner.st_uid == os.geteuid() else owner.st_uid
    with tempfile.TemporaryDirectory(prefix="pooler-", dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(
            _CONFIGURATION.format(host=server["host"], port=server["port"], directory=directory), "utf-8"
        )
        if other is not None:
            os.chown(directory, owner.st_uid, owner.st_gid)
        process = subprocess.Popen(
            [program, "--quiet", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=other,
            group=None if other is None else owner.st_gid,
            extra_groups=None if other is None else [],
        )
        try:
            there = directory / ".s.PGSQL.6432"
            if (
                not wait_until(lambda: there.exists() or process.poll() is not None, 10)
                or process.poll() is not None
            ):
                log = directory / "pgbouncer.log"
                raise RuntimeError(f"pgbouncer does not start:\n{log.read_text() if log.exists() else ''}")
            yield name
        finally:
            process.terminate()
            process.wait()


def pooled_dsn(directory: str, dbname: str) -> str:
    """The way to a database through it."""
    return f"postgresql://postgres@/{quote(dbname, safe='')}?host={quote(directory, safe='')}&port=6432"
