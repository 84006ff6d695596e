"""Finds the sql/ folder (checkout, wheel, sdist) and reads its files, so that no other module knows paths or
formats.

Named queries are files `sql/queries/<module>.sql`, each query behind a `-- name:` line, a sentence of comment
above its text; templates are split by `-- part:` lines. Both kinds of line start a new entry, everything else
belongs to it.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import LiteralString

from psycopg import sql

from meshcache_pg import __version__

_HEADING = re.compile(r"^-- (?:name|part): (\w+)\s*$", re.MULTILINE)


def _folder(name: str) -> Path:
    """The folder inside the installed package (wheel), or beside it (checkout, editable install)."""
    package = Path(__file__).parent
    installed = package / f"_{name}"
    return installed if installed.is_dir() else package.parent / name


def sql_dir() -> Path:
    """The folder sql/ of this very version of the package."""
    return _folder("sql")


def alembic_dir() -> Path:
    """The folder alembic/ of this very version of the package."""
    return _folder("alembic")


def read(path: str) -> str:
    """One file under sql/ as text; `path` is relative, with forward slashes."""
    return (sql_dir() / path).read_text(encoding="utf-8")


@cache
def entries(path: str) -> dict[str, str]:
    """The named entries of one file under sql/: name to text, comments included."""
    parts = _HEADING.split(read(path))
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def query(path: str, name: str) -> str:
    """One named query of `sql/queries/<path>.sql`, for execution with bound parameters (`:name`)."""
    return entries(f"queries/{path}.sql")[name].rstrip(";")


def compose(path: str, part: str | None = None, /, **values: sql.Composable) -> sql.Composed:
    """Fill a template of `sql/templates/` with composed identifiers, literals and other templates.

    Comments are dropped: they explain the template, and the server would store them with every view.
    """
    file = f"templates/{path}.sql"
    text = entries(file)[part] if part else read(file)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--")]
    return sql.SQL(trusted("\n".join(lines))).format(**values)


@cache
def made_by() -> str:
    """What makes the objects of a view: this version and its templates."""
    content = "".join(
        read(f"templates/{file.name}") for file in sorted((sql_dir() / "templates").glob("*.sql"))
    )
    return f"{__version__} {hashlib.sha256(content.encode()).hexdigest()[:16]}"


def trusted(statement: str) -> LiteralString:
    """SQL text that the package or the server wrote, or the owner of a definition; psycopg asks for that by
    type.
    """
    return statement


def text(composed: sql.Composable) -> str:
    """The SQL text of something composed; needs no connection."""
    return composed.as_string(None)


@dataclass(frozen=True, slots=True)
class Identifier:
    """Qualified names of the cache's own objects, composed in one place."""

    schema: str
    name: str

    @property
    def sql(self) -> sql.Identifier:
        """The name, quoted and qualified."""
        return sql.Identifier(self.schema, self.name)
