"""Statements as libpq wants them: parameters with numbers, what the server is told of their types, and a
digest of both.
"""

import hashlib
import re
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple

import psycopg

# The types of values that lose something as text: cast to a type without a zone it would just drop the zone.
_WITH_ZONE: Final = frozenset(
    oid
    for name in ("timestamptz", "timetz")
    for oid in (psycopg.postgres.types[name].oid, psycopg.postgres.types[name].array_oid)
)

# Texts of statements that one process keeps.
_KEPT: Final = 1024


class Statement(NamedTuple):
    """The text with numbered parameters, their types (0: the server infers it), and a digest of both."""

    text: bytes
    types: tuple[int, ...]
    digest: bytes


@lru_cache(_KEPT)
def told(types: tuple[int, ...]) -> tuple[int, ...]:
    """What the server is told of the types of values: of most of them nothing."""
    return tuple(oid if oid in _WITH_ZONE else 0 for oid in types)


@lru_cache(_KEPT)
def numbered(statement: str, encoding: str, types: tuple[int, ...]) -> Statement:
    """A statement whose parameters are `%s`, and `types` what the server is told of them."""
    numbers = count(1)
    text = re.sub("%(.)", lambda found: f"${next(numbers)}" if found[1] == "s" else "%", statement)
    encoded = text.encode(encoding)
    named = encoded + repr(types).encode()
    return Statement(encoded, types, hashlib.sha256(named).hexdigest()[:32].encode())
