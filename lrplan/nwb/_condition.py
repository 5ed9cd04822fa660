"""A condition on the columns of a table, such as ``quality == "good" and snr > 1``.

Conditions come from a command line. They are parsed by Python's own parser and walked over by a
small interpreter of comparisons; nothing in them is ever run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrplan.errors import UsageError
from lrplan.nwb._text import clean

LONGEST = 1000
"""Characters of a condition."""

Column = Callable[[str, int], np.ndarray]
"""Gives a column by its name and, where a row holds several values, by their place."""

_NUMBERS = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}
_QUOTED = re.compile(r"""("[^"]*"|'[^']*')|`([^`]+)`""")
_EXPECTED = (
    "comparisons of columns with numbers or texts, joined by and, or, not, such as "
    "'quality == \"good\" and snr > 1'"
)


@dataclass(frozen=True)
class Condition:
    """A condition that `parse_condition` has found to be one.

    Parameters
    ----------
    text : str
        As it was given.
    what : str
        How the user calls it, such as ``units= (--units)``.
    tree : ast.expr
        What was parsed.
    aliases : dict of str to str
        Names in the tree that stand for names in backticks.
    """

    text: str
    what: str
    tree: ast.expr
    aliases: dict[str, str]

    @property
    def columns(self) -> list[str]:
        """Names of the columns that it looks at."""
        names = [n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name)]
        return list(dict.fromkeys(self.aliases.get(n, n) for n in names))

    def holds(self, column: Column) -> np.ndarray:
        """Return for which rows it holds.

        A row without a value meets no comparison, so that `not` of one holds for it.

        Raises
        ------
        UsageError
            If it compares texts with numbers.
        """
        return self._truth(self.tree, column)

    def _truth(self, node: ast.expr, column: Column) -> np.ndarray:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            out = self._truth(node.values[0], column)
            for other in node.values[1:]:
                out = join(out, self._truth(other, column))
            return out
        if isinstance(node, ast.UnaryOp):
            return ~self._truth(node.operand, column)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            out = self._compare(sides[0], node.ops[0], sides[1], column)
            for left, op, right in zip(sides[1:], node.ops[1:], sides[2:], strict=False):
                out = out & self._compare(left, op, right, column)
            return out
        values = self._value(node, column)
        if values.dtype == object:
            name = clean(self._name(node), 60)
            raise UsageError(
                f"{self.what}: {name} holds texts; compare it with one, such as "
                f"'{name} == \"good\"'"
            )
        return np.nan_to_num(values.astype(np.float64)) != 0

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr, column: Column) -> Any:
        if isinstance(op, ast.In | ast.NotIn):
            assert isinstance(right, ast.Tuple | ast.List | ast.Set)
            found = [self._compare(left, ast.Eq(), one, column) for one in right.elts]
            inside = np.logical_or.reduce(found)
            return inside if isinstance(op, ast.In) else self._known(left, column) & ~inside
        one, two = self._value(left, column), self._value(right, column)
        if (one.dtype == object) != (two.dtype == object):
            named = left if isinstance(left, ast.Name | ast.Subscript) else right
            held = self._value(named, column)
            kind = "texts" if held.dtype == object else "numbers"
            shown = list(dict.fromkeys(str(v) for v in np.atleast_1d(held).tolist()))[:3]
            raise UsageError(
                f"{self.what}: {clean(self._name(named), 60)} holds {kind} (such as "
                f"{clean(', '.join(shown), 60)}); compare it with one of these"
            )
        if one.dtype == object and not isinstance(op, ast.Eq | ast.NotEq):
            raise UsageError(f"{self.what}: texts can be compared by == and != and in only")
        known = self._known(left, column) & self._known(right, column)
        return known & np.asarray(_NUMBERS[type(op)](one, two), dtype=bool)

    def _known(self, node: ast.expr, column: Column) -> np.ndarray:
        values = self._value(node, column)
        if values.dtype == object:
            return np.asarray(values != "", dtype=bool)
        return ~np.isnan(values.astype(np.float64))

    def _value(self, node: ast.expr, column: Column) -> np.ndarray:
        if isinstance(node, ast.Constant):
            text = isinstance(node.value, str)
            return np.array(node.value, dtype=object if text else None)
        if isinstance(node, ast.UnaryOp):
            return -self._value(node.operand, column)
        if isinstance(node, ast.Subscript):
            assert isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int)
            return column(self._name(node), node.slice.value)
        return column(self._name(node), 0)

    def _name(self, node: ast.expr) -> str:
        inner = node.value if isinstance(node, ast.Subscript) else node
        assert isinstance(inner, ast.Name)
        return self.aliases.get(inner.id, inner.id)


