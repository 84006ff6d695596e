"""From the tuples that the driver returns to the values that a caller asked for.

Making values takes longer than fetching rows, and the columns of a view do not change between two reads: how
to make them is worked out once per type and columns. A dataclass whose fields are the columns is made from
the tuple itself; by way of a dict and keywords it would take three times as long.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, TypeVar

from meshcache_pg.errors import DefinitionError

T = TypeVar("T")
Row = Mapping[str, Any]
# A dataclass whose fields are the view's columns, or any function of a row as a mapping.
Make = type[T] | Callable[[Row], T]

# Dataclasses of one process, each with the columns of a view.
_KEPT: Final = 1024


def maker(view: str, make: Make[T], columns: tuple[str, ...]) -> Callable[[Sequence[Any]], T]:
    """A function from a tuple of values of `columns` to what `make` makes of them.

    Raises DefinitionError, which names the view, where `make` is a dataclass with other fields.
    """
    if isinstance(make, type) and is_dataclass(make):
        return _of_dataclass(view, make, columns)
    of_row: Callable[[Row], T] = make
    return lambda values: of_row(dict(zip(columns, values, strict=True)))


@lru_cache(_KEPT)
def _of_dataclass(view: str, make: type[Any], columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    taken = [one for one in fields(make) if one.init]
    if not {one.name for one in taken if _is_needed(one)} <= set(columns) <= {one.name for one in taken}:
        raise DefinitionError(
            f"{view} is applied with other columns than {make.__name__} has fields: {', '.join(columns)}",
            hint="Apply the definition that this version of the application was written for.",
        )
    names = tuple(one.name for one in taken)
    # One column is what itemgetter returns without a tuple around it.
    if len(names) != len(columns) or len(names) == 1 or any(one.kw_only for one in taken):
        return lambda values: make(**dict(zip(columns, values, strict=True)))
    if names == columns:
        return lambda values: make(*values)
    in_order = itemgetter(*(columns.index(name) for name in names))
    return lambda values: make(*in_order(values))


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
