"""What a user declares: a cached view or a rollup as a file of header lines and one SELECT. Knows no
database.

    -- What it serves, in a sentence.
    -- name: order_card
    -- key: id
    -- coverage: complete
    select o.id, o.status from orders o

Every name that is generated from a declared name must fit PostgreSQL's 63 bytes (identifiers longer than that
are cut off silently); the longest are `_<name>_fill_all` and `<name>_invalidate`, so a name has at most 63 -
11 = 52 bytes, and 48 are allowed.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar

from meshcache_pg import headers
from meshcache_pg.errors import DefinitionError
from meshcache_pg.headers import Depends, IndexTerm

Kind = Literal["cached_view", "rollup"]
Coverage = Literal["complete", "on_demand"]

_Choice = TypeVar("_Choice", bound=str)

_KINDS: tuple[Kind, ...] = ("cached_view", "rollup")
_COVERAGES: tuple[Coverage, ...] = ("complete", "on_demand")

MAX_NAME_BYTES = 48
_RESERVED = frozenset(
    [
        "cached_view",
        "source_table",
        "mark_table",
        "dependency",
        "rollup_refresh",
        "routine",
        "wildcard_mark",
        "schema_version",
        "epoch",
        "view_state",
        "counter",
        "invalidate",
        "invalidate_source",
        "open_cache",
        "refresh",
        "sweep",
    ]
)
_SUFFIXES = (
    "_source",
    "_hits",
    "_hit",
    "_fresh",
    "_quiet",
    "_stale",
    "_outdated",
    "_bypass",
    "_rows",
    "_get",
    "_miss",
    "_fill",
    "_invalidate",
)
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_HEADER = re.compile(r"--\s?([a-z_]+):(?:\s+(.*?))?\s*\Z")
_CONTINUED = re.compile(r"--\s{4,}(\S.*?)\s*\Z")
_KEYS = (
    *("name", "kind", "key", "coverage", "tenant", "index", "ttl", "refresh_every"),
    *("depends", "flush", "json_text", "grant", "allow", "allow_secret"),
)


@dataclass(frozen=True, slots=True)
class Definition:
    """A cached view or rollup as declared. Durations are timedeltas; `text` is the whole file.

    Without `depends` the dependencies are derived from the SELECT; `flush` names the tables of which any
    change may then make every row stale. `allow` is what is meant although it is refused otherwise, and
    `allow_secret` has columns as (table, column) or (schema, table, column).
    """

    name: str
    kind: Kind
    key: tuple[str, ...]
    query: str
    coverage: Coverage | None = None
    tenant: str | None = None
    ttl: timedelta | None = None
    refresh_every: timedelta | None = None
    depends: tuple[Depends, ...] = ()
    indexes: tuple[tuple[IndexTerm, ...], ...] = ()
    flush: tuple[str, ...] = ()
    allow: frozenset[str] = frozenset()
    allow_secret: tuple[tuple[str, ...], ...] = ()
    json_text: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    description: str = ""
    text: str = field(default="", compare=False)

    def all_indexes(self) -> tuple[tuple[IndexTerm, ...], ...]:
        """Those declared, and one on the tenant unless one of them begins with it."""
        if self.tenant is None or any(index[0].column == self.tenant for index in self.indexes):
            return self.indexes
        return ((IndexTerm(self.tenant),), *self.indexes)

    @property
    def content_hash(self) -> str:
        """Changes exactly when the declaration does; white space at line ends does not count."""
        lines = "\n".join(line.rstrip() for line in self.text.strip().splitlines())
        return hashlib.sha256(lines.encode()).hexdigest()


def json_text_columns(declared: Iterable[str]) -> dict[str, str]:
    """Of jsonb columns in the order of their header, the cache table's columns with their texts."""
    return {column: f"_json_{number}" for number, column in enumerate(declared, 1)}


def check_name(name: str, where: str) -> None:
    """Refuse a name that could not be given to all generated objects, or that one of ours has."""
    hint = "Names are lowercase letters, digits and underscores, beginning with a letter."
    if not _NAME.match(name):
        raise DefinitionError(f"{where}: {name!r} cannot be the name of a cached view", hint=hint)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise DefinitionError(
            f"{where}: the name {name!r} has {len(name)} bytes", hint=f"At most {MAX_NAME_BYTES} fit."
        )
    if name in _RESERVED or name.startswith("mark_") or name.endswith(_SUFFIXES):
        raise DefinitionError(
            f"{where}: the name {name!r} is reserved",
            hint=f"Reserved are mark_*, *{', *'.join(_SUFFIXES)} and the catalog's own names.",
        )


def _headers(lines: Iterable[str], where: str) -> Iterator[tuple[str, str]]:
    """Header lines as (key, value), continued lines joined; comment lines come with the key ''."""
    key, value = "", ""
    for line in lines:
        header, continued = _HEADER.match(line), _CONTINUED.match(line)
        if header and header[1] not in _KEYS:
            raise DefinitionError(
                f"{where}: unknown header {header[1]!r}", hint=f"Known headers: {', '.join(_KEYS)}."
            )
        if continued and key:
            value = f"{value} {continued[1]}"
            continue
        if key:
            yield key, value
        key, value = (header[1], header[2] or "") if header else ("", "")
        if not header:
            yield "", line.removeprefix("--").strip()
    if key:
        yield key, value


