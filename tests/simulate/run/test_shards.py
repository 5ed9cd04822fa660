"""Shards of a job array: processes that know nothing of each other and write one cohort."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lrplan.errors import UsageError
from lrplan.simulate.run.finished import FinishedOrganisms
from lrplan.simulate.run.here import train_and_write
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.shards import Shard
from lrplan.simulate.run.simulate import Outcome, simulate
from lrplan.simulate.run.work import stacks_here, stacks_of

SCRIPT = """
import sys
from pathlib import Path
from lrplan.errors import LrplanError
from lrplan.simulate.run.recipe import read_recipe
from lrplan.simulate.run.simulate import simulate
from lrplan.simulate.run.shards import Shard
if __name__ == "__main__":
    trained = []
    try:
        outcome = simulate(
            read_recipe(Path(sys.argv[1])), Path(sys.argv[2]), workers=1, device="cpu",
            shard=Shard.parse(sys.argv[3]), on_organism=lambda spec, diverged: trained.append(spec),
        )
    except LrplanError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(outcome.missing, *(spec.hash for spec in trained))
"""


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """The cohort of `tiny`, made in one go."""
    out = tmp_path_factory.mktemp("whole") / "tiny.zarr"
    simulate(tiny, out, workers=1, device="cpu")
    return out


@pytest.fixture
def start(tmp_path, tiny_text):
    """Return a function that starts a shard in a process of its own."""
    (tmp_path / "tiny.toml").write_text(tiny_text)
    (tmp_path / "shard.py").write_text(SCRIPT)
    running = []

    def start(shard: str) -> subprocess.Popen[str]:
        line = [sys.executable, str(tmp_path / "shard.py"), str(tmp_path / "tiny.toml")]
        process = subprocess.Popen(
            [*line, str(tmp_path / "tiny.zarr"), shard],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("text", ["1/8", " 8/8 ", "3/8"])
def test_a_shard_is_read(text):
    shard = Shard.parse(text)
    assert (f"{shard.index}/{shard.count}", shard.count) == (text.strip(), 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/4", "shard 0/4 does not exist; .* expected 1/4 to 4/4"),
        ("5/4", "shard 5/4 does not exist"),
        ("1/0", "shard 1/0 does not exist"),
        ("-1/4", "shard is '-1/4'; expected INDEX/COUNT, counted from 1, such as 3/8"),
        ("4", "shard is '4'"),
        ("1/", "shard is '1/'"),
        ("1/2/3", "shard is '1/2/3'"),
        ("a/b", "shard is 'a/b'"),
        ("1.0/2", "shard is '1.0/2'"),
        ("", "shard is ''"),
    ],
)
def test_a_shard_that_does_not_exist_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        Shard.parse(text)


@pytest.mark.parametrize(("index", "count"), [(True, 2), (1, 2.0), ("1", 2)])
def test_a_shard_of_the_wrong_type_is_refused(index, count):
    with pytest.raises(UsageError, match="expected a whole number"):
        Shard(index, count)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_divide_the_recipe(tiny, count):
    stacks = stacks_of(tiny.specs, tiny.storage, "cpu")
    dealt = [stack for i in range(count) for stack in Shard(i + 1, count).of(stacks)]
    assert sorted(s.hash for stack in dealt for s in stack) == sorted(s.hash for s in tiny.specs)
    assert len(dealt) == len(stacks)


def test_gpu_shards_leave_nobody_out_whatever_memory_is_free(tiny, monkeypatch):
    """Two machines of one array with GPUs of different size cut the same shares."""
    shares = []
    for index, free in ((1, 10**6), (2, 10**10)):
        monkeypatch.setattr(
            "lrplan.simulate.run.stacks._free_bytes", lambda device, free=free: free
        )
        shares.append(stacks_here(tiny.specs, tiny.storage, "cuda", Shard(index, 2)))
    dealt = [s.hash for share in shares for stack in share for s in stack]
    assert sorted(dealt) == sorted(s.hash for s in tiny.specs)
    assert all(shares)


def test_the_last_shard_packs(tiny, whole, tmp_path, assert_same_cohort):
    out = tmp_path / "tiny.zarr"
    trained: list[str] = []

    def run(index):
        return simulate(
            tiny,
            out,
            workers=1,
            device="cpu",
            shard=Shard(index, 2),
            on_organism=lambda spec, diverged: trained.append(spec.hash),
        )

    missing = 8 - sum(map(len, Shard(2, 2).of(stacks_of(tiny.specs, tiny.storage, "cpu"))))
    assert run(2) == Outcome(new=True, missing=missing)
    assert run(2) == Outcome(new=True, missing=missing)
    assert not out.exists()
    assert run(1) == Outcome(new=True, missing=0)
    assert sorted(trained) == sorted(s.hash for s in tiny.specs)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.zarr"]
    assert_same_cohort(out, whole)
    assert run(2) == Outcome(new=False, missing=0)


@pytest.mark.slow
def test_two_shards_with_the_same_organisms_train_each_once(
    tiny, whole, start, tmp_path, assert_same_cohort
):
    """Shard 1/1 and shards 1/2 and 2/2, all at the same time: each organism is in two lists."""
    processes = [start(shard) for shard in ("1/1", "1/2", "2/2")]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    trained = [spec_hash for out, _ in said for spec_hash in out.split()[1:]]
    assert sorted(trained) == sorted(s.hash for s in tiny.specs)
    assert "0" in [out.split()[0] for out, _ in said]
    assert not (tmp_path / "tiny.zarr.partial").exists()
    assert_same_cohort(tmp_path / "tiny.zarr", whole)


@pytest.mark.slow
def test_a_killed_shard_goes_on_when_it_is_run_again(
    tiny, whole, start, tmp_path, assert_same_cohort
):
    first = start("1/1")
    partial = tmp_path / "tiny.zarr.partial"
    end = time.monotonic() + 120
    while not list(partial.glob("*.npz")) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    kept = {p.name: p.stat().st_mtime_ns for p in partial.glob("*.npz")}
    assert 1 <= len(kept) < 8
    again = start("1/1")
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    missing, *trained = out.split()
    assert (missing, len(trained)) == ("0", 8 - len(kept))
    assert not {name.removesuffix(".npz") for name in kept} & set(trained)
    assert_same_cohort(tmp_path / "tiny.zarr", whole)


def test_a_stack_that_another_process_trains_is_left_to_it(tiny, parts, tmp_path):
    stack = list(tiny.specs[:2])
    held = FinishedOrganisms(tmp_path / "tiny.zarr")
    with held.shard(tiny, 1, 2):
        with held.claim(stack[1:]) as mine:
            assert mine
            assert train_and_write(stack, tiny.storage, held, "cpu", True) == []
        # What is claimed no more is trained; what lies there half-written goes.
        leftover = held.path / f".{stack[0].hash}.npz.elsewhere-1"
        leftover.write_bytes(b"half")
        done = train_and_write(stack, tiny.storage, held, "cpu", True)
        assert [spec_hash for spec_hash, _ in done] == [s.hash for s in stack]
        assert not leftover.exists()
        assert train_and_write(stack, tiny.storage, held, "cpu", True) == []


def test_a_shard_and_a_whole_run_exclude_each_other(tiny, tiny_text, tmp_path):
    out = tmp_path / "tiny.zarr"
    held = FinishedOrganisms(out)
    with held.shard(tiny, 2, 3):
        with pytest.raises(UsageError, match="shard 2/3 is writing .*--shard"):
            simulate(tiny, out, device="cpu")
        with pytest.raises(UsageError, match="shard 2/3 of .* is running already"):
            simulate(tiny, out, device="cpu", shard=Shard(2, 3))
        other = parse_recipe(tiny_text.replace("[0, 1]", "[2, 3]"))
        with pytest.raises(UsageError, match="start of another recipe"):
            simulate(other, out, device="cpu", shard=Shard(1, 3))


def test_a_shard_that_comes_after_the_end_finds_the_cohort(tiny, parts, tmp_path):
    """It asked whether the cohort is there just before another shard put it in place."""
    out = tmp_path / "tiny.zarr"
    late = FinishedOrganisms(out)
    out.mkdir()
    with late.shard(tiny, 1, 2) as ours:
        assert not ours
    with late.only_writer(tiny) as ours:
        assert not ours
    assert late.pack_if_whole(tiny) == 0
    assert not list(Path(late.path).glob("*.npz"))
