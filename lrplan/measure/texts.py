"""What was or will be recorded, in lines and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrplan.measure.observables import STANDARD
from lrplan.terms import UNIT_DIMS, UNIT_NOUNS
from lrplan.texts import Line, cell, counted, table

if TYPE_CHECKING:
    from lrplan.measure.recording import Recording

WHOSE = ("animal", "area", "condition")
KNOWN = ("rule", "position")
"""Labels by which the populations of virtual recordings are counted; `WHOSE` are real ones'."""


def design_line(asked: Mapping[str, Any]) -> str:
    """Return a Design, given as its JSON, in one line."""
    schedule = asked["schedule"]
    sessions = schedule["sessions"]
    settings = asked.get("settings")
    words = [
        f"{asked['units']} units",
        f"noise {asked['noise']:.3g} ({asked['noise_reference']})",
        " + ".join(asked["measure"]),
        f"modality {asked['modality']}" + (f" ({cell(settings)})" if settings else ""),
        "a session at every checkpoint" if sessions is None else f"{sessions} sessions",
    ]
    if sessions is None and schedule["spacing"] is not None:
        words[-1] = "sessions"
    if schedule["spacing"] is not None:
        words[-1] += f", {schedule['spacing']} checkpoints apart"
    if schedule["start"]:
        words[-1] += f" from checkpoint {schedule['start']}"
    words.append("tracked" if asked["tracked"] else "not tracked")
    if asked["stimuli"] is not None:
        words.append(f"{asked['stimuli']} stimuli")
    if asked["position"] is not None:
        words.append(f"position {asked['position']}")
    words.append(f"{asked['scaling']} scaling")
    if asked["observables"] != [STANDARD]:
        words.append(f"observables {', '.join(asked['observables'])}")
    return "; ".join(words)


def recording_line(told: Mapping[str, Any]) -> str:
    """Return what was recorded, given as a verdict's JSON tells it, in one line."""
    units = f"{_range(told['units_per_session'])} units ({_tracked(told['tracked'])})"
    return (
        f"{told['source']}: {told['kind']}, {told['sessions']} sessions, {units}, "
        f"{told['stimuli']} stimuli"
    )


def ingest_lines(ingest: Mapping[str, Any]) -> list[Line]:
    """Return what the reader chose in the first file, and what it dropped in any, in words."""
    files = ingest.get("files") or []
    if not files:
        return []
    first = files[0]
    window = first["window"]
    lines: list[Line] = [
        f"Read: {first['responses']} by {first['label']} of {first['intervals']}, "
        f"{window['rule']}; sessions in order of {ingest['order']}"
    ]
    dropped: dict[str, int] = {}
    for file in files:
        for reason, count in file["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + int(count)
    if dropped:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        lines.append(f"Trials dropped: {told}")
    return lines


def recording_repr(recording: Recording) -> str:
    """Return a recording in one short line, as Python shows it."""
    return f"<Recording {recording.source!r}: {_about(recording)}>"


def recording_lines(recording: Recording) -> list[Line]:
    """Return what a recording holds, of whom, and what its reader chose, dropped and doubted."""
    coords = recording.data.coords
    lines: list[Line] = [f"Recording: {recording.source}: {_about(recording)}"]
    of = []
    for name in (n for n in WHOSE if n in coords):
        names = sorted(set(coords[name].values.tolist()))
        of.append(counted(len(names), name) + (f" ({names[0]})" if len(names) == 1 else ""))
    if of:
        lines.append(f"Of {', '.join(of)}")
    lines += ingest_lines(recording.ingest)
    labels = [n for n in (KNOWN if KNOWN[0] in coords else WHOSE) if n in coords]
    if labels and recording.data.sizes["population"] > 1:
        kinds = Counter(zip(*(coords[n].values.tolist() for n in labels), strict=True))
        rows = [[*kind, number] for kind, number in sorted(kinds.items(), key=str)]
        lines.append(table(None, (*labels, "populations"), rows, numbers=len(labels)))
    return lines + [f"Warning: {w}" for w in recording.ingest.get("warnings", ())]


def _about(recording: Recording) -> str:
    sizes = recording.data.sizes
    populations = sizes["population"]
    words = [str(recording.kind)]
    if populations > 1:
        words.append(f"{populations} populations")
    words.append(counted(recording.sessions, "session"))
    held = []
    for measure, dims in UNIT_DIMS.items():
        if measure not in recording.data:
            continue
        seen = recording.data[measure].notnull()
        shown = [d for d in seen.dims if d not in ("population", "session", *dims)]
        counts = seen.all(shown).sum(dims).values.ravel().tolist()
        noun = UNIT_NOUNS[measure]
        held.append(f"{_range(counts)} {noun if set(counts) == {1} else noun + 's'}")
    words.append(f"{' and '.join(held) or 'nothing'} ({_tracked(recording.tracked)})")
    if "stimulus" in sizes:
        words.append(f"{sizes['stimulus']} stimuli")
    return ", ".join(words)


def _range(counts: Sequence[int]) -> str:
    fewest, most = min(counts, default=0), max(counts, default=0)
    return f"{fewest}" if fewest == most else f"{fewest} to {most}"


def _tracked(tracked: bool) -> str:
    return "tracked" if tracked else "not tracked"
