"""``lrplan inspect``: what a file offers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lrplan.cli import _options, _output

EPILOG = """\b
Examples:
  lrplan inspect day1.nwb
  lrplan inspect day1.nwb --json"""


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="NWB 2 file (HDF5).")],
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """List what an NWB file offers and what would be read."""
    from lrplan import inspect_nwb

    report = inspect_nwb(file)
    if json:
        _output.emit_json(report)
    else:
        _output.show(*inspect_parts(report))


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
    for table in report["intervals"]:
        parts.append(
            _output.table(
                f"{table['path']}: {table['rows']} intervals",
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
    chosen = [[key.replace("_", " "), value] for key, value in report["chosen"].items()]
    parts.append(_output.table("What would be read", ("what", "chosen"), chosen))
    if report["problems"]:
        parts += [f"Problem: {p}" for p in report["problems"]]
    else:
        parts.append("It can be scored together with other sessions.")
    parts += [f"Warning: {w}" for w in report["warnings"]]
    return parts
