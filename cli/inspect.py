"""``lrplan inspect``: what a file offers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lrplan.cli import _options, _output

EPILOG = """\b
Examples:
  lrplan inspect day1.nwb
  lrplan inspect day*.nwb --units 'quality == "good"' --label odour --window 0,0.5
  lrplan inspect day1.nwb --json

It takes the options of `lrplan score` that choose what is read."""


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="NWB 2 files (HDF5).")],
    units: _options.UnitsWhere = None,
    area: _options.Area = None,
    units_table: _options.UnitsTable = None,
    signal: _options.Signal = None,
    tracking: _options.Tracking = None,
    intervals: _options.Intervals = None,
    trial_signal: _options.TrialSignal = None,
    trials: _options.TrialsWhere = None,
    label: _options.Label = None,
    align: _options.Align = None,
    relative: _options.Relative = None,
    window: _options.Window = None,
    checkpoint_by: _options.CheckpointBy = None,
    order: _options.Order = None,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """List what files offer, what would be read, and whether it can be scored."""
    window_s = _options.window(window)

    from lrplan import inspect_nwb

    report = inspect_nwb(
        files[0] if len(files) == 1 else files,
        units=units,
        area=area,
        units_table=units_table,
        signal=signal,
        tracking=tracking,
        intervals=intervals,
        trial_signal=trial_signal,
        trials=trials,
        label=label,
        align=align,
        relative=relative,
        window_s=window_s,
        checkpoint_by=checkpoint_by,
        order=order,
    )
    if json:
        _output.emit_json(report)
    elif len(files) == 1:
        _output.show(*inspect_parts(report))
    else:
        _output.show(*several_parts(report))


def several_parts(report: dict[str, Any]) -> list[Any]:
    """Return what `inspect_nwb` found in several files as lines and tables."""
    parts: list[Any] = []
    for one in report["files"]:
        parts += [*inspect_parts(one), ""]
    together = report["together"]
    if together is not None:
        told = [[key.replace("_", " "), value] for key, value in together.items()]
        parts.append(_output.table("All files as one recording", ("what", "found"), told))
    parts += [f"Problem: {p}" for p in report["problems"]]
    if not report["problems"]:
        parts.append("These files can be scored.")
    return parts + [f"Warning: {w}" for w in report["warnings"]]


def inspect_parts(report: dict[str, Any]) -> list[Any]:
    """Return what `inspect_nwb` found as lines and tables."""
    session = report["session"]
    parts: list[Any] = [
        f"{report['file']}: NWB {report['nwb_version']}; subject "
        f"{_output.cell(session['subject'])}; session {_output.cell(session['id'])}; start "
        f"{_output.cell(session['start'])}",
        "",
    ]
    if report["units"]:
        parts.append(
            _output.table(
                "Units",
                ("table", "columns", "units", "spikes"),
                [[u["path"], u["columns"], u["n"], u["spikes"]] for u in report["units"]],
                numbers=2,
            )
        )
    if report["roi_series"]:
        parts.append(
            _output.table(
                "ROI series",
                ("path", "role", "frames", "ROIs", "rate (Hz)"),
                [
                    [s["path"], s["role"], s["shape"][0], s["n_rois"], s["rate_hz"]]
                    for s in report["roi_series"]
                ],
                numbers=2,
            )
        )
    for table in [t for kind in ("intervals", "events", "tables") for t in report.get(kind, ())]:
        parts.append(
            _output.table(
                f"{table['path']}: {table['rows']} rows",
                ("column", "type", "example", "distinct", "missing"),
                [
                    [c["name"], c["dtype"], c["example"], c["distinct"], c["nan"]]
                    for c in table["columns"]
                ],
                numbers=3,
            )
        )
    for kind, name in (("units", "table of units"), ("roi_series", "ROI series")):
        if not report[kind]:
            parts.append(f"No {name}.")
    if not report["intervals"]:
        parts.append("No table of intervals.")
    if report.get("signals"):
        parts.append(f"Signals that may hold trials: {', '.join(report['signals'])}.")
    chosen = [[key.replace("_", " "), value] for key, value in report["chosen"].items()]
    parts.append(_output.table("What would be read", ("what", "chosen"), chosen))
    if report["problems"]:
        parts += [f"Problem: {p}" for p in report["problems"]]
    else:
        parts.append("It can be scored together with other sessions.")
    parts += [f"Warning: {w}" for w in report["warnings"]]
    return parts
