"""Reads what the server wrote down when it parsed a view (`pg_rewrite.ev_action`, a pg_node_tree).

There every name is resolved, `*` and USING are expanded, casts are explicit and operators are known by oid:
nothing of what a query means is left to guess, which no parser outside of the server can say. The notation
is that of the server's outfuncs.c: `{LABEL :field value …}`, `(list …)`, `<>` for nothing, and a backslash
before characters that would end a token.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

Value: TypeAlias = "Node | list[Value] | str | None"

_TOKEN = re.compile(r"[(){}]|(?:\\.|[^\s(){}\\])+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

# The field that the value of a constant gets: `[ 1 0 0 0 0 0 0 0 ]` of one that is passed by value.
BYTES: Final = "constbytes"


class Node:
    """One node: its label and its fields. A field that is missing reads like an empty one: which fields there
    are differs between major versions.
    """

    __slots__ = ("fields", "label")

    def __init__(self, label: str) -> None:
        self.label = label
        self.fields: dict[str, Value] = {}

    def node(self, field: str) -> "Node | None":
        """A field that is one node."""
        value = self.fields.get(field)
        return value if isinstance(value, Node) else None

    def items(self, field: str) -> "list[Node]":
        """A field that is a list of nodes."""
        value = self.fields.get(field)
        return [item for item in value if isinstance(item, Node)] if isinstance(value, list) else []

    def numbers(self, field: str) -> list[int]:
        """A field that is a list of numbers; its first word says of which kind they are."""
        value = self.fields.get(field)
        return [int(item) for item in value[1:] if isinstance(item, str)] if isinstance(value, list) else []

    def number(self, field: str) -> int:
        """A field that is a number, an oid or an enumeration; 0 where there is none."""
        value = self.fields.get(field)
        return int(value) if isinstance(value, str) else 0

    def flag(self, field: str) -> bool:
        """A field that is true or false."""
        return self.fields.get(field) == "true"

    def string(self, field: str) -> str:
        """A field that is a name; empty where there is none."""
        value = self.fields.get(field)
        return _ESCAPED.sub(r"\1", value) if isinstance(value, str) else ""

    def has(self, field: str) -> bool:
        """Whether the field is there and not empty."""
        return self.fields.get(field) is not None


class _Open:
    """A node or list whose end has not come yet; of a node also the field that is being read."""

    __slots__ = ("field", "items", "node")

    def __init__(self, node: Node | None) -> None:
        self.node = node
        self.items: list[Value] = []
        self.field: str | None = None

    def add(self, value: Value) -> None:
        if self.node is None:
            self.items.append(value)
        elif self.field is not None:
            self.node.fields[self.field] = value
            self.field = None
        elif isinstance(value, str):
            # What follows up to the next field are the bytes of a constant.
            before = self.node.fields.get(BYTES)
            self.node.fields[BYTES] = f"{before} {value}" if isinstance(before, str) else value


def parse(text: str) -> list[Node]:
    """The queries of a rewrite rule; for a view there is one."""
    top = _Open(None)
    opened = [top]
    tokens = iter(_TOKEN.findall(text))
    for word in tokens:
        here = opened[-1]
        if word == "{":
            opened.append(_Open(Node(next(tokens))))
        elif word == "(":
            opened.append(_Open(None))
        elif word in ")}":
            done = opened.pop()
            opened[-1].add(done.node if done.node is not None else done.items)
        elif here.node is not None and here.field is None and word.startswith(":"):
            here.field = word[1:]
        else:
            here.add(None if word == "<>" else word)
    found = top.items[0] if top.items else None
    return [item for item in found if isinstance(item, Node)] if isinstance(found, list) else []


def expressions(*values: Value) -> Iterator[Node]:
    """Every node in these, at any depth, but nothing inside of another query."""
    waiting = list(reversed(values))
    while waiting:
        value = waiting.pop()
        if isinstance(value, Node):
            yield value
            if value.label != "QUERY":
                waiting.extend(reversed(value.fields.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))


def everything(queries: Iterable[Node]) -> Iterator[Node]:
    """Every node below these, and the queries inside of them, themselves and what they contain."""
    waiting: list[Value] = list(queries)
    while waiting:
        value = waiting.pop()
        for node in expressions(*value.fields.values()) if isinstance(value, Node) else ():
            yield node
            if node.label == "QUERY":
                waiting.append(node)
