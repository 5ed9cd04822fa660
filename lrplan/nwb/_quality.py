"""Columns that say which units or regions are good, found by their names or their values."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from lrplan.nwb._hdf5 import attribute, member
from lrplan.nwb._tables import Table, as_labels
from lrplan.nwb._text import clean, folded, listed, quoted, shell_word

# Curators' words for single units and cells, and for the rest (Kilosort, phy, DANDI 000006).
_GOOD = {"good", "excellent", "single", "single_unit", "su", "sua", "accepted", "accept", "cell"}
_BAD = {
    *("mua", "multi", "multi_unit", "noise", "unsorted", "fair", "poor", "bad", "rejected"),
    *("reject", "artifact", "artefact", "not_cell", "non_soma", "garbage"),
}
_ALSO = {"soma", "pass", "passed", "yes", "true", "ok"}
_NAMES = re.compile(
    r"(unit_|cluster_|cell_|roi_)?quality(_label|_score)?|ibl_quality_score|(\w+_)?qc|"
    r"is_?cell|accepted|is_?soma|soma_label|valid(_rois?)?|is_valid|ks_?label|"
    r"phy_annotations?|(bombcell|unitrefine|decoder|curation|manual|sorter|noise)_label|"
    r"(is_|manual_)?(good|curated|keep)|curation|unit_?refine|bombcell|rejected|excluded?|"
    r"is_(noise|mua|artifact)|(cell|soma)_prob(ability)?|prob(ability)?_(cell|soma)"
)
_NEGATIVE = re.compile(r"rejected|excluded?|is_(noise|mua|artifact)")
_FEW = 12


@dataclass(frozen=True)
class Quality:
    """A column that says which units are good.

    Parameters
    ----------
    name : str
        Of the column.
    condition : str or None
        What `--units` takes to use it; None where the column's values do not say which are good.
    passing : int or None
        How many units meet the condition.
    values : str
        The values and how often each occurs.
    about : str
        The column's own description.
    """

    name: str
    condition: str | None
    passing: int | None
    values: str
    about: str


def quality_columns(table: Table) -> list[Quality]:
    """Return the columns of a table that say which rows are good."""
    found = [q for q in (_quality(table, name) for name in table.columns) if q is not None]
    names = {folded(q.name) for q in found}
    if "accepted" in names:
        found = [q for q in found if folded(q.name) != "rejected"]
    sure = [q for q in found if "prob" not in folded(q.name)]
    return sure or found


def quality_warnings(table: Table, noun: str) -> list[str]:
    """Say which columns tell good rows from others, and how to use them."""
    out = []
    for q in quality_columns(table):
        if q.passing == table.rows:
            continue
        if q.condition is None:
            told = f"a column {clean(q.name, 60)} ({q.values})"
            told += f", described as {q.about!r}" if q.about else ""
            condition = shell_word(f"{clean(quoted(q.name), 60)} == VALUE")
            how = f"keep some with units= (--units {condition})"
        else:
            told = (
                f"a column {clean(q.name, 60)}: {q.passing} of {table.rows} meet {q.condition} "
                f"({q.values})"
            )
            how = f"keep those with units= (--units {shell_word(q.condition)})"
        out.append(f"the {noun} of {clean(table.path)} have {told}; all were used; {how}")
    return out


def _quality(table: Table, name: str) -> Quality | None:
    known = _NAMES.fullmatch(folded(name)) is not None
    values = table.first_of_each(name) if known else table.glance(name)
    if values is None or not len(values):
        return None
    about = clean(attribute(member(table.group, name), "description", ""), 100)
    about = "" if about.lower() in ("", name.lower(), "no description") else about
    labels = [v for v in as_labels(values) if v is not None]
    counts = Counter(labels)
    told = listed([f"{v}: {n}" for v, n in counts.most_common()], _FEW)
    shown = clean(quoted(name), 60)
    if values.dtype == object:
        words = {v: folded(v) for v in counts}
        good = [v for v, w in words.items() if w in _GOOD | (_ALSO if known else set())]
        curated = bool(words) and set(words.values()) <= _GOOD | _BAD
        if not known and not (curated and len(words) > 1):
            return None
        if len(counts) > _FEW or not good:
            return Quality(name, None, None, told, about) if counts else None
        good = [clean(v, 60) for v in good]
        one = f'{shown} == "{good[0]}"'
        condition = one if len(good) == 1 else f"{shown} in ({', '.join(map(_text, good))})"
        return Quality(name, condition, sum(counts[v] for v in good), told, about)
    if not known:
        return None
    numbers = values.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite) or len(np.unique(finite)) == 1 and finite[0] not in (0, 1):
        return None
    if set(np.unique(finite)) <= {0.0, 1.0}:
        if _NEGATIVE.fullmatch(folded(name)):
            return Quality(name, f"not {shown}", int((finite == 0).sum()), told, about)
        return Quality(name, shown, int((finite == 1).sum()), told, about)
    if finite.min() >= 0 and finite.max() <= 1:
        span = f"{finite.min():.3g} to {finite.max():.3g}"
        return Quality(name, f"{shown} > 0.5", int((finite > 0.5).sum()), span, about)
    if len(counts) > _FEW:
        return None
    return Quality(name, None, None, told, about)


def _text(value: str) -> str:
    return f'"{value}"'
