"""The way up: from an empty directory to a server that takes connections, or one error that says why not."""

import socket
from collections.abc import Mapping
from pathlib import Path
from subprocess import Popen

from meshcache_pg.embedded import launch, reaper
from meshcache_pg.embedded.configuration import write_configuration, write_hba
from meshcache_pg.embedded.data_directory import ensure_free, major_of
from meshcache_pg.embedded.place import Place
from meshcache_pg.errors import EmbeddedServerError

# The socket's directory belongs to one server: the usual number collides with nobody.
_SOCKET_PORT = 5432


def make_cluster(place: Place, user: str, locale: str, seed: Path | None, timeout: float) -> None:
    """Run initdb, or copy `seed`, unless the directory holds a cluster already."""
    if major_of(place.data_dir) is not None:
        return
    # Half a cluster would be taken for a whole one by the next start.
    place.lifeline.tell("remove", str(place.data_dir))
    try:
        launch.run(
            _initdb(place, user, locale) if seed is None else ["cp", "-R", f"{seed}/.", str(place.data_dir)],
            place.account,
            place.lifeline,
            place.socket_dir / "initdb.log",
            timeout,
        )
    except BaseException:
        reaper.remove(str(place.data_dir))
        raise
    if seed is not None:
        # What the seed's server said is not what this one says.
        place.log.unlink(missing_ok=True)
    place.lifeline.tell("keep", str(place.data_dir))


def _initdb(place: Place, user: str, locale: str) -> list[str]:
    command = [place.programs.program("initdb"), "-D", str(place.data_dir), "-U", user, "-E", "UTF8"]
    # These are for whoever starts a kept directory by other means: they get no open door.
    command += [f"--locale={locale}", "--auth-local=peer", "--auth-host=scram-sha-256"]
    # What is removed anyway need not survive a power cut.
    return command + (["--no-sync"] if place.temporary else [])


def start_server(
    place: Place, settings: Mapping[str, str], port: int | None, timeout: float
) -> "Popen[bytes]":
    """Start the postmaster and wait until it takes connections, at `place.port`, which outlives a restart."""
    if port == 0 and place.port is None:
        return _start_on_free_port(place, settings, timeout)
    place.port = place.port or port or _SOCKET_PORT
    return _start(place, settings, timeout, tcp=port is not None)


def _start_on_free_port(place: Place, settings: Mapping[str, str], timeout: float) -> "Popen[bytes]":
    # Another program may take the port between our look and the server's start: then try another port.
    for attempt in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            place.port = int(probe.getsockname()[1])
        begin = _size(place)
        try:
            return _start(place, settings, timeout, tcp=True)
        except EmbeddedServerError:
            place.port = None
            if "Address already in use" not in launch.tail(place.log, start=begin) or attempt == 4:
                raise
    raise EmbeddedServerError("found no free TCP port on 127.0.0.1")


def _start(place: Place, settings: Mapping[str, str], timeout: float, *, tcp: bool) -> "Popen[bytes]":
    ensure_free(place.data_dir)
    for leftover in place.socket_dir.glob(".s.PGSQL.*"):
        leftover.unlink()
    options = {
        "config_file": str(write_configuration(place.base, place.data_dir, settings)),
        "hba_file": str(write_hba(place.base, tcp=tcp)),
        "listen_addresses": "127.0.0.1" if tcp else "",
        "port": str(place.port),
        # A list, in which a comma in a path would separate.
        "unix_socket_directories": '"{}"'.format(str(place.socket_dir).replace('"', '""')),
    }
    command = [place.programs.program("postgres"), "-D", str(place.data_dir)]
    command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    begin = _size(place)
    process = launch.start(command, place.account, place.lifeline, place.log)

    def settled() -> bool:
        found = reaper.read_pid_file(str(place.data_dir))
        ready = found is not None and found.pid == process.pid and found.ready
        return ready or process.poll() is not None

    try:
        in_time = reaper.wait_until(settled, timeout)
        if in_time and process.poll() is None:
            # Were the server to crash and never to start again, nobody else would know of these.
            place.segments = reaper.segments_of([process.pid])
            for segment in place.segments:
                place.lifeline.tell("segment", segment)
            return process
        reason = (
            f"was not ready within {timeout:g} s" if process.poll() is None else "ended instead of starting"
        )
    except BaseException:
        _kill(process)
        raise
    _kill(process)
    raise EmbeddedServerError(
        f"{place.programs} {reason}; the end of its log:\n{launch.tail(place.log, start=begin)}",
        hint="check the settings, the free space and, if a port was named, who uses it",
    )


def _kill(process: "Popen[bytes]") -> None:
    if process.poll() is None:
        reaper.kill_family(process.pid, timeout=10)
    process.wait()


def _size(place: Place) -> int:
    return place.log.stat().st_size if place.log.exists() else 0
