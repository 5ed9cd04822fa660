"""Several stacks at a time on one card, whose memory is made up: the road of a GPU, on the CPU."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from lrplan import open_cohort
from lrplan.errors import DataError
from lrplan.simulate.run import on_card as module
from lrplan.simulate.run.card import Gpu
from lrplan.simulate.run.finished import FinishedOrganisms
from lrplan.simulate.run.on_card import Reports, on_card
from lrplan.simulate.run.shards import Shard
from lrplan.simulate.run.simulate import simulate

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


class Heard:
    """What a run reports."""

    def __init__(self):
        self.finished, self.shares, self.notes = [], [], []

    @property
    def reports(self):
        return Reports(
            lambda spec, diverged: self.finished.append(spec.hash),
            self.shares.append,
            self.notes.append,
        )


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that makes a card; the processes that train can import its module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from made_up_card import MadeUpCard

    folder = tmp_path / "card"
    folder.mkdir()
    return lambda **settings: MadeUpCard(str(folder), **settings)


@pytest.fixture
def parts(tiny, tmp_path):
    with FinishedOrganisms(tmp_path / "c.zarr").only_writer(tiny):
        yield FinishedOrganisms(tmp_path / "c.zarr")


@pytest.fixture
def small_stacks(monkeypatch):
    """Stacks of four at most are worth while, of two at least."""
    monkeypatch.setattr(module, "FEW", 2)


def check(tiny, parts, heard):
    """All are written and told of once, and the work is done."""
    assert not parts.missing(tiny.specs)
    assert sorted(heard.finished) == sorted(s.hash for s in tiny.specs)
    assert heard.shares[-1] == 1
    assert heard.shares == sorted(heard.shares)


def train(tiny, parts, card, heard, **settings):
    on_card(tiny.specs, tiny.storage, parts, card, heard.reports, **settings)


def test_stacks_train_beside_each_other_as_memory_allows(tiny, parts, make, heard, small_stacks):
    card = make(total=2000, seconds=0.5)
    train(tiny, parts, card, heard, most_processes=2)
    check(tiny, parts, heard)
    assert [size for size, _ in card.began()] == [4, 4]
    assert max(processes for _, processes in card.began()) == 2
    assert not heard.notes


def test_what_was_promised_too_low_is_halved_and_fewer_train_beside_it(
    tiny, parts, make, heard, small_stacks
):
    """Each stack takes four times what was promised: two at a time do not fit, nor one whole."""
    card = make(total=1000, each=240, promised=60, seconds=0.5)
    train(tiny, parts, card, heard, most_processes=2)
    check(tiny, parts, heard)
    sizes = [size for size, _ in card.began()]
    assert sizes[0] == 4
    assert 1 <= min(sizes) < 4
    assert "memory ran out with 4 organisms in a stack" in heard.notes[0]


def test_what_a_stack_took_corrects_what_the_next_is_promised(tiny, parts, make, heard):
    card = make(total=1000, each=50, promised=100)
    run = module._Run(
        tiny.specs, tiny.storage, parts, card, heard.reports, 1, shared=False, patience_s=1
    )
    stack = run.waiting[0].specs
    assert run.needs(stack) == 410
    worker = module._Worker(None, None, task=module._Task(stack), left=[])
    run.workers.append(worker)
    run.on_done(worker, used=10, most=210)
    assert run.needs(stack) == 210
    worker.task = module._Task(stack)
    run.on_done(worker, used=10, most=820)
    assert run.needs(stack) == 820


@pytest.fixture
def crowded(tiny, parts, make, heard):
    """Return a function that makes a run whose eight organisms train beside each other."""

    class Process:
        def join(self, timeout=None):
            pass

        def kill(self):
            pass

    class Line:
        def send(self, what):
            pass

        def close(self):
            pass

    def run_on(card):
        run = module._Run(
            tiny.specs, tiny.storage, parts, card, heard.reports, 8, shared=False, patience_s=0.1
        )
        run.waiting = [module._Task([spec]) for spec in tiny.specs]
        run.limit = run.most_processes = 8
        run.hire = lambda context: run.workers.append(module._Worker(Process(), Line()))
        run.hand_out(None)
        assert len(run.busy) == 8
        return run

    return run_on


def test_stacks_that_run_out_together_raise_the_estimate_once(tiny, make, heard, crowded):
    """Another user takes nearly everything; each of eight stacks is told that memory ran out."""
    card = make(total=2000)
    run = crowded(card)
    one, before = list(tiny.specs[:1]), run.needs(tiny.specs[:1])
    card.taken_by_another(1900)
    for worker in list(run.workers):
        run.on_full(worker)
    assert run.needs(one) == round(module.WORSE * before)
    assert run.limit == 7
    # None of them was alone when it failed.
    assert [task.tries for task in run.waiting] == [0] * 8
    card.taken_by_another(0)
    run.hand_out(None)
    [worker] = run.busy
    assert worker.task.alone


def test_a_stack_that_began_with_a_raised_estimate_raises_it_again(tiny, make, crowded):
    run = crowded(make(total=2000))
    before = run.needs(tiny.specs[:1])
    first, second, *_ = list(run.workers)
    run.on_full(first)
    second.raised = module.WORSE
    run.on_full(second)
    assert run.needs(tiny.specs[:1]) == round(module.WORSE**2 * before)


def test_a_raised_estimate_never_ends_a_run_that_what_is_known_allows(tiny, make, heard, crowded):
    """The guess exceeds the card: one organism is tried, and what it took is the estimate."""
    card = make(total=2000, each=100, promised=100)
    run = crowded(card)
    for worker in list(run.workers):
        run.on_full(worker)
    kind = module._kind(tiny.specs[0])
    run.waiting = [module._Task(list(tiny.specs))]
    for each in tiny.specs:
        run.too_low[module._kind(each)] = 100.0
    assert run.needs(tiny.specs[:1]) > card.total
    run.hand_out(None)
    [worker] = run.busy
    assert len(worker.task.specs) == 1
    run.on_done(worker, used=10, most=110)
    assert run.too_low[kind] == 1
    run.hand_out(None)
    assert sum(len(w.task.specs) for w in run.busy) == 7


def test_what_others_hold_is_waited_for_by_what_is_known_to_be_needed(tiny, make, heard, crowded):
    card = make(total=4 * 10**9, promised=10**8, context=0)
    run = crowded(card)
    for worker in list(run.workers):
        run.on_full(worker)
    for each in tiny.specs:
        run.too_low[module._kind(each)] = 100.0
    card.taken_by_another(4 * 10**9)
    run.hand_out(None)
    assert "needs about 0.1 GB; another process seems to hold the rest" in heard.notes[-1]


@pytest.mark.slow
def test_another_users_process_may_take_memory_in_the_middle(
    tiny, parts, make, heard, small_stacks
):
    """While the first stack trains, another user takes nearly everything, for a while."""
    card = make(total=1000, promised=220, seconds=1.0)
    end = time.monotonic() + 120

    def wait_for(condition):
        while not condition() and time.monotonic() < end:
            time.sleep(0.01)

    def take_and_give_back():
        wait_for(card.began)
        card.taken_by_another(950)
        wait_for(lambda: heard.notes)
        card.taken_by_another(0)

    other = threading.Thread(target=take_and_give_back, daemon=True)
    other.start()
    train(tiny, parts, card, heard, most_processes=1, patience_s=120)
    other.join()
    check(tiny, parts, heard)
    assert any("another process seems to hold the rest" in note for note in heard.notes)


def test_memory_that_another_user_keeps_ends_the_run_and_what_is_finished_is_kept(
    tiny, parts, make, heard, small_stacks
):
    card = make(total=1000, promised=220)
    run = module._Run(tiny.specs, tiny.storage, parts, card, heard.reports, 1, False, 0.1)
    run.started = True
    card.taken_by_another(900)
    run.hand_out(None)
    assert "Waiting for it, 0 s at most" in heard.notes[0]
    with pytest.raises(DataError, match="0.0 GB of 0.0 GB free.*finished organisms are kept"):
        run.hand_out(None)


def test_too_little_memory_for_one_organism_is_refused_with_figures(tiny, parts, make, heard):
    card = make(total=4 * 10**9, promised=10**9, context=10**9)
    card.taken_by_another(3 * 10**9)
    message = (
        r"the GPU made-up card has 1\.0 GB of 4\.0 GB free; one organism \(mlp on digits.*, batch "
        r"64\) needs about 2\.2 GB"
    )
    with pytest.raises(DataError, match=message):
        train(tiny, parts, card, heard, most_processes=1)
    assert len(parts.missing(tiny.specs)) == 8
    assert not card.began()


def test_one_organism_that_runs_out_of_memory_alone_is_tried_again_and_named(
    tiny, parts, make, heard
):
    card = make(total=1000, each=2000, promised=10)
    run = [tiny.specs[0]]
    with pytest.raises(DataError, match=r"ran out 3 times .*take a smaller batch_size"):
        on_card(run, tiny.storage, parts, card, heard.reports)
    assert [size for size, _ in card.began()] == [1, 1, 1]


def test_a_process_that_is_killed_costs_what_it_was_training(
    tiny, parts, make, heard, small_stacks
):
    card = make(total=2000)
    (Path(card.folder) / "kill-one").touch()
    train(tiny, parts, card, heard, most_processes=2)
    check(tiny, parts, heard)
    assert heard.notes == ["a worker process died; what it was training is trained again"]


def test_an_organism_that_brings_down_every_process_is_named(tiny, parts, make, heard):
    card = make(total=2000)
    (Path(card.folder) / f"fatal-{tiny.specs[0].hash}").touch()
    with pytest.raises(DataError, match=f"organism {tiny.specs[0].hash} .*brought down 3 proc"):
        on_card(tiny.specs[:1], tiny.storage, parts, card, heard.reports)


def test_what_is_written_is_not_trained_again_by_the_next_run(
    tiny, parts, make, heard, small_stacks
):
    """The first run is stopped after its first stack, as by Ctrl-C."""
    card = make(total=500)

    class Stop(Exception):
        pass

    def stop(spec, diverged):
        heard.finished.append(spec.hash)
        if len(heard.finished) == 4:
            raise Stop

    with pytest.raises(Stop):
        on_card(tiny.specs, tiny.storage, parts, card, Reports(stop), most_processes=1)
    written = [s for s in tiny.specs if parts.holds(s)]
    assert len(written) >= 4
    left = parts.missing(tiny.specs)
    again = Heard()
    on_card(left, tiny.storage, parts, card, again.reports, most_processes=1)
    assert sorted(again.finished) == sorted(s.hash for s in left)
    assert not parts.missing(tiny.specs)


def test_a_fault_of_training_comes_through_and_no_process_is_left(tiny, parts, make, heard):
    card = make(total=2000)
    (Path(card.folder) / "fault").touch()
    with pytest.raises(RuntimeError, match="a fault"):
        train(tiny, parts, card, heard, most_processes=1)
    assert card.free_bytes() == 2000


@pytest.mark.parametrize("shards", [0, 2])
def test_a_recipe_runs_on_a_card_to_its_cohort(tiny, make, tmp_path, monkeypatch, shards):
    """The whole road of `lrplan simulate --device cuda`, alone and in shards, but for the card."""
    card = make(total=2000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Gpu, "here", lambda: card)
    out = tmp_path / "tiny.zarr"
    told, shares = [], []
    for index in range(1, max(shards, 1) + 1):
        simulate(
            tiny,
            out,
            device="cuda",
            workers=2,
            shard=Shard(index, shards) if shards else None,
            on_organism=lambda spec, diverged: told.append(spec.hash),
            on_progress=shares.append,
        )
    assert open_cohort(out).organism_ids == [s.hash for s in tiny.specs]
    assert sorted(told) == sorted(s.hash for s in tiny.specs)
    assert shares[-1] == 1
