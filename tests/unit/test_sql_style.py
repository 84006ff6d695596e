"""Holds SQL to the rules that the linter cannot check: it takes a function body for one long string."""

import re
from pathlib import Path

import pytest

SQL = Path(__file__).resolve().parents[2] / "sql"
FILES = sorted(SQL.rglob("*.sql"))
MAX_COLUMNS = 120

COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
LITERAL = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
# One sentence in the catalog, which cannot be broken without breaking what psql shows.
DESCRIPTION = re.compile(r"(?:comment on .* is )?'.*';$")
# The words that a careless paste brings along first.
UPPERCASE = re.compile(
    r"\b(ALTER|AND|AS|BEGIN|CREATE|DECLARE|DELETE|DISTINCT|DROP|ELSE|END|EXECUTE|EXISTS|FROM|FUNCTION|GRANT|"
    r"GROUP|IF|IN|INSERT|INTO|IS|JOIN|LANGUAGE|LOOP|NOT|NULL|ON|OR|ORDER|PERFORM|RAISE|RETURN|RETURNS|REVOKE|"
    r"SELECT|SET|TABLE|THEN|TRIGGER|UNION|UPDATE|USING|VALUES|VIEW|WHEN|WHERE|WITH)\b"
)


def name(path: Path) -> str:
    return str(path.relative_to(SQL))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_file_opens_by_saying_what_it_is_for(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("-- ")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_keywords_are_lowercase_inside_function_bodies_too(path: Path) -> None:
    code = LITERAL.sub("''", COMMENT.sub("", path.read_text(encoding="utf-8")))
    assert UPPERCASE.findall(code) == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_lines_fit_on_the_screen(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    wide = [n for n, line in enumerate(lines, 1) if len(line) > MAX_COLUMNS and not DESCRIPTION.match(line)]
    assert wide == []
