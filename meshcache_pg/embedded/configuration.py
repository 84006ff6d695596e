"""Writes the configuration of a private server next to its data directory, never into it.

A data directory that somebody names stays as it was, and its `postgresql.auto.conf` still comes last: `alter
system` works as anywhere. What keeps strangers out is given on the command line: nothing overrides that.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from meshcache_pg.errors import EmbeddedServerError

# Small enough for several servers on a laptop.
_DEFAULTS = {"max_connections": "50", "shared_buffers": "128MB"}

# The launcher's own, with what to do instead.
_OURS = {
    "config_file": "pass single settings instead",
    "data_directory": "say data_dir=",
    "external_pid_file": "read the server's pid attribute",
    "hba_file": "the launcher decides who may connect",
    "listen_addresses": "say port=",
    "port": "say port=",
    "unix_socket_directories": "read the socket's place from dsn()",
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*")

# The socket's directory is closed to everyone else, so whoever gets there may come in. A TCP port is open to
# every user of the machine: it asks for the password.
_HBA_SOCKET = "local all all trust\nlocal replication all trust\n"
_HBA_TCP = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"


def check_settings(settings: Mapping[str, str]) -> None:
    """EmbeddedServerError for what is no setting's name or is not the caller's to set."""
    for name in settings:
        if not _NAME.fullmatch(name):
            raise EmbeddedServerError(f"{name!r} is not the name of a PostgreSQL setting")
        instead = _OURS.get(name.lower())
        if instead:
            raise EmbeddedServerError(f"setting {name} of a private server cannot be chosen", hint=instead)


def write_configuration(base: Path, data_dir: Path, settings: Mapping[str, str]) -> Path:
    """Write postgresql.conf and return its path."""
    lines = [f"include {_quoted(str(data_dir / 'postgresql.conf'))}"]
    lines += [f"{name} = {_quoted(value)}" for name, value in (_DEFAULTS | dict(settings)).items()]
    return _write(base / "postgresql.conf", "\n".join(lines) + "\n")


def write_hba(base: Path, *, tcp: bool) -> Path:
    """Write pg_hba.conf and return its path."""
    return _write(base / "pg_hba.conf", _HBA_SOCKET + (_HBA_TCP if tcp else ""))


def _quoted(value: str) -> str:
    # The file knows the escapes of an E'' string, and no value may span lines.
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def _write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    # The server may run as another user than we do; the directory lets nobody else in.
    path.chmod(0o644)
    return path
