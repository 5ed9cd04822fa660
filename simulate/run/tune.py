"""Tune: find the learning rates of a recipe on a validation part of its training data.

Successive halving (Jamieson & Talwalkar, AISTATS 2016) for each rule, architecture and task of
each grid: all candidates are trained for a short time, the best of them anew for longer, and the
last few as long as the recipe says, each with the whole schedule of learning rates. Test data are
not looked at: `lrplan.simulate.learn.parts.validation_split` leaves them out before training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from lrplan.arguments import positive_int
from lrplan.cohort.learned import has_learned
from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import UsageError
from lrplan.simulate.architectures import architectures
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.learn.train import build, checkpoint_steps, pretrain_epochs
from lrplan.simulate.run.card import Gpu
from lrplan.simulate.run.estimate import Cost, estimate
from lrplan.simulate.run.finished import FinishedOrganisms
from lrplan.simulate.run.here import on_cores
from lrplan.simulate.run.on_card import MOST_PROCESSES, Reports, on_card
from lrplan.simulate.run.pack import read_part
from lrplan.simulate.run.preflight import check_combinations, check_data, data_in
from lrplan.simulate.run.recipe import Cell, Recipe
from lrplan.simulate.run.search import Candidate, edges
from lrplan.simulate.run.tuned import (
    Found,
    Trial,
    Tuning,
    check_statable,
    refuse_existing,
    refuse_no_directory,
    stands,
    table_text,
    tuned_text,
    write_whole,
)
from lrplan.simulate.run.work import device_named, stacks_of, unfinished, work_of
from lrplan.simulate.tasks import tasks
from lrplan.threads import threads

__all__ = ["Found", "Plan", "Trial", "Tuning", "plan", "tune"]

KEPT = Storage(units=8, stimuli=2, synapses=8, pairs=1, pair_stimuli=1, validation=4)
"""What is kept of candidates: enough to see whether they diverged, in little time and space."""
CHECKPOINTS = 2
"""Candidates are looked at before training and at its end."""

Finished = Callable[[OrganismSpec, bool], None]


@dataclass(frozen=True)
class Plan:
    """What a search will take.

    Parameters
    ----------
    searches : int
        Combinations of rule, architecture and task, of each grid.
    rungs : list of (int, int)
        Candidates and organisms in each rung; fewer where some diverge, more where all that took
        part do.
    epochs : list of list of int
        Epochs of each rung; several where grids differ in them.
    remark : str
        Which rungs of the recipe are left out, and why; empty if none are.
    cost : Cost
        Of all organisms that are not finished; those of later rungs are not known before, so
        others like them are counted.
    """

    searches: int
    rungs: list[tuple[int, int]]
    epochs: list[list[int]]
    remark: str
    cost: Cost


def tune(
    recipe: Recipe,
    out: Path,
    *,
    table: Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    data: Path | None = None,
    on_start: Callable[[int, int], None] | None = None,
    on_organism: Finished | None = None,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Tuning:
    """Search learning rates, and settings of rules, and write the recipe with them.

    Organisms that are finished are kept in ``OUT.partial``, so that a search that was killed goes
    on; the directory is removed when the recipe is written. A search that was killed between the
    two ends when it is started again, if its recipe and table are still as it wrote them. On a CPU
    what is found depends neither on the number of workers nor on interruptions.

    Candidates are compared by their mean performance on the validation part: the share of
    examples that the readout judges rightly or, after self-supervised learning, a ridge
    regression that is fitted to training examples. Where settings are drawn, each candidate is
    tried on the first few of them, the same for all. Of those in the last rung that learned and are
    within one standard error of the best, the one with the smallest learning rate is chosen: the
    others are nearer to divergence and, for all that can be told, no better.

    Parameters
    ----------
    recipe : Recipe
        With the search space.
    out : Path
        Where the recipe with what was found goes: the same text but for rates and settings.
    table : Path, optional
        Where all that was tried goes, with commas if the name ends in ``.csv``, otherwise with
        tabs; by default beside `out`, ending in ``.tsv``.
    workers, device, data, on_start, on_organism, on_note, on_progress : optional
        As for `lrplan.simulate.run.simulate.simulate`. The total that `on_start` is told, and
        the work that `on_progress` is told a share of, are those of a search in which little
        diverges; where all of a rung diverge there are more.

    Returns
    -------
    Tuning
        What was found and tried.

    Raises
    ------
    UsageError
        If `out` or `table` exists, has no directory or they are one, the start of another search
        lies beside `out`,
        the recipe has an organism that cannot be, or could not state what is found (as
        `lrplan.simulate.run.tuned.check_statable`), or the training data are too few to validate
        on.
    DataError
        If data are missing, or a worker process died; what was finished stays.
    """
    device = device_named(device)
    by_default = workers is None
    workers = threads() if workers is None else positive_int(workers, "workers")
    if by_default and device == "cuda":
        workers = min(workers, MOST_PROCESSES)
    out, table = Path(out), Path(table) if table else Path(out).with_suffix(".tsv")
    if table == out:
        raise UsageError(f"--out and --table are both {out}; give one of them another name")
    search = _Search(recipe, FinishedOrganisms(out))
    reports = Reports(
        on_organism or (lambda spec, diverged: None),
        on_progress or (lambda share: None),
        on_note or (lambda text: None),
    )
    check_statable(recipe, search.candidates)
    files = {"--out": out, "--table": table}
    for option, path in files.items():
        refuse_no_directory(option, path)
        if not search.parts.belong_to(search.everything):
            refuse_existing(option, path)
    with data_in(data):
        search.check()
        with search.parts.only_writer(search.everything):
            # A search that was killed at its very end has left them behind.
            search.ended = {o: p for o, p in files.items() if stands(p)}
            if search.remark:
                reports.note(search.remark)
            if on_start is not None:
                on_start(search.done(), search.done() + len(search.left()))
            found = search.run(device, workers, reports)
            # The table first: whatever comes of the recipe, what was tried is not lost.
            delimiter = "," if table.suffix == ".csv" else "\t"
            _write_or_compare("--table", table, table_text(search.trials, delimiter))
            text = tuned_text(recipe, found)
            _write_or_compare("--out", out, text)
    search.parts.clear()
    return Tuning(tuple(found), tuple(search.trials), text)


def _write_or_compare(option: str, path: Path, text: str) -> None:
    """Write a file; if one stands there, refuse any but the same, which an earlier try wrote."""
    if not path.is_file() or path.read_bytes() != text.encode():
        refuse_existing(option, path)
        write_whole(path, text)


def plan(
    recipe: Recipe,
    out: Path,
    *,
    workers: int | None = None,
    device: str = "auto",
    budget_s: float = 60.0,
) -> Plan:
    """Say how many organisms a search trains, and estimate how long that takes.

    Parameters
    ----------
    recipe, out, workers, device, budget_s
        As for `lrplan.simulate.run.estimate.estimate`.
    """
    parts = FinishedOrganisms(Path(out))
    search = _Search(recipe, parts)
    check_statable(recipe, search.candidates)
    parts.refuse_others(search.everything)
    left = Recipe(recipe.name, tuple(search.left()), KEPT)
    nowhere = Path(out).with_name(Path(out).name + ".plan")
    cost = estimate(left, nowhere, workers=workers, device=device, budget_s=budget_s)
    return Plan(
        len(recipe.cells),
        search.sizes(),
        [sorted({search.settings.epochs(r, e) for e in search.epochs}) for r in search.rungs],
        search.remark,
        replace(cost, organisms=cost.organisms + search.done(), done=search.done()),
    )


@dataclass(frozen=True)
class _Ground:
    """What candidates of a cell are compared on.

    Parameters
    ----------
    examples : int
        In the validation part.
    chance : float
        Share of its most frequent class.
    train : int
        Examples to train on.
    self_supervised : bool
        Whether performance is that of a probe.
    """

    examples: int
    chance: float
    train: int
    self_supervised: bool

    def learned(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Say of what was kept of an organism whether it learned, as `has_learned`."""
        return self._learned(arrays["performance"], arrays["loss"])

    @property
    def can_tell(self) -> bool:
        """Whether an organism that learned all there is would pass for one that did."""
        return self._learned(np.array([0.0, 1.0]), np.array([1.0, 0.0]))

    def _learned(self, performance: np.ndarray, loss: np.ndarray) -> bool:
        return bool(
            has_learned(
                performance[None],
                loss[None],
                np.array([self.chance]),
                np.array([self.examples]),
                np.array([self.self_supervised]),
            )[0]
        )