def parse_condition(text: str | None, what: str) -> Condition | None:
    """Return a condition, or None where none was given.

    Comparisons (``== != < <= > >=``, ``in``, ``not in``) of columns with numbers, texts and other
    columns, joined by ``and``, ``or`` and ``not``. A column of numbers alone holds where it is not
    0. Names with spaces stand in backticks; ``iscell[1]`` is the second value of each row.

    Raises
    ------
    UsageError
        If it is anything else; nothing is evaluated to find out.
    """
    if text is None:
        return None
    if len(text) > LONGEST:
        raise UsageError(f"{what} has {len(text)} characters; expected at most {LONGEST}")
    aliases: dict[str, str] = {}

    def alias(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        name = f"_column_{len(aliases)}_"
        aliases[name] = match[2]
        return name

    try:
        tree = ast.parse(_QUOTED.sub(alias, text).strip(), mode="eval").body
        _check(tree)
    except UsageError as error:
        raise UsageError(f"{what} is {clean(text, 80)!r}: {error}; expected {_EXPECTED}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"{what} is {clean(text, 80)!r}; expected {_EXPECTED}") from None
    return Condition(text, what, tree, aliases)


def _check(node: ast.expr) -> None:
    """Raise unless a node is a condition."""
    if isinstance(node, ast.BoolOp):
        for one in node.values:
            _check(one)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand)
    elif isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
            if isinstance(op, ast.In | ast.NotIn):
                _check_value(left)
                if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
                    raise UsageError('behind in stands a list, such as ("good", "mua")')
                for one in right.elts:
                    _check_constant(one)
            elif type(op) in _NUMBERS:
                _check_value(left)
                _check_value(right)
            else:
                raise UsageError("is and is not have no meaning here")
        if not any(isinstance(n, ast.Name) for n in ast.walk(node)):
            raise UsageError("a comparison names no column")
    else:
        _check_column(node)


def _check_value(node: ast.expr) -> None:
    if isinstance(node, ast.Name | ast.Subscript):
        _check_column(node)
    else:
        _check_constant(node)


def _check_column(node: ast.expr) -> None:
    inner = node
    if isinstance(node, ast.Subscript):
        place = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if isinstance(place, bool) or not isinstance(place, int) or place < 0:
            raise UsageError("behind a column, [ ] holds a whole number")
        inner = node.value
    if isinstance(inner, ast.Constant):
        raise UsageError("it compares no column with anything")
    if not isinstance(inner, ast.Name):
        raise UsageError(f"it holds {_called(inner)}, which is no column and no comparison")


def _check_constant(node: ast.expr) -> None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise UsageError("a text has no sign")
    if not isinstance(node, ast.Constant):
        raise UsageError(f"it holds {_called(node)}, which is no number and no text")
    value = node.value
    if not isinstance(value, str | int | float) or (
        isinstance(value, int) and not -(2**63) < value < 2**63
    ):
        raise UsageError("it holds a value that is no number and no text")


def _called(node: ast.expr) -> str:
    names = {"Call": "a call", "Attribute": "an attribute", "BinOp": "arithmetic"}
    return names.get(type(node).__name__, f"a {type(node).__name__}")
