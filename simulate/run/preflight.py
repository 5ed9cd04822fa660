"""What is refused before hours of training: impossible combinations, and data that are missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError, LrplanError, UsageError
from lrplan.simulate.architectures import architectures
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.learn.train import checkpoint_steps, pretrain_epochs
from lrplan.simulate.network import Network
from lrplan.simulate.run._values import errors_at
from lrplan.simulate.run.recipe import Recipe
from lrplan.simulate.tasks import DATA_VARIABLE, Extent, Task, tasks


@dataclass(frozen=True)
class TaskData:
    """Whether the data of one task can be used.

    Parameters
    ----------
    task : str
        Registered name, with its settings if there are any.
    problem : str or None
        What is missing or wrong with them.
    """

    task: str
    problem: str | None


def task_of(spec: OrganismSpec) -> tuple[Task, dict[str, Any]]:
    """Return a spec's task and its settings."""
    task = tasks.get(spec.task)
    return task, task.settings | dict(spec.settings.get("task", {}))


def sized(spec: OrganismSpec) -> tuple[Network, Extent]:
    """Return a spec's network and the size of its data, of which nothing large is read.

    Raises
    ------
    UsageError
        If architecture, task and settings do not go together.
    DataError
        If even the size cannot be known without data that are missing.
    """
    task, settings = task_of(spec)
    architecture = architectures.get(spec.architecture)
    try:
        extent = task.extent(architecture.size, settings)
    except UsageError as error:
        if not os.environ.get(DATA_VARIABLE) and _wants_data(task, architecture.size, settings):
            raise DataError(str(error)) from None
        raise
    given = architecture.settings | dict(spec.settings.get("architecture", {}))
    return architecture.build(extent.shape, task.head(settings), **given), extent


def _wants_data(task: Task, size: int | None, settings: dict[str, Any]) -> bool:
    """Say whether a task whose size is unknown lacks data, rather than sense."""
    with TemporaryDirectory() as nothing, data_in(nothing):
        try:
            task.extent(size, settings)
        except LrplanError as error:
            return isinstance(error, DataError)
    return False


def check_combination(spec: OrganismSpec, storage: Storage) -> None:
    """Refuse a spec that cannot be trained, or not with as much kept of it; errors as `sized`."""
    _, extent = sized(spec)
    train, test = extent.train, extent.test
    if pretrain_epochs(spec):
        # Half of the classes come before; that is half of the examples, more or less.
        train, test = train // 2, test // 2
    checkpoint_steps(spec, train)
    for name in ("stimuli", "validation"):
        if getattr(storage, name) > test:
            raise UsageError(
                f"[storage]: {name} is {getattr(storage, name)}, but {spec.task!r} has "
                f"{test} held-out images"
            )


def distinct(
    specs: Sequence[OrganismSpec], *keys: Callable[[OrganismSpec], Any]
) -> list[OrganismSpec]:
    """Return the first of all organisms that agree in `keys`."""
    return list({repr([key(s) for key in keys]): s for s in reversed(specs)}.values())[::-1]


def _combination(spec: OrganismSpec) -> Any:
    return (spec.task, spec.architecture, spec.batch_size, spec.epochs, spec.settings)


def check_combinations(recipe: Recipe, *, elsewhere: bool = False) -> None:
    """Refuse a recipe in which an organism cannot be trained; errors as `sized`.

    Parameters
    ----------
    recipe : Recipe
        All of whose combinations are tried.
    elsewhere : bool
        Whether it is trained on other machines: then data that are missing here are no error.
    """
    drawn = recipe.learners[len(recipe.of_grids) :]
    named: list[tuple[OrganismSpec, AbstractContextManager[None]]]
    named = [(spec, nullcontext()) for spec in distinct(recipe.of_grids, _combination)]
    named += [(spec, errors_at(_draw(spec))) for spec in distinct(drawn, _combination)]
    for spec, naming in named:
        try:
            with naming:
                check_combination(spec, recipe.storage)
        except DataError:
            if not elsewhere:
                raise


def _draw(spec: OrganismSpec) -> str:
    """Return which draw an organism is, and what was drawn of its network."""
    given = ", ".join(f"{k} = {v}" for k, v in spec.settings["architecture"].items())
    return (
        f"draw {spec.model_seed} of seed {spec.data_seed}, {spec.architecture} ({given}) on "
        f"{spec.task}, cannot be trained"
    )


def _task(spec: OrganismSpec) -> Any:
    return (spec.task, spec.settings.get("task", {}))


def check_data(specs: Sequence[OrganismSpec]) -> None:
    """Check the data of every task on this machine.

    Raises
    ------
    DataError, UsageError
        What `Task.check` says of the first that cannot be used.
    """
    for spec in distinct(specs, _task):
        task, settings = task_of(spec)
        task.check(settings)


def data_report(specs: Sequence[OrganismSpec]) -> list[TaskData]:
    """Say of each task whether its data can be used on this machine."""
    report = []
    for spec in distinct(specs, _task):
        task, settings = task_of(spec)
        given = spec.settings.get("task", {})
        label = ", ".join([spec.task, *(f"{k} = {v}" for k, v in given.items())])
        problem = None
        try:
            task.check(settings)
        except LrplanError as error:
            problem = str(error)
        report.append(TaskData(label, problem))
    return report


def check_data_once(spec: OrganismSpec, folder: str) -> None:
    """Check the data of a spec's task, once in each process and for each data folder."""
    _check_once(spec.task, json.dumps(task_of(spec)[1], sort_keys=True), folder)


@lru_cache(maxsize=256)
def _check_once(task: str, settings: str, folder: str) -> None:
    tasks.get(task).check(json.loads(settings))


@contextmanager
def data_in(folder: Path | str | None) -> Iterator[None]:
    """Look for data in `folder`, here and in processes that start meanwhile.

    Raises
    ------
    DataError
        If there is no such folder.
    """
    if folder is None:
        yield
        return
    if not Path(folder).is_dir():
        raise DataError(f"the data folder {folder} does not exist; see `lrplan list tasks`")
    before = os.environ.get(DATA_VARIABLE)
    os.environ[DATA_VARIABLE] = str(Path(folder).absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ[DATA_VARIABLE]
        else:
            os.environ[DATA_VARIABLE] = before
