"""Train on one GPU: several stacks at a time, each in a process, as many as its memory holds.

The kernels of one small network leave a GPU idle, and so does a stack of them while Python starts
its kernels. So organisms train in stacks, and stacks beside each other. How large, and how many, is
a matter of memory, which nobody can promise: an estimate may be wrong, and another user may take
some at any time. So a stack starts only if what it is expected to take is free; what it took in
truth corrects the estimate; and one that ran out of memory starts anew in halves, with fewer beside
it. What is written stays written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.learn.train import lasting_settings, stack_key
from lrplan.simulate.run.card import Card
from lrplan.simulate.run.finished import FinishedOrganisms
from lrplan.simulate.run.pack import part_bytes, read_part
from lrplan.simulate.run.processes import Inherited, interrupts_later, processes
from lrplan.simulate.run.work import is_out_of_memory, work_of

MOST_PROCESSES = 8
"""Seven filled an H100 with stacks of twelve ResNets."""
FEW, MANY = 16, 256
"""Organisms of a stack below which a smaller one is hardly any faster, and a larger one above."""
SHARE_OF_FREE = 0.9
TRIES = 3
"""How often processes may die that train one organism alone."""
PATIENCE_SECONDS = 600.0
"""How long to wait for memory that other processes hold."""
LOOK_SECONDS = 1.0
LEAST = 0.5
"""Of an estimate is promised at least, however little was held."""
WORSE = 1.5
"""By how much an estimate is raised that was too low by an unknown measure."""


@dataclass(frozen=True)
class Reports:
    """Who is told what.

    Parameters
    ----------
    finished : callable
        Of each organism that was written, and whether it diverged.
    progress : callable
        Of the share of the work that is done, 0 to 1, unfinished stacks included.
    note : callable
        Remarks.
    """

    finished: Callable[[OrganismSpec, bool], None]
    progress: Callable[[float], None] = lambda share: None
    note: Callable[[str], None] = lambda text: None


def on_card(
    specs: Sequence[OrganismSpec],
    storage: Storage,
    parts: FinishedOrganisms,
    card: Card,
    reports: Reports,
    *,
    most_processes: int = MOST_PROCESSES,
    shared: bool = False,
    patience_s: float = PATIENCE_SECONDS,
) -> None:
    """Train organisms on one GPU and write each as its stack is finished.

    Parameters
    ----------
    specs : sequence of OrganismSpec
        What is missing.
    storage : Storage
        What is kept.
    parts : FinishedOrganisms
        Where they are written; what is there already is not trained again.
    card : Card
        The GPU.
    reports : Reports
        Who is told.
    most_processes : int
        At a time.
    shared : bool
        Whether other runs write there: then a stack is claimed first, and left to who has it.
    patience_s : float
        How long to wait, in seconds, when others hold the memory that one organism needs.

    Raises
    ------
    DataError
        If the card has too little memory for one organism, or an organism brings down every
        process that trains it.
    """
    if not specs:
        return
    run = _Run(list(specs), storage, parts, card, reports, most_processes, shared, patience_s)
    with processes() as context:
        try:
            run.all(context)
        finally:
            run.end()


def _kind(spec: OrganismSpec) -> Any:
    """Return what the memory of an organism depends on, its rule left out."""
    chosen = (lasting_settings(spec), spec.settings.get("task"))
    return spec.architecture, spec.task, spec.batch_size, spec.checkpoints, repr(chosen)


@dataclass(eq=False)
class _Task:
    """Organisms that may train as one stack.

    Parameters
    ----------
    specs : list of OrganismSpec
        All of them.
    most : int
        Of them at a time, for want of memory.
    alone : bool
        Whether nothing is to train beside it.
    tries : int
        How often it failed alone.
    """

    specs: list[OrganismSpec]
    most: int = MANY
    alone: bool = False
    tries: int = 0


@dataclass(eq=False)
class _Worker:
    """A process, what it is training, what it is expected to hold and says that it holds.

    Of its stack it also knows how much the estimate was raised when it began, and how many others
    trained beside it at most.
    """

    process: Any
    line: Any
    task: _Task | None = None
    promised: int = 0
    raised: float = 1.0
    beside: int = 0
    used: int = 0
    share: float = 0.0
    left: list[OrganismSpec] = field(default_factory=list)


class _Run:
    """One run: what waits, what trains, and what was learned of the memory it takes."""

    def __init__(
        self,
        specs: list[OrganismSpec],
        storage: Storage,
        parts: FinishedOrganisms,
        card: Card,
        reports: Reports,
        most_processes: int,
        shared: bool,
        patience_s: float,
    ) -> None:
        self.storage, self.parts, self.card, self.reports = storage, parts, card, reports
        self.shared, self.patience_s = shared, patience_s
        groups: dict[Any, list[OrganismSpec]] = {}
        for spec in specs:
            groups.setdefault(stack_key(spec), []).append(spec)
        self.work = work_of(specs)
        self.all_work = sum(self.work.values())
        self.done_work = 0.0
        # The longest first, or it would be left over at the end with nothing beside it.
        ordered = sorted(groups.values(), key=lambda group: -self.work[group[0].hash])
        self.waiting = [_Task(group) for group in ordered]
        self.size = max(FEW, -(-len(specs) // most_processes))
        stacks = sum(-(-len(group) // self.size) for group in ordered)
        self.most_processes = self.limit = min(most_processes, stacks)
        self.since_trouble = 0
        self.workers: list[_Worker] = []
        self.expected: dict[Any, int] = {}
        self.too_low: dict[Any, float] = {}
        self.measured: dict[Any, float] = {}
        self.started = False
        self.wanting_since: float | None = None

    # What is asked of the card.

    def rehearsed(self, specs: list[OrganismSpec]) -> int:
        """Return what the card says that a process holds that trains these."""
        key = (_kind(specs[0]), len(specs), frozenset(s.rule for s in specs))
        if key not in self.expected:
            self.expected[key] = self.card.stack_bytes(specs, self.storage)
        return self.expected[key]

    def known(self, specs: list[OrganismSpec]) -> int:
        """Return what they hold as far as it is known: as rehearsed, corrected by measurement."""
        return round(self.rehearsed(specs) * self.measured.get(_kind(specs[0]), 1.0))

    def needs(self, specs: list[OrganismSpec]) -> int:
        """Return what must be free for them: more than is known where memory ran out."""
        return round(self.rehearsed(specs) * self.too_low.get(_kind(specs[0]), 1.0))

    def budget(self) -> int:
        """Return the memory that is ours: what our processes hold, and most of what is free."""
        return round(SHARE_OF_FREE * (self.card.free_bytes() + sum(w.used for w in self.workers)))

    def available(self, budget: int) -> int:
        """Return what of it is neither held nor promised, but for what the next to train holds."""
        idle = sorted(w.used for w in self.workers if w.task is None)
        return budget - sum(max(w.promised, w.used) for w in self.busy) - sum(idle[:-1])

    def fitting(self, specs: list[OrganismSpec], bytes_: int) -> int:
        """Return how many of these fit, 0 if not one does."""
        whole = self.needs(specs)
        if whole <= bytes_:
            return len(specs)
        one = self.needs(specs[:1])
        if one > bytes_:
            return 0
        each = max(1.0, (whole - one) / (len(specs) - 1))
        count = min(len(specs) - 1, 1 + int((bytes_ - one) / each))
        while count > 1 and self.needs(specs[:count]) > bytes_:
            count -= 1
        return count

    # The run.

    def all(self, context: Any) -> None:
        """Train everything."""
        for _ in range(self.limit):
            self.hire(context)
        while self.waiting or self.busy:
            self.hand_out(context)
            self.listen()

    @property
    def busy(self) -> list[_Worker]:
        return [w for w in self.workers if w.task is not None]

    def hire(self, context: Any) -> None:
        """Start a process."""
        mine, theirs = context.Pipe()
        with interrupts_later():
            process = context.Process(
                target=_work,
                args=(theirs, self.storage, self.parts, self.card, self.shared, Inherited.now()),
                daemon=True,
            )
            process.start()
        theirs.close()
        self.workers.append(_Worker(process, mine))

    def hand_out(self, context: Any) -> None:
        """Start what fits."""
        while self.waiting and len(self.busy) < self.limit:
            task = self.waiting[0]
            if any(w.task is not None and w.task.alone for w in self.workers):
                return
            if task.alone and self.busy:
                return
            budget = self.budget()
            count = self.count(task, budget)
            if not count:
                if self.busy:
                    return
                if self.workers:
                    # The contexts of idle processes are memory, too.
                    self.dismiss()
                    continue
                self.wanting(task)
                return
            self.wanting_since = None
            self.waiting.pop(0)
            if count < len(task.specs):
                self.waiting.insert(0, _Task(task.specs[count:], task.most, task.alone))
            if all(w.task is not None for w in self.workers):
                self.hire(context)
            worker = next(w for w in self.workers if w.task is None)
            worker.task = _Task(task.specs[:count], task.most, task.alone, task.tries)
            worker.left = list(worker.task.specs)
            worker.promised, worker.share = self.needs(worker.task.specs), 0.0
            worker.raised, worker.beside = self.too_low.get(_kind(task.specs[0]), 1.0), 0
            for each in self.busy:
                each.beside = max(each.beside, len(self.busy) - 1)
            self.started = True
            with suppress(OSError):  # one that has died is heard of
                worker.line.send(worker.task.specs)
        if not self.waiting or len(self.workers) > self.limit:
            self.dismiss()

    def count(self, task: _Task, budget: int) -> int:
        """Return how many of a task's organisms to start now."""
        specs = task.specs[: min(task.most, self.size)]
        # Even stacks: the last one is not left with a few.
        number = -(-len(task.specs) // len(specs))
        specs = specs[: -(-len(task.specs) // number)]
        available = self.available(budget)
        fits = self.fitting(specs, min(available, budget // self.limit))
        few = specs[: min(FEW, len(specs))]
        if fits < len(few):
            # Rather fewer processes than small stacks; with nothing beside it, whatever fits.
            fits = self.fitting(few, available)
            if fits < len(few) and self.busy:
                return 0
        if not fits and not self.workers and self.known(specs[:1]) <= available:
            # The estimate was raised by a guess, and others may have held what was missing: one
            # organism, with nothing beside it, tells.
            return 1
        return fits

    def wanting(self, task: _Task) -> None:
        """Wait for memory that other processes hold, or say that there is too little."""
        now = time.monotonic()
        never = self.known(task.specs[:1]) > SHARE_OF_FREE * self.card.total_bytes()
        if self.wanting_since is None:
            self.wanting_since = now
            if self.started and not never:
                self.reports.note(
                    f"{self.lacking(task)}; another process seems to hold the rest. Waiting "
                    f"for it, {self.patience_s:.0f} s at most. What is finished is kept"
                )
        if never or not self.started or now - self.wanting_since >= self.patience_s:
            raise DataError(
                f"{self.lacking(task)}. Wait for other processes on it to end, or take a smaller "
                "batch_size or width, or --device cpu; finished organisms are kept"
            )
        time.sleep(min(LOOK_SECONDS, self.patience_s))

    def lacking(self, task: _Task) -> str:
        spec = task.specs[0]
        return (
            f"the GPU {self.card.name} has {_gb(self.card.free_bytes())} of "
            f"{_gb(self.card.total_bytes())} free; one organism ({spec.architecture} on "
            f"{spec.task}, batch {spec.batch_size}) needs about "
            f"{_gb(self.known(task.specs[:1]) / SHARE_OF_FREE)}"
        )

    def listen(self) -> None:
        """Take what processes say, for a while."""
        lines = {w.line: w for w in self.workers}
        for line in connection.wait(list(lines), LOOK_SECONDS) if lines else ():
            worker = lines[line]
            try:
                word, *said = worker.line.recv()
            except (EOFError, OSError):
                self.died(worker)
                continue
            getattr(self, f"on_{word}")(worker, *said)

    def on_holds(self, worker: _Worker, used: int) -> None:
        """Take what a process holds before it trains."""
        worker.used = used

    def on_checkpoint(self, worker: _Worker, share: float, used: int) -> None:
        """Take how far a process has come."""
        worker.share, worker.used = share, used
        self.tell()

    def on_written(self, worker: _Worker, spec_hash: str, diverged: bool) -> None:
        """Take that a process has written an organism."""
        spec = next(s for s in worker.left if s.hash == spec_hash)
        worker.left.remove(spec)
        self.done_work += self.work[spec.hash]
        self.reports.finished(spec, diverged)
        self.tell()

    def on_done(self, worker: _Worker, used: int, most: int) -> None:
        """Take that a process has finished its stack, and what it held."""
        assert worker.task is not None
        # What another run has claimed is its work.
        self.done_work += sum(self.work[s.hash] for s in worker.left)
        kind = _kind(worker.task.specs[0])
        if most:
            took = most / self.rehearsed(worker.task.specs)
            self.measured[kind] = max(took, self.measured.get(kind, LEAST))
            self.too_low[kind] = self.measured[kind]
        worker.task, worker.left, worker.promised, worker.used = None, [], 0, used
        self.since_trouble += 1
        if self.since_trouble >= self.limit and self.limit < self.most_processes:
            self.limit += 1
            self.since_trouble = 0

    def on_full(self, worker: _Worker) -> None:
        """Go on after a process ran out of memory; it ends, so that all it held is free.

        Stacks that trained beside each other run out together, and may have one cause. So what
        follows goes by what each of them began with, and comes once.
        """
        task, beside = worker.task, worker.beside
        self.leave(worker)
        self.since_trouble = 0
        if task is None:
            self.limit = max(1, min(self.limit - 1, len(self.busy)))
            return
        self.limit = max(1, min(self.limit, beside))
        left = self.not_written(worker)
        if not left:
            self.raise_estimate(worker)
            return
        if len(left) > 1:
            self.raise_estimate(worker)
            half = -(-len(left) // 2)
            self.reports.note(
                f"the GPU's memory ran out with {len(left)} organisms in a stack and {beside} "
                f"stacks beside it; going on with halves, and {self.limit} at a time"
            )
            self.waiting.insert(0, _Task(left, half))
            return
        alone = task.alone or not beside
        if not alone:
            self.raise_estimate(worker)
        elif task.tries + 1 >= TRIES:
            raise DataError(
                f"the GPU has too little memory: {self.lacking(task)}, and it ran out {TRIES} "
                "times with nothing of this run beside it. Finished organisms are kept; take a "
                "smaller batch_size or width, or --device cpu"
            )
        # Of one alone, another process may have taken it; what is asked for next must be free.
        self.waiting.insert(0, _Task(left, 1, alone=True, tries=task.tries + alone))

    def raise_estimate(self, worker: _Worker) -> None:
        """Expect more of a stack's kind than was expected when it began; once, if several fail."""
        assert worker.task is not None
        kind = _kind(worker.task.specs[0])
        self.too_low[kind] = max(self.too_low.get(kind, 1.0), WORSE * worker.raised)

    def on_failed(self, worker: _Worker, error: BaseException) -> None:
        """Raise what a process failed with."""
        raise error

    def died(self, worker: _Worker) -> None:
        """Go on after a process was killed or crashed."""
        task = worker.task
        self.leave(worker)
        if task is None:
            return
        left = self.not_written(worker)
        if not left:
            return
        tries = task.tries + (len(left) == 1)
        if tries >= TRIES:
            spec = left[0]
            raise DataError(
                f"organism {spec.hash} ({spec.architecture} on {spec.task}) brought down "
                f"{TRIES} processes that trained it, perhaps for lack of the machine's memory. "
                "Finished organisms are kept; run the same command again"
            )
        self.reports.note("a worker process died; what it was training is trained again")
        self.waiting.insert(0, _Task(left, -(-len(left) // 2), task.alone, tries))

    def not_written(self, worker: _Worker) -> list[OrganismSpec]:
        """Return what a process that is gone has left to train; what it wrote is told of."""
        left = []
        for spec in worker.left:
            if self.parts.holds(spec):
                meta, _ = read_part(self.parts.file(spec))
                self.done_work += self.work[spec.hash]
                self.reports.finished(spec, bool(meta["diverged"]))
            else:
                left.append(spec)
        return left

    def tell(self) -> None:
        """Tell how much of the work is done."""
        begun = sum(w.share * sum(self.work[s.hash] for s in w.left) for w in self.busy)
        self.reports.progress(min(1.0, (self.done_work + begun) / self.all_work))

    def dismiss(self) -> None:
        """Let idle processes end."""
        for worker in [w for w in self.workers if w.task is None]:
            with suppress(OSError):
                worker.line.send(None)
            self.leave(worker)

    def leave(self, worker: _Worker) -> None:
        """Wait for a process that ends, so that its memory is free."""
        self.workers.remove(worker)
        worker.process.join(LOOK_SECONDS * 20)
        worker.process.kill()
        worker.process.join()
        worker.line.close()

    def end(self) -> None:
        """Leave no process behind; what is in training is given up."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()


def _gb(bytes_: float) -> str:
    return f"{bytes_ / 1e9:.1f} GB"


# What goes on in a process that trains.


def _work(
    line: Any,
    storage: Storage,
    parts: FinishedOrganisms,
    card: Card,
    shared: bool,
    inherited: Inherited,
) -> None:
    """Train one stack after the other, as told."""
    inherited.take()
    with suppress(EOFError, OSError):
        try:
            line.send(("holds", card.used_bytes()))
            while (specs := line.recv()) is not None:
                _train(line, specs, storage, parts, card, shared)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except BaseException as error:
            line.send(("full",) if is_out_of_memory(error) else ("failed", _sendable(error)))


def _train(
    line: Any,
    specs: list[OrganismSpec],
    storage: Storage,
    parts: FinishedOrganisms,
    card: Card,
    shared: bool,
) -> None:
    most = 0

    def came_to(checkpoint: int) -> None:
        nonlocal most
        most = max(most, card.used_bytes())
        line.send(("checkpoint", checkpoint / (specs[0].checkpoints - 1), most))

    with parts.claim(specs) if shared else nullcontext(True) as mine:
        # Other shards may have packed the cohort, and cleared its parts, before this was claimed.
        missing = parts.missing(specs) if mine and not parts.out.exists() else []
        if missing:
            for trained in card.train(missing, storage, came_to):
                parts.write(trained.spec, part_bytes(trained, device=card.name))
                line.send(("written", trained.spec.hash, trained.diverged))
    card.release()
    whole = len(missing) == len(specs)
    line.send(("done", card.used_bytes(), most if whole else 0))


def _sendable(error: BaseException) -> BaseException:
    """Return an error without what it held on to, or one that says the same."""
    import pickle

    error.__traceback__ = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
