"""From the tuples that the driver returns to the values that a caller asked for.

Making values takes longer than fetching rows, and the columns of a view do not change between two reads: how
to make them is worked out once per type and columns. A dataclass whose fields are the columns is made from
the tuple itself; by way of a dict and keywords it would take three times as long.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, make_dataclass
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
    """A function from a tuple that begins with values of `columns` to what `make` makes of them.

    Raises DefinitionError, which names the view, where `make` is a dataclass with other fields.
    """
    if isinstance(make, type) and is_dataclass(make):
        return _of_dataclass(view, make, columns)
    of_row: Callable[[Row], T] = make
    return lambda values: of_row(dict(zip(columns, values, strict=False)))


@lru_cache(_KEPT)
def _of_dataclass(view: str, make: type[Any], columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    taken = [one for one in fields(make) if one.init]
    if not {one.name for one in taken if _is_needed(one)} <= set(columns) <= {one.name for one in taken}:
        raise DefinitionError(
            f"{view} is applied with other columns than {make.__name__} has fields: {', '.join(columns)}",
            hint="Apply the definition that this version of the application was written for.",
        )
    names = [one.name for one in taken]
    # One column is what itemgetter returns without a tuple around it.
    if len(names) != len(columns) or len(names) == 1 or any(one.kw_only for one in taken):
        return lambda values: make(**dict(zip(columns, values, strict=False)))
    in_order = itemgetter(*(columns.index(name) for name in names))
    thawed = _thawed(make, names)
    if thawed is None:
        return lambda values: make(*in_order(values))

    def freeze(values: Sequence[Any]) -> Any:
        made = thawed(*in_order(values))
        made.__class__ = make
        return made

    return freeze


def _thawed(make: type[Any], names: Sequence[str]) -> type[Any] | None:
    """The same class, not frozen, or None where that would not be the same. An instance of a frozen class
    with slots, set field by field past its own guard, takes four times as long to make as one that is given
    its class when it is done.
    """
    if (
        not make.__dataclass_params__.frozen
        or not make.__dataclass_params__.init
        or make.__bases__ != (object,)
        or make.__dict__.get("__slots__") != tuple(names)
        or "__post_init__" in make.__dict__
        or "__new__" in make.__dict__
    ):
        return None
    return make_dataclass(make.__name__, names, slots=True)


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
