"""Tuning: what is found, on what it depends, and what is written of it."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from lrplan.errors import UsageError
from lrplan.simulate.run import tune as tuning
from lrplan.simulate.run.here import train_and_write
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.search import Candidate
from lrplan.simulate.run.tune import plan, tune
from lrplan.simulate.run.tuned import COLUMNS, Found, Trial, check_statable, tuned_text
from lrplan.simulate.tasks import Data, tasks

SMALL = """
name = "small"   # of no size
[grid]
rule = ["sgdm", "information_alignment"]
architecture = "mlp"
task = ["digits", "digits_simclr"]   # of both kinds
batch_size = [32, 64, 128]
learning_rate_batch = 64
model_seed = [0, 1, 2]

[grid.learning_rate]
sgdm = [0.02, 0.05]   # guessed

[training]
epochs = 2
[architectures.mlp]
width = 8
depth = 2

[tune]
rungs = 2
candidates = 2
[tune.rules.information_alignment]
rate = [0.1, 1.0]
"""
CPU = {"workers": 1, "device": "cpu"}


@pytest.fixture
def here(monkeypatch):
    """Train in this process, as a worker does."""

    def in_this_process(stacks, storage, parts, workers, finished):
        for stack in stacks:
            train_and_write(stack, storage, parts, "cpu", False, finished)

    monkeypatch.setattr(tuning, "on_cores", in_this_process)


@pytest.fixture(scope="module")
def small():
    return parse_recipe(SMALL)


def read_table(path, delimiter="\t"):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def rows(found):
    return [repr(trial.row()) for trial in found.trials]


def test_a_search_writes_the_recipe_and_a_table_of_what_it_tried(here, small, tmp_path):
    started, trained = [], []
    found = tune(
        small,
        tmp_path / "tuned.toml",
        **CPU,
        on_start=lambda done, total: started.append((done, total)),
        on_organism=lambda spec, diverged: trained.append(spec),
    )
    # 2 + 2 + 4 + 4 candidates; two of each cell, with two seeds each, in the last rung.
    assert started == [(0, 12 + 16)]
    assert len(trained) == 28
    assert {s.batch_size for s in trained} == {64}
    assert {(s.epochs, s.checkpoints) for s in trained} == {(1, 2), (2, 2)}
    assert {s.settings["training"]["validation"] for s in trained} == {0.2}
    text = (tmp_path / "tuned.toml").read_text()
    assert text == found.text
    for comment in ("# of no size", "# of both kinds", "# guessed"):
        assert comment in text
    cells = parse_recipe(text).cells
    assert [cell.rates for cell in cells] == [f.rates for f in found.found]
    assert [cell.spec.settings["rule"] for cell in cells] == [f.settings for f in found.found]
    assert len(parse_recipe(text).specs) == len(small.specs)
    table = read_table(tmp_path / "tuned.tsv")
    assert tuple(table[0]) == COLUMNS
    assert [row["outcome"] for row in table].count("chosen") == 4 - len(found.unresolved)
    assert {row["rung"] for row in table} == {"1", "2"}
    # Of two rates each is at an end.
    ends = {(f.cell.spec.rule, f.cell.spec.task): f.edges for f in found.found if f.trial}
    assert all(edges["learning_rate"] in ("lowest", "highest") for edges in ends.values())
    assert len(found.on_edge) == len(ends) > 0
    for row in table:
        if row["outcome"] == "chosen":
            edges = ends[row["rule"], row["task"]]
            assert row["edges"] == " ".join(f"{k}={v}" for k, v in edges.items())
    assert {row["settings"] for row in table} == {"", "rate=0.1", "rate=1.0"}
    assert {row["validation_examples"] for row in table} == {"287"}
    assert {(row["rung"], row["updates"], row["seeds"]) for row in table} == {
        ("1", "17", "1"),
        ("2", "34", "2"),
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tuned.toml", "tuned.tsv"]


def test_test_data_have_no_part_in_it(here, small, tmp_path, monkeypatch):
    found = tune(small, tmp_path / "one.toml", **CPU)
    for name in ("digits", "digits_simclr"):
        task = type(tasks.get(name))

        def garbage(self, size, settings, load=task.load):
            data = load(self, size, settings)
            test, labels = np.full_like(data.test, np.nan), np.zeros_like(data.test_labels)
            return Data(data.train, data.train_labels, test, labels)

        monkeypatch.setattr(task, "load", garbage)
    assert rows(tune(small, tmp_path / "other.toml", **CPU)) == rows(found)


@pytest.mark.parametrize("after", [1, pytest.param(13, marks=pytest.mark.slow)])
def test_an_interrupted_search_goes_on_to_the_same_end(here, small, tmp_path, after):
    whole = tune(small, tmp_path / "whole.toml", **CPU)
    trained = []

    def interrupt(spec, diverged):
        trained.append(spec.hash)
        if len(trained) == after:
            raise KeyboardInterrupt

    out = tmp_path / "tuned.toml"
    with pytest.raises(KeyboardInterrupt):
        tune(small, out, **CPU, on_organism=interrupt)
    assert not out.exists()
    # As a power cut may leave it: a file without its end, and one with a temporary name.
    kept = sorted((tmp_path / "tuned.toml.partial").glob("*.npz"))
    assert len(kept) == after
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    (tmp_path / "tuned.toml.partial" / ".half").write_text("")
    planned = plan(small, out, **CPU, budget_s=0)
    assert (planned.cost.organisms, planned.cost.done) == (28, after - 1)
    again, started = [], []
    found = tune(
        small,
        out,
        **CPU,
        on_start=lambda done, total: started.append(done),
        on_organism=lambda spec, diverged: again.append(spec.hash),
    )
    assert started == [after - 1]
    assert len(again) == 28 - (after - 1)
    assert rows(found) == rows(whole)
    assert out.read_text() == whole.text
    assert not (tmp_path / "tuned.toml.partial").exists()


def test_what_all_diverges_is_named_and_keeps_its_rate(here, tmp_path):
    text = SMALL + "[tune.learning_rate]\nsgdm = [1e5, 9e5]\n"
    found = tune(parse_recipe(text), tmp_path / "tuned.toml", **CPU)
    lost = [f for f in found.found if f.cell.spec.rule == "sgdm"]
    assert [f.problem for f in lost] == ["all candidates diverged"] * 2
    assert found.unresolved[:2] == lost
    assert parse_recipe(found.text).cells[0].rates == (0.02, 0.05)
    table = [row for row in read_table(tmp_path / "tuned.tsv") if row["rule"] == "sgdm"]
    assert len(table) == 4
    assert {(r["performance"], r["loss"], r["diverged"], r["outcome"]) for r in table} == {
        ("", "", "yes", "dropped")
    }


def test_where_all_diverge_the_next_ones_take_their_place(small, tmp_path, monkeypatch):
    cell = replace(small.cells[0], spec=replace(small.cells[0].spec, epochs=9))
    recipe = replace(
        small,
        cells=(cell,),
        search=parse_recipe(
            SMALL.replace("rungs = 2", "rungs = 3")
            + "[tune.learning_rate]\nsgdm = [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
        ).search,
    )
    search = tuning._Search(recipe, tuning.FinishedOrganisms(tmp_path / "tuned.toml"))
    trained = []

    def made(cell, candidate, rung):
        rate = candidate.learning_rate
        # The higher the rate, the better, until it diverges: after long training sooner.
        diverged = rate > (9, 7, 3)[rung]
        return replace(trial(cell, rate, rate / 10, diverged=diverged), rung=rung + 1)

    monkeypatch.setattr(search, "_train", lambda specs, *_: trained.append(len(specs)))
    monkeypatch.setattr(search, "_trial", made)
    [found] = search.run("cpu", 1, tuning.Reports(lambda *_: None))
    by_rung = [
        [(t.candidate.learning_rate, t.outcome) for t in search.trials if t.rung == rung]
        for rung in (1, 2, 3)
    ]
    assert [rate for rate, _ in by_rung[0]] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert [rate for rate, outcome in by_rung[0] if outcome == "kept"] == [9, 8, 7, 6, 5, 4, 3, 2]
    assert by_rung[1] == [(7, "kept"), (8, "dropped"), (9, "dropped")]
    assert by_rung[2] == [
        *((3, "chosen"), (2, "dropped")),
        *((4, "dropped"), (5, "dropped"), (6, "dropped"), (7, "dropped")),
    ]
    assert found.trial.candidate.learning_rate == 3
    assert trained == [9, 3, 4, 4, 4]


def test_what_does_not_learn_is_not_chosen(here, tmp_path):
    text = SMALL.replace('["digits", "digits_simclr"]', '"digits"')
    text += "[tune.learning_rate]\ndefault = [1e-9, 1e-8]\n"
    found = tune(parse_recipe(text), tmp_path / "tuned.toml", **CPU)
    problem = "of 2 candidates in the last rung none learned"
    assert [f.problem for f in found.found] == [problem] * 2
    assert {row["learned"] for row in read_table(tmp_path / "tuned.tsv")} == {"no"}


def test_what_stands_there_is_not_overwritten(here, small, tmp_path):
    out = tmp_path / "tuned.toml"
    out.write_text("mine")
    with pytest.raises(UsageError, match="--out .*tuned.toml exists; nothing is overwritten"):
        tune(small, out, **CPU)
    assert out.read_text() == "mine"
    out.unlink()
    table = tmp_path / "tried.csv"
    table.write_text("mine")
    with pytest.raises(UsageError, match="--table .*tried.csv exists"):
        tune(small, out, table=table, **CPU)
    assert [p.name for p in tmp_path.iterdir()] == ["tried.csv"]
    with pytest.raises(UsageError, match="--out and --table are both"):
        tune(small, tmp_path / "tuned.tsv", **CPU)
    with pytest.raises(UsageError, match="there is no directory"):
        tune(small, tmp_path / "no" / "tuned.toml", **CPU)


def test_a_missing_directory_of_the_table_shows_before_an_interrupted_search_goes_on(
    here, small, tmp_path
):
    def interrupt(spec, diverged):
        raise KeyboardInterrupt

    out = tmp_path / "tuned.toml"
    with pytest.raises(KeyboardInterrupt):
        tune(small, out, **CPU, on_organism=interrupt)
    before = sorted(out.with_name("tuned.toml.partial").iterdir())
    with pytest.raises(UsageError, match="--table .* there is no directory"):
        tune(small, out, table=tmp_path / "no" / "tried.tsv", **CPU)
    # Nor is another file overwritten because the search had begun.
    (tmp_path / "mine.tsv").write_text("mine")
    with pytest.raises(UsageError, match="--table .*mine.tsv exists"):
        tune(small, out, table=tmp_path / "mine.tsv", **CPU)
    assert (tmp_path / "mine.tsv").read_text() == "mine"
    assert sorted(out.with_name("tuned.toml.partial").iterdir()) == before


def test_a_search_that_was_killed_at_its_very_end_ends(here, tmp_path, monkeypatch):
    recipe = parse_recipe(SMALL.replace("rungs = 2", "rungs = 1\nseeds = 1"))
    out = tmp_path / "tuned.toml"
    with monkeypatch.context() as context:
        context.setattr(tuning.FinishedOrganisms, "clear", lambda self: None)
        found = tune(recipe, out, **CPU)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("tuned.toml", "tuned.toml.partial", "tuned.tsv"),
    ]
    # What was changed meanwhile is somebody's.
    for path in (out, out.with_suffix(".tsv")):
        text = path.read_text()
        path.write_text(text + "# mine\n")
        with pytest.raises(UsageError, match=rf"{path.name} exists; nothing is overwritten"):
            tune(recipe, out, **CPU)
        assert path.read_text() == text + "# mine\n"
        path.write_text(text)
    # So is a recipe whose search has lost an organism: it is not trained for nothing.
    part = next(out.with_name("tuned.toml.partial").glob("*.npz"))
    kept = part.read_bytes()
    part.unlink()
    with pytest.raises(UsageError, match=r"tuned.toml exists; .*tuned.toml.partial holds organ"):
        tune(recipe, out, **CPU)
    part.write_bytes(kept)
    trained = []
    again = tune(recipe, out, **CPU, on_organism=lambda spec, diverged: trained.append(spec))
    assert trained == []
    assert (again.text, rows(again)) == (found.text, rows(found))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tuned.toml", "tuned.tsv"]


def test_on_a_gpu_remarks_and_the_share_of_all_work_are_told(tmp_path, monkeypatch):
    def card(specs, storage, parts, card, reports, *, most_processes):
        reports.note(f"{len(specs)} at a time")
        for stack in tuning.stacks_of(specs, storage, "cpu"):
            train_and_write(stack, storage, parts, "cpu", False, reports.finished)
            reports.progress(0.5)
        reports.progress(1.0)

    monkeypatch.setattr(tuning, "device_named", lambda device: device)
    monkeypatch.setattr(tuning.Gpu, "here", lambda: None)
    monkeypatch.setattr(tuning, "on_card", card)
    recipe = parse_recipe(SMALL.replace('["digits", "digits_simclr"]', '"digits"'))
    notes, shares = [], []
    tune(
        recipe,
        tmp_path / "tuned.toml",
        workers=1,
        device="cuda",
        on_note=notes.append,
        on_progress=shares.append,
    )
    # In the first rung 2 and 4 candidates with one seed, in the second 2 and 2 with two.
    assert notes == ["6 at a time", "8 at a time"]
    # The second trains for two epochs, the first for one.
    np.testing.assert_allclose(shares, [3 / 22, 6 / 22, 14 / 22, 1.0])


def test_the_start_of_another_search_is_refused(here, small, tmp_path):
    out = tmp_path / "tuned.toml"

    def interrupt(spec, diverged):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(small, out, **CPU, on_organism=interrupt)
    other = parse_recipe(SMALL.replace("candidates = 2", "candidates = 3"))
    for run in (lambda: tune(other, out, **CPU), lambda: plan(other, out, **CPU)):
        with pytest.raises(UsageError, match="holds the start of another recipe"):
            run()
    tune(small, out, **CPU)


def test_a_table_may_have_commas(here, tmp_path):
    recipe = parse_recipe(SMALL.replace('"information_alignment"', '"adam"'))
    tune(recipe, tmp_path / "tuned.toml", table=tmp_path / "tried.csv", **CPU)
    assert tuple(read_table(tmp_path / "tried.csv", ",")[0]) == COLUMNS


def test_training_data_that_are_too_few_are_refused(here, tmp_path, small_settings):
    text = """
