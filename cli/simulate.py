"""``lrplan simulate``: train the organisms of a recipe."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrplan.cli import _options, _output
from lrplan.errors import LrplanError, UsageError
from lrplan.threads import threads

if TYPE_CHECKING:
    from rich.progress import Progress

    from lrplan.simulate.run.estimate import Cost
    from lrplan.simulate.run.recipe import Recipe
    from lrplan.simulate.run.shards import Shard

EPILOG = """\b
Examples:
  lrplan simulate recipe.toml --out cohort.zarr --dry-run
  lrplan simulate recipe.toml --out cohort.zarr.zip --workers 4 --device cpu
  lrplan simulate recipe.toml --out cohort.zarr --scheduler tcp://node1:8786
  lrplan simulate recipe.toml --out cohort.zarr --cluster slurm --jobs 20 --cores 16 --memory 32GB
  lrplan simulate recipe.toml --out cohort.zarr --shard $SLURM_ARRAY_TASK_ID/20

A run that was stopped, by Ctrl-C or otherwise, goes on when the same command is given again."""

DEVICES = ("auto", "cpu", "cuda")
CLUSTERS = ("slurm",)
LINE_SECONDS = 30


class Interrupted(LrplanError):
    """Ctrl-C, with what was kept."""

    exit_code = 130


def simulate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe, a TOML file.")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="COHORT", help="Cohort to write: a directory, or one file if it ends in .zip."
        ),
    ],
    workers: Annotated[
        int | None,
        typer.Option(
            parser=_options.whole,
            metavar="N",
            help="Processes.",
            show_default="one per core; on a GPU at most 8, and as its memory allows",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda",
            help="'auto' takes a GPU where there is one; on a cluster it is the CPU.",
        ),
    ] = "auto",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of data that lrplan does not bring; `lrplan list tasks` says what goes "
            "there.",
            show_default="the variable LRPLAN_DATA",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Train nothing: say how many organisms, how long, how much disk, what is done "
            "already and which data are missing.",
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Train the I-th of N shares, I from 1 to N, beside other processes that train "
            "the others into the same COHORT; the last to end packs it.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Train on a running Dask cluster, such as tcp://node1:8786."
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="slurm", help="Start a Dask cluster of Slurm jobs and train on it."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            parser=_options.whole, metavar="N", help="With --cluster: jobs.", show_default="1"
        ),
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            parser=_options.whole,
            metavar="N",
            help="With --cluster: cores of a job.",
            show_default="the Dask configuration",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --cluster: memory of a job, such as 32GB.",
            show_default="the Dask configuration",
        ),
    ] = None,
    walltime: Annotated[
        str | None,
        typer.Option(
            metavar="H:M:S",
            help="With --cluster: time of a job.",
            show_default="the Dask configuration",
        ),
    ] = None,
    directive: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="With --cluster: a further #SBATCH line, such as --partition=gpu; repeatable.",
        ),
    ] = None,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Train the organisms of a recipe; a stopped run goes on."""
    from lrplan.arguments import positive_int

    for value, name in ((workers, "workers"), (jobs, "jobs"), (cores, "cores")):
        if value is not None:
            positive_int(value, name)
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; {_nearest(device, DEVICES)}")
    if cluster is not None and cluster not in CLUSTERS:
        raise UsageError(f"unknown cluster {cluster!r}; {_nearest(cluster, CLUSTERS)}")
    given: dict[str, Any] = {"cores": cores, "memory": memory, "walltime": walltime}
    _together(
        {"--scheduler": scheduler, "--cluster": cluster, "--shard": shard},
        {"--workers": workers},
        {f"--{k}": v for k, v in (given | {"jobs": jobs, "directive": directive}).items()},
    )
    began = time.monotonic()
    account = Account(quiet=quiet)
    if scheduler is None and cluster is None and not dry_run and workers != 1 and threads() > 1:
        from lrplan.simulate.run.processes import prepare

        # Processes import torch while this one does.
        prepare()
    try:
        from lrplan.simulate.run.recipe import read_recipe
        from lrplan.simulate.run.shards import Shard
        from lrplan.simulate.run.simulate import simulate as run_recipe

        share = None if shard is None else Shard.parse(shard)
        content = read_recipe(recipe)
        if dry_run:
            _dry_run(content, out, workers, device, data, share, json=json, quiet=quiet)
            return
        with ExitStack() as held:
            where: Any = scheduler
            if cluster is not None:
                from lrplan.simulate.run.preflight import check_combinations
                from lrplan.simulate.run.slurm import slurm_cluster

                # No job is asked for to train what cannot be.
                check_combinations(content, elsewhere=True)
                where = held.enter_context(
                    slurm_cluster(
                        jobs=jobs or 1, **given, directives=directive or (), device=device
                    )
                )
            held.enter_context(account)
            outcome = run_recipe(
                content,
                out,
                workers=workers,
                device=device,
                data=data,
                scheduler=where,
                shard=share,
                on_start=account.start,
                on_organism=lambda spec, diverged: account.advance(diverged),
                on_note=lambda text: _output.note(text, quiet=quiet),
                on_progress=account.progress,
            )
    except KeyboardInterrupt:
        raise Interrupted(account.kept(out)) from None

    seconds = round(time.monotonic() - began, 1)
    if outcome.missing:
        _report_shard(out, account, outcome.missing, seconds, json=json)
        return
    from lrplan import open_cohort
    from lrplan.simulate.run.angles import angles_file

    info = open_cohort(out).info()
    if not outcome.new:
        _output.note(f"{out} was whole already; nothing was trained", quiet=quiet)
    table = angles_file(out)
    if content.storage.angles and table.exists():
        _output.note(f"{table}: how well errors align", quiet=quiet)
    if info["diverged"] == info["organisms"]:
        _output.note(
            "every organism diverged, so no forecast can use this cohort; take smaller learning "
            "rates in the recipe",
            quiet=quiet,
        )
    else:
        usable = {rule: n["learned"] + n["unknown"] for rule, n in info["fates"].items()}
        _warn_of_few(usable, f"{out} holds", "usable organisms", quiet=quiet)
    if json:
        _output.emit_json(
            {
                "schema": "lrplan.simulate/1",
                "cohort": str(out),
                "organisms": info["organisms"],
                "trained": account.trained,
                "missing": 0,
                "diverged": info["diverged"],
                "seconds": seconds,
            }
        )
    else:
        _output.emit(
            f"{_output.plain(out)}: {info['organisms']} organisms, "
            + (f"{info['passive']} of them passive twins, " if info["passive"] else "")
            + f"{info['diverged']} diverged, {_output.size(info['bytes'])}"
        )