class _Search:
    """The search of one recipe.

    Parameters
    ----------
    recipe : Recipe
        With the search space.
    parts : FinishedOrganisms
        Where its organisms are kept.
    """

    def __init__(self, recipe: Recipe, parts: FinishedOrganisms) -> None:
        self.recipe, self.parts = recipe, parts
        self.cells = recipe.cells
        draws = recipe.search.draws
        self.epochs = {spec.epochs for cell in self.cells for spec in cell.tried(1.0, draws)}
        self.settings = recipe.search.without_repetitions(max(self.epochs))
        self.candidates = [recipe.search.candidates_of(cell.spec) for cell in self.cells]
        self.rungs = range(self.settings.rungs)
        every = [s for rung in self.rungs for s in self.specs(rung, self.candidates)]
        self.everything = Recipe(recipe.name, tuple(_once(every)), KEPT)
        self.trials: list[Trial] = []
        self.grounds: dict[str, _Ground] = {}
        self.ended: dict[str, Path] = {}
        self.done_work = 0.0

    @property
    def remark(self) -> str:
        """Which rungs of the recipe are left out, and why; empty if none are."""
        asked, left = self.recipe.search.rungs, self.settings.rungs
        if left == asked:
            return ""
        return (
            f"the recipe's {max(self.epochs)} epochs do not give {asked} rungs of different "
            f"lengths at eta = {self.settings.eta}; those that would repeat the next one's "
            f"training are left out, and there are {left}"
        )

    def first(self, rung: int) -> list[list[Candidate]]:
        """Return as many candidates of each cell as take part in a rung."""
        return [each[: self.settings.kept(rung, len(each))] for each in self.candidates]

    def sizes(self) -> list[tuple[int, int]]:
        """Return how many candidates and organisms each rung has at most."""
        every = [self.first(rung) for rung in self.rungs]
        return [
            (sum(map(len, each)), len(self.specs(rung, each)))
            for rung, each in zip(self.rungs, every, strict=True)
        ]

    def left(self) -> list[OrganismSpec]:
        """Return organisms like those that are still to be trained, and as many."""
        out = []
        for rung in self.rungs:
            first = self.first(rung)
            for cell, each, some in zip(self.cells, self.candidates, first, strict=True):
                every = [s for candidate in each for s in self.of(cell, candidate, rung)]
                missing = self.parts.missing(every)
                planned = len(every) * len(some) // len(each)
                out += missing[: max(0, planned - (len(every) - len(missing)))]
        return _once(out)

    def done(self) -> int:
        """Return how many organisms are finished."""
        specs = self.everything.specs
        return len(specs) - len(self.parts.missing(specs))

    def specs(self, rung: int, candidates: Sequence[Sequence[Candidate]]) -> list[OrganismSpec]:
        """Return the organisms of candidates, given for each cell, in a rung."""
        return [
            spec
            for cell, each in zip(self.cells, candidates, strict=True)
            for candidate in each
            for spec in self.of(cell, candidate, rung)
        ]

    def of(self, cell: Cell, candidate: Candidate, rung: int) -> list[OrganismSpec]:
        """Return the organisms of one candidate in a rung.

        They are one for each seed, of draws one for each seed and drawn setting.
        """
        found = []
        seeds = self.settings.seeds if rung == self.rungs[-1] else 1
        for spec in cell.tried(candidate.learning_rate, self.settings.draws):
            settings = dict(spec.settings)
            settings["rule"] = {**settings["rule"], **candidate.settings}
            settings["training"] = {**settings["training"], "validation": self.settings.validation}
            spec = replace(
                spec,
                epochs=self.settings.epochs(rung, spec.epochs),
                checkpoints=CHECKPOINTS,
                settings=settings,
            )
            found += [_with_seed(cell, spec, seed) for seed in range(seeds)]
        return found

    def check(self) -> None:
        """Refuse what cannot be trained, and training data that are too few; no test data count."""
        firsts = zip(self.cells, self.candidates, strict=True)
        some = [spec for cell, each in firsts for spec in self.of(cell, each[0], 0)]
        check_combinations(replace(self.everything, specs=tuple(some)))
        check_data(some)
        for spec in some:
            ground = self.ground(spec)
            if not ground.can_tell:
                raise UsageError(
                    f"the task {spec.task!r} cannot be tuned: the validation part has "
                    f"{ground.examples} examples, {ground.chance:.0%} of them of one class, and "
                    "whoever names them all rightly may have guessed. Take more training data, or "
                    "a larger share of them, validation in [tune] (it is "
                    f"{self.settings.validation:g}; at most 0.5)"
                )
            try:
                checkpoint_steps(spec, ground.train)
            except UsageError as error:
                raise UsageError(
                    f"{spec.architecture} on {spec.task}: a validation part of {ground.examples} "
                    f"examples is set aside, and {error}, or more training data"
                ) from None

    def ground(self, spec: OrganismSpec) -> _Ground:
        """Return what organisms on a spec's task are compared on."""
        size = architectures.get(spec.architecture).size
        key = repr((spec.task, spec.settings["task"], size, pretrain_epochs(spec) > 0))
        if key not in self.grounds:
            try:
                data = build(spec)[3]
            except UsageError as error:
                raise UsageError(f"the task {spec.task!r} cannot be tuned: {error}") from None
            task = tasks.get(spec.task)
            self.grounds[key] = _Ground(
                len(data.test),
                task.chance(data.test_labels),
                len(data.train),
                task.objective == "self-supervised",
            )
        return self.grounds[key]

    def run(self, device: str, workers: int, reports: Reports) -> list[Found]:
        """Train rung after rung, and choose.

        Raises
        ------
        UsageError
            If an organism is missing although files of the search's end stand there, `ended`.
        """
        ranked = self.candidates
        tried: list[list[list[Trial]]] = []
        for rung in self.rungs:
            now = self._rung(rung, ranked, device, workers, reports)
            tried.append(now)
            # What was left out of this rung stands by, in case all others diverge in the next.
            ranked = [
                [t.candidate for t in mine if not t.diverged] + waiting[len(mine) :]
                for mine, waiting in zip(now, ranked, strict=True)
            ]
        last = zip(self.cells, tried[-1], strict=True)
        found = [replace(_found(*each), spread=self.settings.spread) for each in last]
        for rung, now in enumerate(tried):
            for i, mine in enumerate(now):
                went_on = [t.candidate for later in tried[rung + 1 :] for t in later[i]]
                chosen = found[i].trial
                for trial in mine:
                    if trial.candidate in went_on:
                        trial = replace(trial, outcome="kept")
                    elif chosen and rung == self.rungs[-1] and trial.candidate == chosen.candidate:
                        trial = chosen
                    self.trials.append(trial)
        return found

    def _rung(
        self,
        rung: int,
        ranked: Sequence[Sequence[Candidate]],
        device: str,
        workers: int,
        reports: Reports,
    ) -> list[list[Trial]]:
        """Return how the best candidates of each cell did in a rung, the best first.

        Where all of them diverge the next ones take their place.
        """
        tried: list[list[Trial]] = [[] for _ in self.cells]
        most = [self.settings.kept(rung, len(each)) for each in self.candidates]
        going = [each[:n] for each, n in zip(ranked, most, strict=True)]
        while any(going):
            self._train(self.specs(rung, going), device, workers, reports)
            for i, cell in enumerate(self.cells):
                tried[i] += [self._trial(cell, candidate, rung) for candidate in going[i]]
                lost = all(t.diverged for t in tried[i])
                going[i] = ranked[i][len(tried[i]) :][: most[i]] if lost else []
        return [sorted(each, key=_rank) for each in tried]

    def _train(
        self, specs: list[OrganismSpec], device: str, workers: int, reports: Reports
    ) -> None:
        """Train what is missing of a rung, all cells together."""
        missing = self.parts.missing(_once(specs))
        if missing:
            for option, path in self.ended.items():
                refuse_existing(option, path)
        if device == "cuda":
            ours = replace(reports, progress=self._progress(missing, reports))
            on_card(missing, KEPT, self.parts, Gpu.here(), ours, most_processes=workers)
            return
        # Of all organisms, finished or not: so stacks do not depend on interruptions.
        stacks = stacks_of(_once(specs), KEPT, device)
        left = unfinished(stacks, device, self.parts.missing)
        on_cores(left, KEPT, self.parts, workers, reports.finished)

    def _progress(self, specs: list[OrganismSpec], reports: Reports) -> Callable[[float], None]:
        """Return who takes the share of these organisms that is done, and tells that of all."""
        before, now = self.done_work, sum(work_of(specs).values())
        everything = before + max(now, sum(work_of(self.left()).values()))
        self.done_work += now
        return lambda share: reports.progress((before + share * now) / everything)

    def _trial(self, cell: Cell, candidate: Candidate, rung: int) -> Trial:
        """Return how a candidate did."""
        specs = self.of(cell, candidate, rung)
        grounds = [self.ground(spec) for spec in specs]
        examples = min(ground.examples for ground in grounds)
        parts = [read_part(self.parts.file(spec)) for spec in specs]
        diverged = any(meta["diverged"] for meta, _ in parts)
        performance = loss = low = high = float("nan")
        if not diverged:
            performance = float(np.mean([arrays["performance"][-1] for _, arrays in parts]))
            loss = float(np.mean([arrays["loss"][-1] for _, arrays in parts]))
            right = round(performance * examples)
            low, high = binomtest(right, examples).proportion_ci(method="wilson")
        seeds = self.settings.seeds if rung == self.rungs[-1] else 1
        learned = [g.learned(arrays) for g, (_, arrays) in zip(grounds, parts, strict=True)]
        of_each = [all(learned[i : i + seeds]) for i in range(0, len(learned), seeds)]
        updates = [
            s.epochs * (g.train // s.batch_size) for s, g in zip(specs, grounds, strict=True)
        ]
        return Trial(
            cell,
            candidate,
            rung=rung + 1,
            epochs=max(spec.epochs for spec in specs),
            updates=max(updates),
            seeds=len(specs),
            performance=performance,
            low=float(low),
            high=float(high),
            examples=examples,
            loss=loss,
            diverged=diverged,
            # A setting that was drawn may be one that no rate suits.
            learned=not diverged and 2 * sum(of_each) > len(of_each),
            edges=edges(candidate, self.candidates[self.cells.index(cell)]),
        )


def _with_seed(cell: Cell, spec: OrganismSpec, seed: int) -> OrganismSpec:
    """Return an organism with a seed; a draw keeps its number."""
    if cell.draws is None:
        return replace(spec, model_seed=seed, data_seed=0)
    return replace(spec, data_seed=seed)


def _once(specs: Sequence[OrganismSpec]) -> list[OrganismSpec]:
    """Return organisms without repetitions: short rungs may be equally long."""
    return list({s.hash: s for s in specs}.values())


def _rank(trial: Trial) -> tuple[bool, float, float, float]:
    """Return a key that puts the best first."""
    if trial.diverged:
        return True, 0.0, 0.0, trial.candidate.learning_rate
    return False, -trial.performance, trial.loss, trial.candidate.learning_rate


def _found(cell: Cell, last: Sequence[Trial]) -> Found:
    """Return what the last rung of a cell, ranked, comes to."""
    chosen = _chosen(last)
    if chosen is not None:
        return Found(cell, replace(chosen, outcome="chosen"))
    if all(t.diverged for t in last):
        return Found(cell, None, "all candidates diverged")
    return Found(cell, None, f"of {len(last)} candidates in the last rung none learned")


def _chosen(tried: Sequence[Trial]) -> Trial | None:
    """Return the one to choose of the last rung, ranked; None if none learned."""
    learned = [t for t in tried if t.learned]
    if not learned:
        return None
    best = learned[0]
    # One example more of either kind, or the error of 100% would be none.
    share = (best.performance * best.examples + 1) / (best.examples + 2)
    error = math.sqrt(share * (1 - share) / best.examples)
    near = [t for t in learned if t.performance >= best.performance - error]
    return min(near, key=lambda t: t.candidate.learning_rate)
