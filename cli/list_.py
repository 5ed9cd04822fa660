"""``lrplan list``: what is registered, here and by other packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Annotated, Any

import typer

from lrplan.cli import _options, _output

EPILOG = """\b
Examples:
  lrplan list rules
  lrplan list observables --json"""


def _rules() -> list[dict[str, Any]]:
    from lrplan.simulate.rules import rules

    return [
        {
            "name": name,
            "summary": rule.summary,
            "cites": rule.cites,
            "credit": rule.credit_name,
            "optimizer": rule.optimizer_name,
            "learning_rate": rule.learning_rate,
            "settings": rule.settings(),
        }
        for name, rule in rules.items()
    ]


def _credits() -> list[dict[str, Any]]:
    from lrplan.simulate.credits import credits
    from lrplan.simulate.rules import rules

    rules.names()  # a credit may stand in the file of its rule
    return [_part(name, credit) for name, credit in credits.items()]


def _optimizers() -> list[dict[str, Any]]:
    from lrplan.simulate.optimizers import optimizers

    return [_part(name, optimizer) for name, optimizer in optimizers.items()]


def _part(name: str, part: Any) -> dict[str, Any]:
    """Return what is known of one half of a rule; its fields are settings with defaults."""
    settings = {f.name: f.default for f in fields(part)}
    return {
        "name": name,
        "summary": part.summary,
        "cites": part.cites,
        "settings": settings,
    }


def _architectures() -> list[dict[str, Any]]:
    from lrplan.simulate.architectures import architectures

    return [
        {
            "name": name,
            "summary": entry.summary,
            "cites": entry.cites,
            "family": entry.family,
            "size": entry.size,
            "settings": entry.settings,
        }
        for name, entry in architectures.items()
    ]


def _tasks() -> list[dict[str, Any]]:
    from lrplan.simulate.tasks import tasks

    return [
        {
            "name": name,
            "summary": task.summary,
            "cites": task.cites,
            "objective": task.objective,
            "needs": task.needs,
            "settings": task.settings,
        }
        for name, task in tasks.items()
    ]


def _modalities() -> list[dict[str, Any]]:
    from lrplan.measure.modalities import modalities, settings_of

    return [
        {
            "name": name,
            "summary": modality.summary,
            "cites": modality.cites,
            "measures": list(modality.measures),
            "settings": {s.name: s.default for s in settings_of(modality).values()},
            "about_settings": {
                s.name: {"unit": s.metadata["unit"], "source": s.metadata["source"]}
                for s in settings_of(modality).values()
            },
        }
        for name, modality in modalities.items()
    ]


def _classifiers() -> list[dict[str, Any]]:
    from lrplan.classifiers import classifiers

    return [
        {"name": name, "summary": entry.summary, "cites": entry.cites}
        for name, entry in classifiers.items()
    ]


def _analyses() -> list[dict[str, Any]]:
    from lrplan.analyses import analyses

    return [
        {
            "name": name,
            "summary": entry.summary,
            "cites": entry.cites,
            "needs": entry.needs,
            "options": list(entry.options),
        }
        for name, entry in analyses.items()
    ]


def _observables() -> list[dict[str, Any]]:
    from lrplan.measure.observables import all_observables

    return [
        {
            "name": observable.name,
            "summary": observable.summary,
            "cites": family.cites,
            "family": family.name,
            "measure": family.measure,
            "degree": observable.degree,
            "needs": asdict(family.needs),
        }
        for family, observable in all_observables()
    ]


def _family_rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """Return one row for each family of observables: its measure, what it needs, its source."""
    families = {r["family"]: r for r in records}
    return [
        [name, r["measure"], _needs_words(r["needs"]), r["cites"]] for name, r in families.items()
    ]


def _needs_words(needs: dict[str, Any]) -> str:
    """Return what a family of observables needs of a recording, in words."""
    least = [
        f"{needs[what]} {what}" for what in ("sessions", "stimuli", "units") if needs[what] > 1
    ]
    told = {"tracked": "tracked units", "noise": "known noise"}
    return ", ".join(least + [words for what, words in told.items() if needs[what]]) or "nothing"


def _sets() -> list[dict[str, Any]]:
    from lrplan.measure.observables import SETS

    return [
        {
            "name": s.name,
            "summary": s.summary,
            "cites": s.cites,
            "observables": list(s.observables),
            "number": len(s.observables),
        }
        for s in SETS.values()
    ]


def _presets() -> list[dict[str, Any]]:
    from lrplan.measure.presets import presets

    return [preset.to_json() for preset in presets().values()]


def _preset_row(record: dict[str, Any], column: str) -> Any:
    """Return what the table shows of a preset; where numbers come from is left to --json."""
    if column in record:
        return record[column]
    return record["numbers"].get(column, {}).get("value", "-")


KINDS: dict[str, tuple[Callable[[], list[dict[str, Any]]], tuple[str, ...]]] = {
    "analyses": (_analyses, ("name", "summary", "needs", "cites")),
    "architectures": (_architectures, ("name", "family", "summary", "settings", "cites")),
    "classifiers": (_classifiers, ("name", "summary", "cites")),
    "credits": (_credits, ("name", "summary", "settings", "cites")),
    "modalities": (_modalities, ("name", "summary", "measures", "settings", "cites")),
    "observables": (_observables, ("name", "family", "summary", "degree")),
    "optimizers": (_optimizers, ("name", "summary", "settings", "cites")),
    "presets": (
        _presets,
        ("name", "summary", "units", "trials", "stimuli", "sessions", "noise"),
    ),
    "rules": (_rules, ("name", "summary", "settings", "cites")),
    "sets": (_sets, ("name", "summary", "number", "cites")),
    # Sources are left to --json: what data a task needs takes the room.
    "tasks": (_tasks, ("name", "summary", "needs")),
}
"""How each kind is listed, and which of it the table shows."""


def list_kind(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="rules|credits|optimizers|architectures|tasks|modalities|presets|observables|"
            "sets|classifiers|analyses",
            help="What to list.",
        ),
    ],
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """List rules, credits, optimizers, architectures, tasks, modalities, observables and more."""
    if kind not in KINDS:
        from lrplan.errors import UsageError
        from lrplan.registry import nearest

        raise UsageError(f"cannot list {kind!r}; {nearest(kind, KINDS)}")
    entries, columns = KINDS[kind]
    records = entries()
    if json:
        _output.emit_json(records)
    else:
        row = _preset_row if kind == "presets" else dict.__getitem__
        _output.show(_output.table(None, columns, [[row(r, c) for c in columns] for r in records]))
        if kind == "observables":
            of_family = ("family", "measure", "needs", "cites")
            _output.show(_output.table(None, of_family, _family_rows(records)))