[grid]
rule = "sgdm"
architecture = "resnet18"
task = "shapes"
batch_size = {}
[architectures.resnet18]
width = 4
[tasks.shapes]
train = {}
test = 30
"""
    with pytest.raises(UsageError, match="'shapes' cannot be tuned: class 0 has 4 training"):
        tune(parse_recipe(text.format(8, 40)), tmp_path / "tuned.toml", **CPU)
    told = r"validation part of 10 examples .* \(50 training examples in batches of 55\) .* smaller"
    with pytest.raises(UsageError, match=told):
        tune(parse_recipe(text.format(55, 60)), tmp_path / "tuned.toml", **CPU)
    with pytest.raises(UsageError, match=r"\(60 training examples in batches of 64\)"):
        tune(parse_recipe(text.format(64, 60)), tmp_path / "tuned.toml", **CPU)
    # One example of each of five classes: 0.2 ** 5 is no evidence.
    few = text.format(8, 60) + '[training]\nstart = "pretrained"\n'
    with pytest.raises(UsageError, match="validation part has 5 examples, 20% of them of one"):
        tune(parse_recipe(few), tmp_path / "tuned.toml", **CPU)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_counts_what_a_search_trains(small, tmp_path):
    found = plan(small, tmp_path / "tuned.toml", **CPU)
    assert found.searches == 4
    assert found.rungs == [(12, 12), (8, 16)]
    assert (found.epochs, found.remark) == ([[1], [2]], "")
    assert (found.cost.organisms, found.cost.done) == (28, 0)
    assert found.cost.work_s is not None
    assert list(tmp_path.iterdir()) == []


def test_rungs_that_would_repeat_the_next_ones_training_are_left_out(here, tmp_path):
    recipe = parse_recipe(SMALL.replace("rungs = 2", "rungs = 4").replace('"digits", ', ""))
    found = plan(recipe, tmp_path / "tuned.toml", **CPU)
    assert [len(found.rungs), found.epochs] == [2, [[1], [2]]]
    assert "2 epochs do not give 4 rungs of different lengths at eta = 3" in found.remark
    told = []
    tried = tune(recipe, tmp_path / "tuned.toml", on_note=told.append, **CPU).trials
    assert told == [found.remark]
    assert sorted({(t.rung, t.epochs) for t in tried}) == [(1, 1), (2, 2)]


def trial(cell, rate, performance, *, learned=True, diverged=False, loss=1.0, settings=()):
    return Trial(
        cell,
        Candidate(rate, dict(settings)),
        rung=2,
        epochs=2,
        updates=34,
        seeds=2,
        performance=float("nan") if diverged else performance,
        low=0.0,
        high=1.0,
        examples=400,
        loss=loss,
        diverged=diverged,
        learned=learned,
    )


@pytest.mark.parametrize(
    ("tried", "rate"),
    [
        # The standard error of 90% of 400 is 1.5%.
        ([(0.4, 0.9), (0.2, 0.89), (0.1, 0.88)], 0.2),
        ([(0.1, 0.9), (0.2, 0.89)], 0.1),
        ([(0.1, 0.9), (0.01, 0.5)], 0.1),
        # That of 100% is not zero.
        ([(0.1, 1.0), (0.05, 0.999)], 0.05),
    ],
)
def test_the_smallest_rate_within_a_standard_error_is_chosen(small, tried, rate):
    ranked = sorted((trial(small.cells[0], *t) for t in tried), key=tuning._rank)
    chosen = tuning._chosen(ranked)
    assert chosen.candidate.learning_rate == rate


def test_what_diverged_or_did_not_learn_is_ranked_last_or_left_out(small):
    cell = small.cells[0]
    tried = [
        trial(cell, 0.3, 0.0, diverged=True, learned=False),
        trial(cell, 0.1, 0.5, loss=2.0),
        trial(cell, 0.2, 0.5, loss=1.0),
        trial(cell, 0.4, 0.6, learned=False),
    ]
    ranked = sorted(tried, key=tuning._rank)
    assert [t.candidate.learning_rate for t in ranked] == [0.4, 0.2, 0.1, 0.3]
    assert tuning._chosen(ranked).candidate.learning_rate == 0.1
    assert tuning._chosen([ranked[0], ranked[-1]]) is None


def test_rates_keep_their_ratio_and_the_largest_is_the_one_found(small):
    cell = replace(small.cells[0], rates=(0.02, 0.05))
    assert Found(cell, trial(cell, 0.2, 0.9)).rates == (0.08, 0.2)
    assert Found(cell, None, "lost").rates == (0.02, 0.05)


GRIDS = """
# first
[[grid]]
rule = ["sgdm", "information_alignment"]
architecture = ["mlp", "knet4"]   # both
task = ["digits", "digits_simclr"]
learning_rate = [0.1]   # for all

