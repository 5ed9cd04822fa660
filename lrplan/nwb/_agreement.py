"""Whether files hold the sessions of one recording: different sessions, read in one way."""

from __future__ import annotations

from typing import Any

from lrplan.errors import DataError
from lrplan.measure.recording import UNKNOWN
from lrplan.nwb._file import FileContent
from lrplan.nwb._text import clean, listed


def without_repeats(
    contents: list[FileContent], order: str | None, warnings: list[str]
) -> list[FileContent]:
    """Keep the first file of each session.

    Raises
    ------
    DataError
        If two files say that they are the same session but hold different responses.
    """
    kept: list[FileContent] = []
    for content in contents:
        mine = content.metadata
        for other in kept:
            theirs = other.metadata
            same_file = content.report["sha256"] == other.report["sha256"]
            same_name = mine.identifier is not None and mine.identifier == theirs.identifier
            same_session = mine.session_id is not None and (
                mine.subject,
                mine.session_id,
                mine.start,
            ) == (theirs.subject, theirs.session_id, theirs.start)
            same_content = content.digest == other.digest
            if same_content and mine.start != theirs.start and not same_file:
                warnings.append(
                    f"{content.name} and {other.name} hold the same responses but start at "
                    "different times; both were kept"
                )
                continue
            if same_file or same_content:
                warnings.append(
                    f"{content.name} holds the same session as {other.name} and was left out"
                )
                break
            if (same_name or same_session) and order != "given":
                raise DataError(
                    f"{other.name} and {content.name} are one session "
                    f"({clean(mine.session_id or mine.identifier, 60)}) with different responses; "
                    "expected one file for each session; give one of them, or order='given' "
                    "(--order) if they are two sessions"
                )
        else:
            kept.append(content)
    return kept


def check_same_subject(contents: list[FileContent], warnings: list[str]) -> None:
    """Raise if files name different subjects; note those that name none."""
    by_subject: dict[str, list[str]] = {}
    for content in contents:
        if content.metadata.subject is not None:
            by_subject.setdefault(content.metadata.subject, []).append(content.name)
    if len(by_subject) > 1:
        told = [f"{clean(s, 40)} ({listed(n, 3)})" for s, n in by_subject.items()]
        more = f" and {len(told) - 4} more" if len(told) > 4 else ""
        raise DataError(
            f"the files are of {len(by_subject)} subjects: {'; '.join(told[:4])}{more}; expected "
            "one; give the files of each subject on their own, such as "
            f"`lrplan score {' '.join(next(iter(by_subject.values())))}`"
        )
    if by_subject and any(c.metadata.subject is None for c in contents):
        warnings.append("some files do not say whom they are of; all were taken as one subject")


def refuse_planes_as_sessions(contents: list[FileContent]) -> None:
    """Refuse files that were recorded at the same time in the same trials as two sessions."""
    for i, one in enumerate(contents):
        start = one.metadata.start
        if start is None or one.metadata.suspicious or start.strftime("%H%M%S") == "000000":
            continue
        for two in contents[i + 1 :]:
            if start == two.metadata.start and one.trial_times == two.trial_times:
                raise DataError(
                    f"{one.name} and {two.name} start at the same second and hold the same trials, "
                    "so they look like planes or probes of one session and not like two sessions; "
                    "give one of each session, name both alike up to plane-N or probe-N, or say "
                    "order='given' (--order given) if they are two sessions"
                )


def check_same_choices(contents: list[FileContent], *, named: bool) -> None:
    """Raise if files would be read in different ways: their responses could not be compared.

    Responses that stand at different places are taken as the same only where the user named them.
    """
    first = contents[0]
    for other in contents[1:]:
        same = first.report["role"] == other.report["role"]
        if not same or not (named or first.report["responses"] == other.report["responses"]):
            instead = (
                "name it with units_table= (--units-table) or signal= (--signal)"
                if first.kind == other.kind
                else "read the files of each kind on their own"
            )
            raise DataError(
                f"{first.name} holds {_held(first)} and {other.name} {_held(other)}; expected the "
                f"same in all sessions; {instead}"
            )
        for what, option in (
            ("label", "label= (--label)"),
            ("window", "align= (--align) and window_s= (--window)"),
        ):
            one, two = (_shown_choice(c.report[what]) for c in (first, other))
            if one != two:
                raise DataError(
                    f"{first.name} and {other.name} differ in {what} ({one} and {two}); expected "
                    f"the same in all sessions; name it with {option}"
                )


def _held(content: FileContent) -> str:
    words = {"spikes": "spike times", "dff": "dF/F"}
    role = content.report["role"]
    return f"{words.get(role, role)} ({content.report['responses']})"


def area_of_all(contents: list[FileContent], warnings: list[str]) -> str:
    """Return the area that the files name, if it is one."""
    files = {c.report["area"]: c.name for c in contents}
    if len(files) == 1:
        return next(iter(files))
    told = [f"{area} ({name})" for area, name in files.items()]
    warnings.append(f"the files name different areas: {listed(told, 4)}; the area is unknown")
    return UNKNOWN


def _shown_choice(value: Any) -> str:
    return clean(value["rule"]) if isinstance(value, dict) else clean(value)
