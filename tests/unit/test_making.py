"""How rows become what the caller asked for."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from meshcache_pg.errors import DefinitionError
from meshcache_pg.making import maker

COLUMNS = ("id", "name", "total")


@dataclass(frozen=True, slots=True)
class InOrder:
    id: int
    name: str
    total: float


@dataclass(frozen=True)
class AnotherOrder:
    total: float
    id: int
    name: str


@dataclass(kw_only=True)
class Keywords:
    id: int
    name: str
    total: float


@dataclass
class WithMore:
    id: int
    name: str
    total: float
    seen: list[int] = field(default_factory=list)


@dataclass
class WithOwn:
    id: int
    name: str
    total: float
    label: str = field(init=False)

    def __post_init__(self) -> None:
        self.label = f"{self.id} {self.name}"


@dataclass
class Single:
    id: int


@dataclass
class Fewer:
    id: int
    name: str


@dataclass
class Other:
    id: int
    name: str
    total: float
    missing: str


@pytest.mark.parametrize("make", [InOrder, AnotherOrder, Keywords, WithMore, WithOwn])
def test_a_dataclass_gets_each_column_in_its_field(make: Callable[..., Any]) -> None:
    assert maker("view", make, COLUMNS)((7, "seven", 7.5)) == make(id=7, name="seven", total=7.5)


@dataclass(frozen=True, slots=True)
class FrozenWithOwn:
    id: int
    name: str
    total: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.upper())


@dataclass(frozen=True, slots=True, init=False)
class FrozenByItself:
    id: int
    name: str
    total: float

    def __init__(self, id: int, name: str, total: float) -> None:  # noqa: A002 - the column's name
        for column, value in (("id", -id), ("name", name), ("total", total)):
            object.__setattr__(self, column, value)


@pytest.mark.parametrize("make", [InOrder, FrozenWithOwn, FrozenByItself])
def test_a_frozen_one_is_what_its_class_makes(make: Callable[..., Any]) -> None:
    # Behind the columns stands what else a read returns.
    made = maker("view", make, COLUMNS)((7, "seven", 7.5, "more", None))
    assert type(made) is make
    assert made == make(7, "seven", 7.5)
    assert hash(made) == hash(make(7, "seven", 7.5))
    with pytest.raises(FrozenInstanceError):
        made.id = 8


def test_a_dataclass_of_one_field() -> None:
    assert maker("view", Single, ("id",))((7,)) == Single(7)


def test_a_function_gets_the_row_as_a_dict() -> None:
    assert maker("view", lambda row: sorted(row.items()), ("b", "a"))((1, 2)) == [("a", 2), ("b", 1)]


def test_dict_gives_dicts() -> None:
    assert maker("view", dict, COLUMNS)((7, "seven", 7.5)) == {"id": 7, "name": "seven", "total": 7.5}


@pytest.mark.parametrize("make", [Fewer, Other])
def test_a_dataclass_with_other_fields_is_refused(make: type) -> None:
    with pytest.raises(
        DefinitionError, match=f"order_card is applied with other columns than {make.__name__}"
    ):
        maker("order_card", make, COLUMNS)