[[grid]]
rule = "information_alignment"
architecture = "knet5"
task = "digits"
[grid.learning_rate]
information_alignment = { knet5 = 0.01, default = 0.02 }
[grid.training]
epochs = 7

[training]
epochs = 3   # few

[rules.information_alignment]
rate = { knet5 = 0.7, default = 0.3 }
amp = 1e-2

[tune.rules.information_alignment]
rate = [0.1, 1.0]
"""


def small_tuned(text, tmp_path):
    return tune(parse_recipe(text), tmp_path / "tuned.toml", **CPU)


TWICE = """
[[grid]]
rule = "sgdm"
architecture = "mlp"
task = "digits"
learning_rate = 0.1

[[grid]]
rule = ["adam", "sgdm"]
architecture = "mlp"
task = "digits"
model_seed = [0, 1]
learning_rate = [0.01, 0.02]
"""


def test_grids_that_tuning_would_make_one_are_refused_before_training(tmp_path):
    told = "sgdm, mlp, digits stands in the grids 1 and 2, .* differ in learning_rate alone"
    with pytest.raises(UsageError, match=told):
        small_tuned(TWICE, tmp_path)
    with pytest.raises(UsageError, match=told):
        plan(parse_recipe(TWICE), tmp_path / "tuned.toml", **CPU)
    # A setting that is searched does not keep them apart, either; one that is not does.
    one, other = (f"learning_rate = 0.1\n[grid.rules.sgdm]\nmomentum = {m}" for m in (0.8, 0.9))
    apart = TWICE.replace("learning_rate = 0.1", one).replace("learning_rate = [0.01, 0.02]", other)
    searched = apart + "[tune.rules.sgdm]\nmomentum = [0.8, 0.9]\n"
    with pytest.raises(UsageError, match="differ in learning_rate and momentum alone"):
        small_tuned(searched, tmp_path)
    assert list(tmp_path.iterdir()) == []
    for text in (apart, TWICE.replace("model_seed = [0, 1]", "model_seed = [1, 2]")):
        recipe = parse_recipe(text)
        check_statable(recipe, [recipe.search.candidates_of(c.spec) for c in recipe.cells])


def test_rates_that_would_be_one_at_three_digits_are_refused_before_training(tmp_path):
    text = SMALL.replace("[0.02, 0.05]", "[0.05, 0.05001]")
    with pytest.raises(UsageError, match="sgdm, mlp, digits of grid 1 has .*lie further apart"):
        small_tuned(text, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_listed_rate_is_stated_with_all_its_digits(small):
    cell = replace(small.cells[0], rates=(0.02, 0.05))
    assert Found(cell, trial(cell, 0.12345, 0.9)).rates == (0.0494, 0.12345)


def test_the_table_is_written_whatever_comes_of_the_recipe(here, tmp_path, monkeypatch):
    recipe = parse_recipe(SMALL.replace("rungs = 2", "rungs = 1\nseeds = 1"))

    def fails(*_):
        raise OSError("no space")

    with monkeypatch.context() as context, pytest.raises(OSError, match="no space"):
        context.setattr(tuning, "tuned_text", fails)
        tune(recipe, tmp_path / "tuned.toml", **CPU)
    table = (tmp_path / "tuned.tsv").read_text()
    assert len(read_table(tmp_path / "tuned.tsv")) == 12
    trained = []
    tune(
        recipe,
        tmp_path / "tuned.toml",
        **CPU,
        on_organism=lambda spec, diverged: trained.append(spec),
    )
    assert trained == []
    assert (tmp_path / "tuned.tsv").read_text() == table


def test_every_shape_of_recipe_states_what_was_found():
    recipe = parse_recipe(GRIDS)
    rates = iter([0.5, 0.5, 0.5, 0.5, 1.0, 2.0, 3.0, None, 0.3])
    found = []
    for cell in recipe.cells:
        rate = next(rates)
        settings = {"rate": rate / 10} if rate and cell.spec.rule != "sgdm" else {}
        tried = None if rate is None else trial(cell, rate, 0.9, settings=settings)
        found.append(Found(cell, tried, "" if tried else "lost"))
    text = tuned_text(recipe, found)
    again = parse_recipe(text)
    assert [cell.rates for cell in again.cells] == [f.rates for f in found]
    assert [cell.spec.settings["rule"] for cell in again.cells[4:]] == [
        {"rate": 0.1, "amp": 0.01},
        {"rate": 0.2, "amp": 0.01},
        {"rate": 0.3, "amp": 0.01},
        {"rate": 0.3, "amp": 0.01},  # the recipe's
        {"rate": 0.03, "amp": 0.01},
    ]
    assert [c.spec.epochs for c in again.cells] == [3] * 8 + [7]
    for line in (
        "# first",
        'architecture = ["mlp", "knet4"]   # both',
        "epochs = 3   # few",
        "[grid.learning_rate] # for all",
        "sgdm = 0.5",
        "rate = { knet5 = 0.7, default = 0.3 }",
    ):
        assert f"{line}\n" in text
    assert "\n\n[training]" in text


def test_a_recipe_that_is_tuned_twice_states_the_second_findings():
    recipe = parse_recipe(GRIDS)
    first = [Found(c, trial(c, 0.5, 0.9, settings={"rate": 0.1})) for c in recipe.cells[4:]]
    some = [Found(c, None, "lost") for c in recipe.cells[:4]]
    once = parse_recipe(tuned_text(recipe, [*some, *first]))
    second = [Found(c, trial(c, 0.25, 0.9, settings={"rate": 1.0})) for c in once.cells[4:]]
    same = [Found(c, None, "lost") for c in once.cells[:4]]
    twice = tuned_text(once, [*same, *second])
    assert {c.rates for c in parse_recipe(twice).cells[4:]} == {(0.25,)}
    assert twice.count("[grid.rules.information_alignment]") == 2
