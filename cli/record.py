"""``lrplan record``: rehearse an analysis on a virtual recording."""

from __future__ import annotations

from typing import Annotated

import typer

from lrplan.cli import _options, _output

EPILOG = """\b
Examples:
  lrplan cohort organisms starter
  lrplan record --organism 0123456789abcdef --layer deep --out rehearsal
  lrplan record --organism 0123456789abcdef --layer early --kind dff --sessions 8 --out rehearsal"""


def record(
    organism: Annotated[
        str,
        typer.Option(
            metavar="ID", help="Organism, or the start of its id; see `lrplan cohort organisms`."
        ),
    ],
    layer: Annotated[
        str, typer.Option(metavar="NAME|early|middle|deep", help="Layer that is recorded.")
    ],
    out: _options.OutDirectory,
    cohort: _options.Cohort = "starter",
    units: _options.Units = 300,
    sessions: _options.Sessions = None,
    noise: _options.Noise = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="spikes|dff",
            help="Spike times, or dF/F of regions of interest.",
            show_default="spikes, or as the modality is written",
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Measurement model; see `lrplan list modalities`.",
            show_default="counts for spikes, ideal for dff",
        ),
    ] = None,
    setting: _options.Settings = None,
    trials: Annotated[
        int | None,
        typer.Option(
            parser=_options.whole,
            metavar="N",
            help="Trials of each stimulus in each session.",
            show_default="the modality's, or 10",
        ),
    ] = None,
    tracked: _options.Tracked = True,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Write a virtual recording as NWB files, one per session."""
    from lrplan.arguments import positive_int
    from lrplan.measure.design import Design, Schedule
    from lrplan.nwb.write import kind_and_modality

    kind, modality = kind_and_modality(kind, modality)
    settings = _options.settings(setting)
    Design(
        units=units,
        noise=noise,
        modality=modality,
        settings=settings,
        schedule=Schedule(sessions=sessions),
    )
    if trials is not None:
        positive_int(trials, "trials")

    from lrplan import open_cohort, record_nwb

    opened = open_cohort(cohort)
    files = record_nwb(
        opened,
        organism=organism,
        layer=layer,
        out=out,
        units=units,
        sessions=sessions,
        noise=noise,
        kind=kind,
        modality=modality,
        settings=settings,
        trials=trials,
        tracked=tracked,
        rng=seed,
    )
    _output.note(f"wrote {len(files)} NWB files to {out}", quiet=quiet)
    if json:
        # A shortened id fits one organism, or nothing would have been recorded.
        [recorded] = [o for o in opened.organism_table() if o["id"].startswith(organism)]
        _output.emit_json(
            {
                "schema": "lrplan.record/1",
                "cohort": opened.name,
                "organism": recorded["id"],
                "rule": recorded["rule"],
                "layer": layer,
                "modality": modality,
                "settings": settings,
                "files": [str(f) for f in files],
            }
        )
    else:
        _output.emit("\n".join(map(_output.plain, files)))