def parse(text: str, where: str) -> Definition:
    """Read one definition; `where` names its origin (a path) in errors. Raises DefinitionError."""
    lines = text.lstrip("\ufeff").strip().splitlines()
    head = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("--")), len(lines))
    query = "\n".join(lines[head:]).strip().rstrip(";").strip()
    if not query:
        raise DefinitionError(f"{where}: no SELECT below the header")
    single: dict[str, str] = {}
    depends: list[Depends] = []
    indexes: list[tuple[IndexTerm, ...]] = []
    description: list[str] = []
    for key, value in _headers([line for line in lines[:head] if line.strip()], where):
        if key == "":
            # A comment below the first header line is about the SELECT, not about what the view serves.
            if not (single or depends or indexes):
                description.append(value)
        elif not value:
            raise DefinitionError(f"{where}: the header {key!r} has no value")
        elif key == "depends":
            depends.append(headers.dependency(value, where))
        elif key == "index":
            indexes.append(headers.index(value, where))
        elif key in single:
            raise DefinitionError(f"{where}: the header {key!r} is there twice")
        else:
            single[key] = value
    definition = Definition(
        name=single.get("name", Path(where).stem),
        kind=_choice(single, "kind", _KINDS, "cached_view", where),
        key=headers.names(single.get("key", "")),
        query=query,
        coverage=_choice(single, "coverage", _COVERAGES, "on_demand", where)
        if single.get("kind") != "rollup"
        else None,
        tenant=headers.names(single["tenant"])[0] if "tenant" in single else None,
        ttl=headers.parse_duration(single["ttl"], where) if "ttl" in single else None,
        refresh_every=headers.parse_duration(single["refresh_every"], where)
        if "refresh_every" in single
        else None,
        depends=tuple(depends),
        indexes=tuple(indexes),
        flush=headers.tables(single["flush"], where) if "flush" in single else (),
        allow=headers.allowed(single.get("allow", ""), where),
        allow_secret=headers.qualified_columns(single["allow_secret"], where)
        if "allow_secret" in single
        else (),
        json_text=headers.names(single.get("json_text", "")),
        readers=headers.names(single.get("grant", "")),
        description=" ".join(filter(None, description)),
        text=text,
    )
    _check(definition, where)
    if definition.kind == "rollup" and "coverage" in single:
        raise DefinitionError(
            f"{where}: a rollup has no coverage", hint="It always holds every row of its SELECT."
        )
    return definition


def _duration(single: dict[str, str], key: str, where: str) -> timedelta | None:
    return headers.parse_duration(single[key], where) if key in single else None


def _choice(
    single: dict[str, str], key: str, choices: tuple[_Choice, ...], default: _Choice, where: str
) -> _Choice:
    """The header's value, one of `choices`."""
    value = single.get(key, default)
    for choice in choices:
        if value == choice:
            return choice
    raise DefinitionError(f"{where}: {key} cannot be {value!r}", hint=f"It is one of: {', '.join(choices)}.")


def _check(definition: Definition, where: str) -> None:
    check_name(definition.name, where)
    if not definition.key:
        raise DefinitionError(f"{where}: no key", hint="Add `-- key: column` (an output column, or several).")
    if len(set(definition.key)) != len(definition.key):
        raise DefinitionError(f"{where}: a key column is named twice")
    if definition.kind == "rollup":
        if definition.depends or definition.flush or definition.ttl:
            raise DefinitionError(
                f"{where}: a rollup has neither depends nor flush nor ttl",
                hint="It is refreshed: -- refresh_every: 5m",
            )
        if definition.json_text:
            raise DefinitionError(
                f"{where}: a rollup has no json_text", hint="It is for reads of cached views by key."
            )
        return
    if len(set(definition.json_text)) != len(definition.json_text):
        raise DefinitionError(f"{where}: a json_text column is named twice")
    if "clock" in definition.allow:
        raise DefinitionError(
            f"{where}: a cached view cannot follow the clock: allow: clock is for rollups",
            hint="Return the moment, and compare it with the time in the query on the live view.",
        )
    if "functions" in definition.allow and not definition.depends:
        raise DefinitionError(
            f"{where}: allow: functions needs depends lines: what a function reads cannot be derived",
            hint="Declare -- depends: lines for all tables, also for those that the function reads.",
        )
    if definition.refresh_every:
        raise DefinitionError(
            f"{where}: refresh_every is for rollups",
            hint="A cached view is always exact; -- ttl: limits its age.",
        )
    if definition.depends and definition.flush:
        raise DefinitionError(
            f"{where}: flush is for derived dependencies",
            hint="Beside depends lines write `-- depends: table flush`, or leave the depends lines away.",
        )


def load(paths: Iterable[Path]) -> list[Definition]:
    """Read definition files and folders of them (`*.sql`, not recursive), ordered by name.

    Raises DefinitionError for a missing path, an empty folder, an unreadable file or a name declared twice.
    """
    found: dict[str, tuple[Definition, Path]] = {}
    for path in paths:
        if not path.exists():
            raise DefinitionError(f"{path}: no such file or folder")
        files = sorted(path.glob("*.sql")) if path.is_dir() else [path]
        if not files:
            raise DefinitionError(f"{path}: no definition (*.sql) in this folder")
        for file in files:
            try:
                definition = parse(file.read_text(encoding="utf-8"), str(file))
            except (OSError, UnicodeDecodeError) as error:
                raise DefinitionError(f"{file}: cannot be read: {error}") from error
            if definition.name in found and found[definition.name][1] != file:
                raise DefinitionError(
                    f"{file}: {definition.name!r} is declared in {found[definition.name][1]} too"
                )
            found[definition.name] = (definition, file)
    return [found[name][0] for name in sorted(found)]
