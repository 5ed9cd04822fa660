"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def whole(value: str | int) -> int:
    """Return a whole number, or say what came."""
    try:
        return int(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a whole number") from None


def number(value: str | float) -> float:
    """Return a number, or say what came."""
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a number") from None


def noise_sd(value: str | float) -> float:
    """Return a number; of a percentage say what it is as one."""
    text = str(value).strip()
    if text.endswith("%"):
        share = number(text[:-1]) / 100
        raise typer.BadParameter(f"{text!r} is a share of the signal; say {share:g}")
    return number(value)


def seed(value: str | int) -> int:
    """Return a whole number of at least 0, or say what came."""
    out = whole(value)
    if out < 0:
        raise typer.BadParameter(f"{value!r}; expected a whole number of at least 0")
    return out


def units(value: str | int) -> int | str:
    """Return a whole number or ``all``, or say what came."""
    if str(value).strip().lower() == "all":
        return "all"
    try:
        return int(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is neither a whole number nor 'all'") from None


def window(text: str | None) -> float | tuple[float, float] | None:
    """Return ``END`` or ``START,END`` in seconds; the reader checks what they mean."""
    if text is None:
        return None
    try:
        numbers = [float(n) for n in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    from lrplan.errors import UsageError

    raise UsageError(
        f"--window is {text!r}; expected an end, or a start and an end, in seconds, such as 0.5 "
        "or 0.1,0.6"
    )


def words(values: list[str] | None, option: str) -> list[str]:
    """Return the words of a list option; one that is given must name something.

    An empty variable of a shell must not read as if the option had been left out.
    """
    found = split_commas(values)
    if values and not found:
        raise typer.BadParameter(f"{option} names nothing; leave it out, or name one or several")
    return found


Cohort = Annotated[
    str,
    typer.Option(
        metavar="PATH|starter",
        help="Cohort to train on: 'starter' ships with lrplan; or a Zarr directory or zip file.",
    ),
]
CohortPath = Annotated[
    str,
    typer.Argument(
        metavar="COHORT", help="'starter', or the path of a Zarr directory or zip file."
    ),
]
IncludeUnlearned = Annotated[
    bool,
    typer.Option(
        "--include-unlearned",
        help="Use organisms, too, that did not learn their task; see `lrplan cohort info`.",
    ),
]
Units = Annotated[
    int,
    typer.Option(
        parser=whole,
        metavar="N",
        help="Units recorded from each population in each session (neurons; synapses for the "
        "measure weights, pre-post pairs for paired).",
    ),
]
UnitsOrAll = Annotated[
    Any,
    typer.Option(
        parser=units,
        metavar="N|all",
        help="Units recorded from each population in each session (neurons; synapses for the "
        "measure weights, pre-post pairs for paired); 'all' takes the cohort's stored observables "
        "of all units and needs --noise 0.",
    ),
]
Noise = Annotated[
    float | None,
    typer.Option(
        parser=noise_sd,
        metavar="SD",
        help="Noise of one response (mean over a stimulus's trials): standard deviation as a "
        "fraction of the signal's, which --noise-reference names.",
        show_default="0.1; of a modality whose noise follows from its settings none",
    ),
]
NoiseReference = Annotated[
    str | None,
    typer.Option(
        metavar="relative|within|absolute",
        help="What noise refers to: the signal over stimuli and units (relative), that over "
        "stimuli within units (as d' and reliability of tuning do), or the network's own unit.",
        show_default="relative; within for --dprime and --noise-from; that of a preset's noise",
    ),
]
Snr = Annotated[
    float | None,
    typer.Option(
        parser=number,
        metavar="RATIO",
        help="In place of --noise: variance of the signal over that of single trials; needs "
        "--trials and --noise-reference.",
        show_default=False,
    ),
]
Dprime = Annotated[
    float | None,
    typer.Option(
        parser=number,
        metavar="D",
        help="In place of --noise: d' of single trials between two stimuli, root mean square over "
        "pairs and units; needs --trials.",
        show_default=False,
    ),
]
Reliability = Annotated[
    float | None,
    typer.Option(
        parser=number,
        metavar="R",
        help="In place of --noise: correlation between responses of one half of the trials and of "
        "the other; needs --noise-reference.",
        show_default=False,
    ),
]
Nu = Annotated[
    float | None,
    typer.Option(
        parser=number,
        metavar="NU",
        help="Shot noise of imaging in % per square root of Hz: the setting nu of the modality.",
        show_default=False,
    ),
]
NoiseFrom = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE...",
        help="In place of --noise: that of a pilot recording, estimated as `lrplan score` does; "
        "--label, --align and --window say how it is read.",
        show_default=False,
    ),
]
TrialsOfNoise = Annotated[
    int | None,
    typer.Option(
        parser=whole,
        metavar="N",
        help="Trials of each stimulus in each session: of --snr, --dprime, --noise-from, or of a "
        "modality or preset that has them.",
        show_default="that of the modality, preset or pilot",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="An experiment as labs do it (`lrplan list presets`); options that are given override "
        "it.",
        show_default=False,
    ),
]
Modality = Annotated[
    str, typer.Option(metavar="NAME", help="Measurement model; see `lrplan list modalities`.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting of the modality; several by repeating it.",
        show_default="those of the modality",
    ),
]
Sessions = Annotated[
    int | None,
    typer.Option(
        parser=whole,
        metavar="N",
        help="Number of sessions.",
        show_default="one at every checkpoint",
    ),
]
Tracked = Annotated[
    bool,
    typer.Option(
        "--tracked/--untracked", help="The same units in all sessions, or drawn anew in each."
    ),
]
Areas = Annotated[
    list[str] | None,
    typer.Option(
        metavar="early|middle|deep",
        help="Areas that are recorded together in each animal; several by repeating it or with "
        "commas. An animal is then one recording.",
        show_default="each population on its own",
    ),
]
Contrasts = Annotated[
    str,
    typer.Option(
        metavar="both|only|none",
        help="Of several areas, or a reference: the observables and the differences, the "
        "differences only, or none.",
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="first|passive|control|area:NAME",
        help="Take features relative to the first sessions, to passive exposure of the same "
        "preparation, to that of another animal, or to another area, such as area:early.",
        show_default="none",
    ),
]
ReferenceSessions = Annotated[
    int,
    typer.Option(parser=whole, metavar="N", help="How many sessions are the reference 'first'."),
]
Seed = Annotated[
    int,
    typer.Option(parser=seed, metavar="N", help="Seed of all randomness; same seed, same output."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no remarks on stderr; errors stay.")
]
OutDirectory = Annotated[
    Path, typer.Option(metavar="DIR", help="Directory to write to; new or empty.")
]


def split_commas(values: list[str] | None) -> list[str]:
    """Return the words of a repeated option whose values may hold commas."""
    return [w.strip() for v in values or [] for w in v.split(",") if w.strip()]


def settings(values: list[str] | None) -> dict[str, bool | int | float | str]:
    """Return the settings of ``--set NAME=VALUE``: numbers, true or false, else texts."""
    from lrplan.errors import UsageError

    out: dict[str, bool | int | float | str] = {}
    for text in values or []:
        name, given, value = (part.strip() for part in text.partition("="))
        if not (name and given and value):
            raise UsageError(f"--set is {text!r}; expected NAME=VALUE, such as rate_hz=30")
        if name in out:
            raise UsageError(f"--set names {name!r} twice; give it once")
        out[name] = _value(value)
    return out


def _value(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# How a recording is read and what it is compared with.
Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID",
        help="Organisms to leave out of training; several by repeating it or with commas.",
        show_default="none",
    ),
]
NoiseOfRecording = Annotated[
    float | None,
    typer.Option(
        parser=noise_sd,
        metavar="SD",
        help="Noise of one response, as a fraction of the signal within units (how responses vary "
        "over stimuli).",
        show_default="estimated from how trials vary",
    ),
]
UnitsWhere = Annotated[
    str | None,
    typer.Option(
        "--units",
        metavar="EXPR",
        help="Units or regions to read: a condition on the columns of their table, such as "
        "'quality == \"good\" and snr > 1'.",
        show_default="all",
    ),
]
Area = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Area whose units are read, as the file names it.", show_default="all"
    ),
]
UnitsTable = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Table of units in the file; several probes with commas.",
        show_default="found in the file",
    ),
]
Signal = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="ROI series to read, by name or path; several planes with commas.",
        show_default="dF/F, or computed from raw fluorescence",
    ),
]
Tracking = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN|none",
        help="Column that says which unit is the same in other sessions.",
        show_default="tracking_id or cell_specimen_id",
    ),
]
Intervals = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Table of trials or events.", show_default="found in the file"
    ),
]
TrialSignal = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Time series with the number of the trial in each frame, in place of a table.",
        show_default="none",
    ),
]
TrialsWhere = Annotated[
    str | None,
    typer.Option(
        "--trials",
        metavar="EXPR",
        help="Trials to read: a condition on their columns, such as 'correct and block > 2'.",
        show_default="all",
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN[,COLUMN]",
        help="Column of the trials that names the stimulus, or two.",
        show_default="chosen by name",
    ),
]
Align = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of times, in seconds, to which the window refers.",
        show_default="start_time",
    ),
]
Relative = Annotated[
    bool | None,
    typer.Option(
        "--relative/--absolute",
        help="Whether the times of --align count from the trial's start or the session's.",
        show_default="as their values say",
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        metavar="[START,]END",
        help="Window of a response, in seconds after --align.",
        show_default="the whole trial; 0,1 where it has no end or --align is given",
    ),
]
CheckpointBy = Annotated[
    str | None,
    typer.Option(
        metavar="session|block:COLUMN|epochs|trials:N|time:SEC",
        help="What is one session: each file, each value of a column of the trials, each epoch, so "
        "many trials, or so many seconds.",
        show_default="each file; a column that tells sessions apart in a single file",
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        metavar="time|name|given",
        help="Order of the files.",
        show_default="by start time, else by the numbers in their names",
    ),
]