def _warn_of_few(counts: Mapping[str, int], holder: str, what: str, *, quiet: bool) -> None:
    """Say of which rules there are too few organisms for a forecast.

    Parameters
    ----------
    counts : mapping of str to int
        Organisms of each rule.
    holder, what : str
        How the sentence begins, and what is counted.
    """
    from lrplan.tell.unseen import FOLDS

    few = [f"{number} of {rule}" for rule, number in counts.items() if number < FOLDS]
    if few:
        _output.note(
            f"{holder} fewer than {FOLDS} {what} of a rule ({', '.join(few)}); a forecast needs "
            f"{FOLDS} of each that learned. Add seeds or other values to the recipe, or join "
            "cohorts (`lrplan cohort merge`)",
            quiet=quiet,
        )


def _nearest(name: str, known: tuple[str, ...]) -> str:
    from lrplan.registry import nearest

    return nearest(name, known)


def _together(
    ways: dict[str, Any], only_here: dict[str, Any], only_cluster: dict[str, Any]
) -> None:
    """Refuse options that contradict each other."""
    chosen = [name for name, value in ways.items() if value is not None]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other; give one of them")
    if "--cluster" not in chosen:
        for name, value in only_cluster.items():
            if value:
                raise UsageError(f"{name} describes Slurm jobs; give it with --cluster slurm")
    if "--cluster" in chosen or "--scheduler" in chosen:
        for name, value in only_here.items():
            if value is not None:
                raise UsageError(
                    f"{name} is about this machine; a Dask cluster has as many workers as were "
                    f"started. Leave out {name} or {chosen[0]}"
                )


def _report_shard(out: Path, account: Account, missing: int, seconds: float, *, json: bool) -> None:
    """Say what a shard has done, and that it was not the last."""
    if json:
        _output.emit_json(
            {
                "schema": "lrplan.simulate/1",
                "cohort": None,
                "organisms": account.total,
                "trained": account.trained,
                "missing": missing,
                "diverged": account.diverged,
                "seconds": seconds,
            }
        )
    else:
        _output.emit(
            f"{_output.plain(out)}.partial: trained {account.trained} organisms; {missing} of the "
            "recipe are missing. The shard that finds none missing packs them; a shard that was "
            "killed goes on when it is run again"
        )


