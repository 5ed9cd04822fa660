"""What was or will be recorded, in lines and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrplan.texts import Line, cell, counted

CONTRAST_WORDS = {
    "both": "and their differences",
    "only": "their differences only",
    "none": "side by side",
}
NOISE_WORDS = {"relative": "relative", "within": "within units", "absolute": "absolute"}


def design_line(asked: Mapping[str, Any]) -> str:
    """Return a Design, given as its JSON, in one line."""
    schedule = asked["schedule"]
    sessions = schedule["sessions"]
    settings = asked.get("settings")
    words = [
        f"{asked['units']} units",
        _noise_words(asked),
        " + ".join(asked["measure"]),
        f"modality {asked['modality']}" + (f" ({cell(settings)})" if settings else ""),
        "a session at every checkpoint" if sessions is None else counted(sessions, "session"),
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
    areas = asked.get("areas")
    if areas is not None:
        words.append(f"areas {' + '.join(areas)} of each animal")
        if len(areas) > 1:
            words[-1] += f", {CONTRAST_WORDS[asked['contrasts']]}"
    if asked.get("reference") is not None:
        words.append(_reference_words(asked))
    words.append(f"{asked['scaling']} scaling")
    words.append(f"observables {', '.join(asked['observables'])}")
    return "; ".join(words)


def _noise_words(asked: Mapping[str, Any]) -> str:
    """Return the noise of a Design, given as its JSON."""
    if asked["noise"] is None:
        return f"noise as it follows from {asked['modality']}"
    return f"noise {asked['noise']:.3g} ({NOISE_WORDS[asked['noise_reference']]})"


def _reference_words(asked: Mapping[str, Any]) -> str:
    """Return what a Design, given as its JSON, is taken relative to."""
    kind, _, area = asked["reference"].partition(":")
    if kind == "first":
        sessions = asked["reference_sessions"]
        return "relative to the first " + (f"{sessions} sessions" if sessions > 1 else "session")
    words = {
        "area": f"the {area} area",
        "passive": "passive exposure of the same preparation",
        "control": "passive exposure of another animal",
    }[kind]
    return f"relative to {words}" + (" only" if asked["contrasts"] == "only" else "")


def recording_line(told: Mapping[str, Any]) -> str:
    """Return what was recorded, given as a verdict's JSON tells it, in one line."""
    units = f"{span(told['units_per_session'])} units ({tracked_words(told['tracked'])})"
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
    if len(ingest.get("sessions", ())) > 1:
        told = ", ".join(ingest["sessions"])
        lines.append(f"Sessions in this order, {ingest.get('spacing', 'evenly spread')}: {told}")
    passed = [*first.get("responses_rejected", ()), *first.get("intervals_rejected", ())]
    if passed:
        lines.append(f"Passed over: {', '.join(passed)}")
    dropped: dict[str, int] = {}
    for file in files:
        for reason, count in file["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + int(count)
    if dropped:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        lines.append(f"Trials dropped: {told}")
    return lines


def span(counts: Sequence[int]) -> str:
    """Return the fewest and the most, in words."""
    fewest, most = min(counts, default=0), max(counts, default=0)
    return f"{fewest}" if fewest == most else f"{fewest} to {most}"


def tracked_words(tracked: bool) -> str:
    """Say whether units are the same in all sessions."""
    return "tracked" if tracked else "not tracked"
