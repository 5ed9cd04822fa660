"""Runs on a real Dask scheduler and workers, which are killed: nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lrplan.errors import DataError, UsageError
from lrplan.simulate.run import cluster as cluster_module
from lrplan.simulate.run.cluster import Assignment, train_on_worker
from lrplan.simulate.run.pack import read_part
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.shards import Shard
from lrplan.simulate.run.simulate import simulate

distributed = pytest.importorskip("distributed")

WORKER_DIES = """
import os, signal
from lrplan.simulate.run import work
def train(specs, storage, device):
    os.kill(os.getpid(), signal.SIGKILL)
work.train = train
"""


class Cluster:
    """A Dask scheduler and its workers, each a process of its own on loopback."""

    def __init__(self, place: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.place = place
        self.running: list[subprocess.Popen[bytes]] = []

    def _start(self, *line: str) -> subprocess.Popen[bytes]:
        with open(self.place / "dask.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *line, "--no-dashboard"],
                stdout=log,
                stderr=log,
                cwd=self.place,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def scheduler(self) -> subprocess.Popen[bytes]:
        return self._start("scheduler", "--host", "127.0.0.1", "--port", str(self.port))

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        always = ("--host", "127.0.0.1", "--nthreads", "1", "--death-timeout", "60")
        return self._start("worker", self.address, *always, *(options or ("--no-nanny",)))

    def kill(self) -> None:
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.running.clear()


@pytest.fixture
def cluster(tmp_path):
    """A scheduler without workers."""
    made = Cluster(tmp_path)
    made.scheduler()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def several(tiny_text):
    """16 organisms in 4 stacks."""
    return parse_recipe(tiny_text.replace("[training]", "batch_size = [32, 64]\n[training]"))


@pytest.fixture(scope="module")
def here(several, tmp_path_factory):
    """The cohort of `several`, made without a cluster."""
    out = tmp_path_factory.mktemp("here") / "several.zarr"
    simulate(several, out, workers=1, device="cpu")
    return out


@pytest.mark.slow
def test_killed_workers_and_schedulers_lose_nothing_and_double_nothing(
    several, here, cluster, tmp_path, assert_same_cohort
):
    """One of two workers is killed; then the scheduler, which comes back with a new worker."""
    workers = [cluster.worker(), cluster.worker()]
    finished: Counter[str] = Counter()
    notes: list[str] = []

    def on_organism(spec, diverged):
        finished[spec.hash] += 1
        if len(finished) == 4:
            workers[0].kill()
        if len(finished) == 8:
            cluster.kill()
            cluster.scheduler()
            cluster.worker()

    out = tmp_path / "several.zarr"
    outcome = simulate(
        several,
        out,
        scheduler=cluster.address,
        patience_s=120,
        on_organism=on_organism,
        on_note=notes.append,
    )
    assert outcome.new
    assert finished == Counter({s.hash: 1 for s in several.specs})
    # How often depends on when the new scheduler answers.
    assert any("connection to the Dask scheduler is lost" in note for note in notes)
    assert sorted(p.name for p in tmp_path.glob("several*")) == ["several.zarr"]
    assert_same_cohort(out, here)


@pytest.mark.slow
def test_a_scheduler_that_stays_away_ends_the_run_and_the_next_one_goes_on(
    several, here, cluster, tmp_path, assert_same_cohort
):
    cluster.worker()
    out = tmp_path / "several.zarr"
    with pytest.raises(DataError, match="away for 2 s. Finished organisms are kept; run the same"):
        simulate(
            several,
            out,
            scheduler=cluster.address,
            patience_s=2,
            on_organism=lambda spec, diverged: cluster.kill(),
        )
    kept = list(out.with_name("several.zarr.partial").glob("*.npz"))
    assert 1 <= len(kept) < 16
    started = []
    simulate(several, out, workers=1, device="cpu", on_start=lambda *n: started.append(n))
    assert started == [(len(kept), 16)]
    assert_same_cohort(out, here)


@pytest.mark.slow
def test_64_organisms_with_a_killed_worker_equal_a_run_without(
    tiny_text, cluster, tmp_path, assert_same_cohort
):
    text = tiny_text.replace("[0, 1]", "[0, 1, 2, 3]")
    recipe = parse_recipe(text.replace("[training]", "batch_size = [24, 32, 48, 64]\n[training]"))
    assert len(recipe.specs) == 64
    victim = cluster.worker()
    cluster.worker()
    finished: Counter[str] = Counter()

    def on_organism(spec, diverged):
        finished[spec.hash] += 1
        if len(finished) == 32:
            victim.kill()

    killed, whole = tmp_path / "killed.zarr", tmp_path / "whole.zarr"
    simulate(recipe, killed, scheduler=cluster.address, on_organism=on_organism)
    assert victim.wait(timeout=10)
    assert finished == Counter({s.hash: 1 for s in recipe.specs})
    simulate(recipe, whole, scheduler=cluster.address)
    assert_same_cohort(killed, whole)


@pytest.mark.slow
def test_an_organism_that_kills_its_workers_is_named(tiny, cluster, tmp_path):
    (tmp_path / "dies.py").write_text(WORKER_DIES)
    cluster.worker("--nanny", "--preload", str(tmp_path / "dies.py"))
    out = tmp_path / "tiny.zarr"
    with pytest.raises(DataError, match="brought down several workers, perhaps for lack of memory"):
        simulate(tiny, out, scheduler=cluster.address)
    assert not out.exists()


def test_a_worker_trains_what_this_process_trains(tiny, trained, tmp_path):
    assignment = Assignment(tiny.storage, "cpu", None, cluster_module.version("lrplan"))
    [(spec_hash, diverged, content)] = train_on_worker([tiny.specs[0].to_json()], assignment)
    assert (spec_hash, diverged) == (tiny.specs[0].hash, False)
    (tmp_path / "part").write_bytes(content)
    meta, arrays = read_part(tmp_path / "part")
    assert meta["made"]["device"] == "cpu"
    assert (arrays["observables"] == trained[0].arrays["observables"]).all()


def test_a_worker_with_another_lrplan_is_refused(tiny):
    assignment = Assignment(tiny.storage, "cpu", None, "0.0.0")
    with pytest.raises(UsageError, match="a worker has lrplan .*, this process has 0.0.0; install"):
        train_on_worker([tiny.specs[0].to_json()], assignment)


def test_a_stack_that_kills_workers_is_halved(tiny):
    killed = distributed.KilledWorker("task", None, 3)
    stack = list(tiny.specs[:3])
    assert cluster_module._after_failure(distributed, killed, stack) == [stack[:2], stack[2:]]
    with pytest.raises(DataError, match=f"organism {stack[0].hash} .* brought down"):
        cluster_module._after_failure(distributed, killed, stack[:1])
    with pytest.raises(UsageError, match="a worker cannot import lrplan"):
        error = ModuleNotFoundError("No module named 'lrplan'")
        cluster_module._after_failure(distributed, error, stack)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("node1", "scheduler is 'node1'; expected an address such as tcp://"),
        ("node1:8786", "expected an address such as tcp://"),
        ("carrier://pigeon:1", "scheduler is 'carrier://pigeon:1'"),
        ("tcp://127.0.0.1:1", "no Dask scheduler answers at tcp://127.0.0.1:1 .*`dask scheduler`"),
    ],
)
def test_a_scheduler_that_is_not_there_is_a_usage_error(
    tiny, tmp_path, monkeypatch, scheduler, message
):
    monkeypatch.setattr(cluster_module, "FIRST_PATIENCE_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(UsageError) as raised:
        simulate(tiny, tmp_path / "tiny.zarr", scheduler=scheduler)
    assert re.search(message, str(raised.value)), raised.value
    assert time.monotonic() - began < 60
    assert not list(tmp_path.rglob("*.npz"))


def test_without_dask_the_message_says_what_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'lrplan[dask]'")):
        simulate(tiny, tmp_path / "tiny.zarr", scheduler="tcp://127.0.0.1:8786")


def test_a_shard_is_not_for_a_cluster(tiny, tmp_path):
    with pytest.raises(UsageError, match="leave out the scheduler or the shard"):
        simulate(tiny, tmp_path / "t", scheduler="tcp://127.0.0.1:1", shard=Shard(1, 2))


def test_a_diverged_organism_comes_back_from_a_worker(tiny):
    fast = replace(tiny.specs[0], learning_rate=1e5)
    assignment = Assignment(tiny.storage, "cpu", None, cluster_module.version("lrplan"))
    [(_, diverged, _)] = train_on_worker([fast.to_json()], assignment)
    assert diverged