def _dry_run(
    recipe: Recipe,
    out: Path,
    workers: int | None,
    device: str,
    data: Path | None,
    shard: Shard | None,
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Print what a run would take."""
    from lrplan.simulate.run.estimate import estimate
    from lrplan.simulate.run.preflight import data_in

    _output.note("timing some steps of each kind of network; a minute at most", quiet=quiet)
    with data_in(data):
        found = estimate(recipe, out, workers=workers, device=device, shard=shard)
    # Of all shards: their organisms come into one cohort.
    rules = Counter(spec.rule for spec in recipe.learners)
    _warn_of_few(rules, f"{recipe.name} has", "organisms", quiet=quiet)
    if json:
        networks = [
            {"architecture": a, "task": t, "work_seconds": s}
            for (a, t), s in found.by_network.items()
        ]
        _output.emit_json(
            {
                "schema": "lrplan.simulate.estimate/1",
                "recipe": recipe.name,
                "organisms": found.organisms,
                "done": found.done,
                "factors": found.factors,
                "device": found.device,
                "workers": found.workers,
                "work_seconds": found.work_s,
                "wall_seconds": found.wall_s,
                "by_network": networks,
                "kinds": found.kinds,
                "kinds_timed": found.timed,
                "cohort_bytes": found.cohort_bytes,
                "parts_bytes": found.parts_bytes,
                "data": [{"task": d.task, "problem": d.problem} for d in found.data],
            }
        )
        return
    _output.show(
        _output.table(
            f"{recipe.name}: {found.organisms:,} organisms, {found.done:,} of them finished",
            ("factor", "organisms of each value"),
            ((name, _counts_words(counts)) for name, counts in found.factors.items()),
        ),
        _output.table(
            "Time of training what is left, one process",
            ("architecture", "task", "time"),
            ((a, t, _time_words(s)) for (a, t), s in found.by_network.items()),
        )
        if found.by_network
        else "Nothing is left to train.",
        *time_lines(found),
        f"Disk: about {_output.size(found.cohort_bytes)} for the cohort, and "
        f"{_output.size(found.parts_bytes)} beside it until it is packed.",
        *(
            f"Data of {d.task}: " + ("ready" if d.problem is None else f"MISSING: {d.problem}")
            for d in found.data
        ),
    )


MANY_VALUES = 12
"""Of a factor with more values the range is shown, and not how many organisms have each."""


def _counts_words(counts: dict[Any, int]) -> str:
    """Return how many organisms have each value of a factor, or what its many values are."""
    if len(counts) <= MANY_VALUES:
        return ", ".join(f"{value}: {count:,}" for value, count in counts.items())
    fewest, most = min(counts.values()), max(counts.values())
    each = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return f"{len(counts):,} values from {min(counts)} to {max(counts)}, {each} of each"


def time_lines(found: Cost) -> list[str]:
    """Return how long a run takes, and how sure that is."""
    if not found.by_network:
        return []
    where = f"{found.workers} processes" if found.device == "cpu" else found.device
    if found.work_s is None or found.wall_s is None:
        known = sum(s for s in found.by_network.values() if s is not None)
        return [
            f"Time: at least {_time_words(known)} on one process of this machine. What is unknown "
            "lacks data, or its architecture could not be timed in a minute."
        ]
    lines = [
        f"Time: about {_time_words(found.wall_s)} on {where} of this machine, as busy as it is "
        f"now; {_time_words(found.work_s)} on one."
    ]
    if found.timed < found.kinds:
        lines.append(
            f"{found.timed} of {found.kinds} kinds of stack were timed; the others are scaled "
            "from those of the same architecture."
        )
    return lines


def _time_words(seconds: float | None) -> str:
    """Return a time in the largest unit that keeps it above 1.5, to two digits."""
    if seconds is None:
        return "unknown"
    for unit, length in (("years", 31_557_600), ("days", 86_400), ("hours", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{float(f'{seconds / length:.2g}'):,g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"


class Account:
    """Counts organisms and says so: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.before = self.done = self.total = self.diverged = 0
        self.share: float | None = None
        self._began = 0.0
        self._bar: Progress | None = None
        self._task: Any = None
        self._said = 0.0

    @property
    def trained(self) -> int:
        """Organisms that this run finished."""
        return self.done - self.before

    def __enter__(self) -> Account:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, done: int, total: int) -> None:
        """Take the number of organisms that were there before, and of all."""
        self.before, self.done, self.total = done, done, max(done, total)
        self._said = self._began = time.monotonic()
        if self.quiet:
            return
        if done:
            _output.note(
                f"going on: {done} of {self.total} organisms are there already", quiet=False
            )
        if sys.stderr is not None and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(
                "organisms", total=self.total, completed=done, note="time left unknown"
            )
            self._bar.start()
        else:
            _output.note(f"training {self.total - done} organisms", quiet=False)

    def advance(self, diverged: bool) -> None:
        """Take one more finished organism; a search may come to more than was expected."""
        self.done += 1
        self.diverged += diverged
        last = self.done == self.total
        self.total = max(self.total, self.done)
        self._show(last=last)

    def progress(self, share: float) -> None:
        """Take the share of this run's work that is done, unfinished stacks included."""
        self.share = share
        self._show()

    @property
    def left_s(self) -> float | None:
        """The time that is left if the rest goes as fast, in seconds; None before anything is."""
        if self.share is None:
            share = self.trained / max(1, self.total - self.before)
        else:
            share = min(1.0, self.share)
        return (time.monotonic() - self._began) * (1 - share) / share if share > 0 else None

    def _show(self, *, last: bool = False) -> None:
        if self.quiet:
            return
        told = [f"{self.diverged} diverged in this run"] if self.diverged else []
        if self.left_s and not last:
            told.append(f"about {_time_words(self.left_s)} left")
        if self._bar is not None:
            self._bar.update(
                self._task, total=self.total, completed=self.done, note=", ".join(told)
            )
        elif last or time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            line = f"{self.done} of {self.total} organisms"
            _output.note(", ".join([line, *told]), quiet=False)

    def kept(self, out: Path) -> str:
        """Return what is kept after Ctrl-C, and how to go on."""
        if not self.total:
            return "interrupted before training began; nothing was lost"
        return (
            f"interrupted; {self.done} of {self.total} organisms are finished and kept in "
            f"{out}.partial; run the same command again to go on"
        )


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("elapsed, {task.fields[note]}"),
        console=Console(stderr=True),
    )
