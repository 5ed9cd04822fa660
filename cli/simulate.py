"""``lrplan simulate``: train the organisms of a recipe."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrplan.cli import _options, _output
from lrplan.errors import LrplanError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

EPILOG = """\b
Examples:
  lrplan simulate recipe.toml --out cohort.zarr
  lrplan simulate recipe.toml --out cohort.zarr.zip --workers 4 --device cpu

A run that was stopped, by Ctrl-C or otherwise, goes on when the same command is given again."""

DEVICES = ("auto", "cpu", "cuda")
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
            help="Processes on the CPU.",
            show_default="one per core",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(metavar="auto|cpu|cuda", help="'auto' takes a GPU where there is one."),
    ] = "auto",
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Train the organisms of a recipe; a stopped run goes on."""
    from lrplan.design import positive_int

    if workers is not None:
        positive_int(workers, "workers")
    if device not in DEVICES:
        from lrplan.registry import nearest

        raise UsageError(f"unknown device {device!r}; {nearest(device, DEVICES)}")
    began = time.monotonic()
    account = Account(quiet=quiet)
    try:
        from lrplan.simulate.recipe import read_recipe
        from lrplan.simulate.run import simulate as run_recipe

        content = read_recipe(recipe)
        with account:
            new = run_recipe(
                content,
                out,
                workers=workers,
                device=device,
                on_start=account.start,
                on_organism=lambda spec, diverged: account.advance(diverged),
            )
    except KeyboardInterrupt:
        raise Interrupted(account.kept(out)) from None

    from lrplan import open_cohort

    info = open_cohort(out).info()
    if not new:
        _output.note(f"{out} was whole already; nothing was trained", quiet=quiet)
    if json:
        _output.emit_json(
            {
                "schema": "lrplan.simulate/1",
                "cohort": str(out),
                "organisms": info["organisms"],
                "trained": account.trained,
                "diverged": info["diverged"],
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    else:
        _output.emit(
            f"{_output.plain(out)}: {info['organisms']} organisms, {info['diverged']} diverged, "
            f"{_output.size(info['bytes'])}"
        )


class Account:
    """Counts organisms and says so: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.before = self.done = self.total = self.diverged = 0
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
        self.before, self.done, self.total = done, done, total
        self._said = time.monotonic()
        if self.quiet:
            return
        if done:
            _output.note(f"going on: {done} of {total} organisms are there already", quiet=False)
        if sys.stderr is not None and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("organisms", total=total, completed=done, note="")
            self._bar.start()
        else:
            _output.note(f"training {total - done} organisms", quiet=False)

    def advance(self, diverged: bool) -> None:
        """Take one more finished organism."""
        self.done += 1
        self.diverged += diverged
        if self.quiet:
            return
        lost = f"{self.diverged} diverged" if self.diverged else ""
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=lost)
        elif time.monotonic() - self._said >= LINE_SECONDS or self.done == self.total:
            self._said = time.monotonic()
            told = f", {lost} in this run" if lost else ""
            _output.note(f"{self.done} of {self.total} organisms{told}", quiet=False)

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
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left {task.fields[note]}"),
        console=Console(stderr=True),
    )
