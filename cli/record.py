"""``lrplan record``: rehearse an analysis on a virtual recording."""

from __future__ import annotations

from typing import Annotated

import typer

from lrplan.cli import _noise, _options, _output, _preset

EPILOG = """\b
Examples:
  lrplan cohort organisms starter
  lrplan record --organism 0123456789abcdef --layer deep --out rehearsal
  lrplan record --organism 0123456789abcdef --layer early --kind dff --sessions 8 --out rehearsal
  lrplan record --organism 0123456789abcdef --layer deep --preset two-photon-8s --out rehearsal"""


def record(
    context: typer.Context,
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
    preset: _options.Preset = None,
    units: _options.Units = 300,
    sessions: _options.Sessions = None,
    noise: _options.Noise = None,
    noise_reference: _options.NoiseReference = None,
    snr: _options.Snr = None,
    dprime: _options.Dprime = None,
    reliability: _options.Reliability = None,
    nu: _options.Nu = None,
    noise_from: _options.NoiseFrom = None,
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
            show_default="that of the preset or modality, or 10",
        ),
    ] = None,
    tracked: _options.Tracked = True,
    label: _options.Label = None,
    align: _options.Align = None,
    window: _options.Window = None,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Write a virtual recording as NWB files, one per session."""
    from lrplan.arguments import positive_int
    from lrplan.measure.design import Design, Schedule
    from lrplan.measure.noise import both_references
    from lrplan.nwb.rehearsal import find_population
    from lrplan.nwb.write import kind_and_modality

    if trials is not None:
        positive_int(trials, "trials")
    values, found_preset = _preset.fill(
        {"units": units, "sessions": sessions, "tracked": tracked, "modality": modality},
        preset,
        context,
    )
    kind, modality = kind_and_modality(kind, values["modality"])
    schedule = Schedule(sessions=values["sessions"])

    from lrplan import open_cohort, record_nwb

    opened = open_cohort(cohort)
    planned = _preset.plan(
        values,
        found_preset,
        modality=modality,
        asked=_noise.Asked(
            noise=noise,
            reference=noise_reference,
            snr=snr,
            dprime=dprime,
            reliability=reliability,
            nu=nu,
            trials=trials,
            files=noise_from or [],
            label=label,
            align=align,
            window=window,
        ),
        given=_options.settings(setting),
        checkpoints=schedule.checkpoints(opened.checkpoints),
        seed=seed,
        written=True,
    )
    design = Design(
        units=values["units"],
        modality=modality,
        settings=planned.settings,
        schedule=schedule,
        tracked=values["tracked"],
        **planned.noise,
    )
    files = record_nwb(
        opened,
        organism=organism,
        layer=layer,
        out=out,
        units=values["units"],
        sessions=values["sessions"],
        kind=kind,
        modality=modality,
        settings=planned.settings,
        trials=planned.trials,
        tracked=values["tracked"],
        rng=seed,
        **planned.noise,
    )
    shown = None if found_preset is None else found_preset.value("stimuli")
    if shown not in (None, opened.stimuli):
        planned.notes.append(
            f"the preset shows {shown} stimuli; all {opened.stimuli} of the cohort are written"
        )
    for note in planned.notes:
        _output.note(note, quiet=quiet)
    told = both_references(opened, design, populations=[find_population(opened, organism, layer)])
    if told is not None:
        _output.note(_noise.both_line(told, design), quiet=quiet)
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
                "settings": planned.settings,
                "noise": _noise.noise_json(told, planned.estimate),
                "files": [str(f) for f in files],
            }
        )
    else:
        _output.emit("\n".join(map(_output.plain, files)))
