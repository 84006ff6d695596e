"""`python -m tests.consistency.harness.peers`: every peer for some minutes, in turn, and a table."""

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom

from meshcache_pg.embedded import Installation, find_installations
from tests.consistency.harness.options import Options
from tests.consistency.harness.peers.delete_trigger import DeleteByTrigger
from tests.consistency.harness.peers.matview import MaterializedView
from tests.consistency.harness.peers.notify import Notify
from tests.consistency.harness.peers.ours import Ours
from tests.consistency.harness.peers.peer import Peer
from tests.consistency.harness.peers.redis_aside import RedisAside
from tests.consistency.harness.peers.redis_server import NOT_FOUND, find_redis, redis_server, redis_version
from tests.consistency.harness.peers.result import Line, as_markdown, line, notes
from tests.consistency.harness.peers.source import Source
from tests.consistency.harness.peers.write_through import WriteThrough
from tests.consistency.harness.run import run

# Waits that are longer than this are in the server's log, with the statement that waited.
LOGGED_WAIT = "20ms"

_IN_PROCESS = (Source, Ours, DeleteByTrigger, WriteThrough, Notify, MaterializedView)
NAMES = (*(peer.name for peer in _IN_PROCESS), RedisAside.name)


def options_for(peer: Peer, seed: int, seconds: float) -> Options:
    """The same for every peer: what a trigger by the book does not survive is left out for all."""
    # A round ends with a look at what is left at rest.
    rounds = max(1, round(seconds / Options.round_seconds))
    return Options(
        seed=seed,
        rounds=rounds,
        round_seconds=seconds / rounds,
        workloads=("peers",),
        subject=peer,
        pooler=False,
        faults=False,
        migrations=False,
        two_phase=False,
        settings={"deadlock_timeout": LOGGED_WAIT},
    )


def main() -> int:
    """The command."""
    arguments = _arguments()
    # Everybody is a thread of this process: nobody's message is to be late because another one computes.
    sys.setswitchinterval(0.0005)
    # A shell starts its background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found = {one.major: one for one in find_installations()}
    major = arguments.pg or max(found, default=0)
    if major not in found:
        there = ", ".join(map(str, sorted(found))) or "none"
        sys.stderr.write(f"error: PostgreSQL {arguments.pg or 'of any major'} is asked for; here: {there}\n")
        return 2
    seed = arguments.seed if arguments.seed is not None else SystemRandom().randrange(2**32)
    versions = {"PostgreSQL": found[major].version}
    with ExitStack() as stack:
        redis = find_redis() if _is_wanted(RedisAside.name, arguments) else None
        peers: list[Peer] = [peer() for peer in _IN_PROCESS if _is_wanted(peer.name, arguments)]
        if redis is not None:
            versions["Redis"] = redis_version(redis)
            peers.append(RedisAside(stack.enter_context(redis_server(redis))))
        lines = list(_lines(peers, found[major], seed, arguments.minutes * 60))
    left_out = (
        [f"left out: {RedisAside.title}: {NOT_FOUND}"]
        if redis is None and _is_wanted(RedisAside.name, arguments)
        else []
    )
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    page = "\n".join(
        [
            as_markdown(lines),
            "",
            f"{said}; {arguments.minutes:g} minutes for each; seed {seed}",
            *left_out,
            *notes(lines),
        ]
    )
    sys.stdout.write(f"{page}\n")
    if arguments.markdown:
        Path(arguments.markdown).write_text(f"{page}\n", "utf-8")
    if arguments.json:
        whole = {
            "schema_version": 1,
            "seed": seed,
            "versions": versions,
            "minutes": arguments.minutes,
            "left_out": left_out,
            "peers": [one.as_json() for one in lines],
        }
        Path(arguments.json).write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    return 1 if any(one.failures for one in lines) else 0


def _lines(peers: list[Peer], installation: Installation, seed: int, seconds: float) -> Iterator[Line]:
    for peer in peers:
        sys.stderr.write(f"{peer.title} …\n")
        report = run(options_for(peer, seed, seconds), installation)
        yield line(peer.name, peer.title, report)


def _is_wanted(name: str, arguments: argparse.Namespace) -> bool:
    return not arguments.only or name in arguments.only


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.consistency.harness.peers", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1, help="for each peer (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of all random choices (default: a new one)")
    parser.add_argument("--pg", type=int, help="the PostgreSQL major (default: the newest that is found)")
    parser.add_argument("--json", metavar="FILE", help="write everything there")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there, too")
    parser.add_argument("--only", action="append", choices=NAMES, help="this one; may be repeated")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
