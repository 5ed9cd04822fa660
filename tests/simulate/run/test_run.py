"""Runs that are stopped, repeated, in each other's way or out of space: nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lrplan.errors import DataError, UsageError
from lrplan.simulate.run import work
from lrplan.simulate.run.finished import RECIPE as PARTS_RECIPE
from lrplan.simulate.run.finished import digest
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.simulate import simulate

SCRIPT = """
import sys
from pathlib import Path
from lrplan.errors import LrplanError
from lrplan.simulate.run.recipe import read_recipe
from lrplan.simulate.run.simulate import simulate
if __name__ == "__main__":
    try:
        simulate(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]), workers=2, device="cpu")
    except LrplanError as error:
        sys.exit(f"{type(error).__name__}: {error}")
"""
PATIENCE_SECONDS = 120

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def with_parts(out: Path, parts: list[Path]) -> Path:
    """Lay out what a run leaves behind that finished these organisms."""
    partial = out.with_name(out.name + ".partial")
    partial.mkdir()
    for path in parts:
        shutil.copy(path, partial)
    return partial


@pytest.fixture(scope="module")
def parts(tiny, tmp_path_factory) -> list[Path]:
    """One file per organism of `tiny`, trained in this process in the stacks of a run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("parts")
    for stack in work.stacks_of(tiny.specs, tiny.storage, "cpu"):
        for spec, _, content in work.trained_parts(stack, tiny.storage, "cpu"):
            (directory / f"{spec.hash}.npz").write_bytes(content)
    torch.set_num_threads(before)
    return [directory / f"{spec.hash}.npz" for spec in tiny.specs]


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory):
    """The cohort of `tiny`, made by one worker in one go."""
    out = tmp_path_factory.mktemp("uninterrupted") / "tiny.zarr"
    started, finished = [], []
    made = simulate(
        tiny,
        out,
        workers=1,
        device="cpu",
        on_start=lambda done, total: started.append((done, total)),
        on_organism=lambda spec, diverged: finished.append((spec.hash, diverged)),
    )
    assert (made.new, made.missing) == (True, 0)
    assert started == [(0, 8)]
    assert sorted(finished) == sorted((s.hash, False) for s in tiny.specs)
    return out


def test_a_run_leaves_the_cohort_and_nothing_else(uninterrupted):
    assert [p.name for p in uninterrupted.parent.iterdir()] == ["tiny.zarr"]


def test_workers_give_what_this_process_gives(
    tiny, parts, uninterrupted, tmp_path, assert_same_cohort
):
    """All parts are there, trained in another process: nothing is left but to pack them."""
    with_parts(tmp_path / "tiny.zarr", parts)
    started = []
    simulate(
        tiny, tmp_path / "tiny.zarr", device="cpu", on_start=lambda *done: started.append(done)
    )
    assert started == [(8, 8)]
    assert_same_cohort(tmp_path / "tiny.zarr", uninterrupted)


@pytest.mark.parametrize("name", ["tiny.zarr", "tiny.zarr.zip"])
def test_a_second_run_finds_the_cohort_whole(tiny, parts, tmp_path, name):
    out = tmp_path / name
    partial = with_parts(out, parts)
    assert simulate(tiny, out, device="cpu").new
    assert not partial.exists()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert not simulate(tiny, out, device="cpu").new
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}


def test_parts_left_by_a_kill_after_the_last_rename_are_cleared(tiny, parts, tmp_path):
    out = tmp_path / "tiny.zarr"
    partial = with_parts(out, parts)
    simulate(tiny, out, device="cpu")
    with_parts(out, parts)
    (partial / PARTS_RECIPE).write_text(digest(tiny))
    assert not simulate(tiny, out, device="cpu").new
    assert not partial.exists()


def test_a_cohort_that_keeps_something_else_is_not_taken_for_whole(
    tiny, tiny_text, parts, tmp_path
):
    out = tmp_path / "tiny.zarr"
    with_parts(out, parts)
    simulate(tiny, out, device="cpu")
    more = parse_recipe(tiny_text.replace("units = 20", "units = 30"))
    with pytest.raises(UsageError, match=r"another \[storage\]: units = 20\. Nothing is overw"):
        simulate(more, out, device="cpu")


def test_what_stands_at_the_output_is_never_overwritten(tiny, tiny_text, parts, tmp_path):
    other = parse_recipe(tiny_text.replace("[0, 1]", "[2, 3]"))
    cohort = tmp_path / "cohort.zarr"
    with_parts(cohort, parts)
    simulate(tiny, cohort, device="cpu")
    file = tmp_path / "notes.zarr"
    file.write_text("mine")
    directory = tmp_path / "directory"
    directory.mkdir()
    (directory / "mine.txt").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    for out, recipe in ((cohort, other), (file, tiny), (directory, tiny), (link, tiny)):
        with pytest.raises(UsageError, match="exists and is not this recipe's cohort"):
            simulate(recipe, out, device="cpu")
    assert sorted(tmp_path.rglob("*")) == before
    assert file.read_text() == "mine"


def test_two_runs_do_not_write_one_cohort(tiny, tmp_path):
    partial = tmp_path / "tiny.zarr.partial"
    partial.mkdir()
    with open(partial / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process is writing"):
            simulate(tiny, tmp_path / "tiny.zarr", device="cpu")
    assert not list(partial.glob("*.npz"))


def test_parts_of_another_recipe_are_kept_and_refused(tiny, tiny_text, parts, tmp_path):
    out = tmp_path / "tiny.zarr"
    partial = with_parts(out, parts[:3])
    (partial / PARTS_RECIPE).write_text(digest(tiny))
    for change in (("[0, 1]", "[2, 3]"), ("synapses = 24", "synapses = 25")):
        other = parse_recipe(tiny_text.replace(*change))
        with pytest.raises(UsageError, match="start of another recipe"):
            simulate(other, out, device="cpu")
    assert len(list(partial.glob("*.npz"))) == 3


def test_half_written_files_are_removed_and_ignored(
    tiny, parts, uninterrupted, tmp_path, assert_same_cohort
):
    for name in ("tiny.zarr", "tiny.zarr.zip"):
        out = tmp_path / name
        partial = with_parts(out, parts)
        (partial / f".{parts[0].name}.123").write_bytes(b"half")
        (partial / ".packed.zip.123").write_bytes(b"half")
        (partial / "packed.zip").write_bytes(b"half")
        for directory in ("packed", "packed.tmp"):
            shutil.copytree(uninterrupted, partial / directory)
            (partial / directory / "zarr.json").write_text("{}")
        assert simulate(tiny, out, device="cpu").new
        assert not partial.exists()
    assert_same_cohort(tmp_path / "tiny.zarr", uninterrupted)
    shutil.unpack_archive(tmp_path / "tiny.zarr.zip", tmp_path / "unpacked", "zip")
    assert_same_cohort(tmp_path / "unpacked", uninterrupted)


def test_a_part_without_its_end_is_trained_again(
    tiny, parts, uninterrupted, tmp_path, assert_same_cohort
):
    out = tmp_path / "tiny.zarr"
    partial = with_parts(out, parts)
    cut = partial / parts[0].name
    cut.write_bytes(cut.read_bytes()[:-200])
    trained = []
    simulate(
        tiny, out, workers=2, device="cpu", on_organism=lambda s, diverged: trained.append(s.hash)
    )
    assert trained == [tiny.specs[0].hash]
    assert_same_cohort(out, uninterrupted)


def test_a_part_with_a_flipped_byte_is_named(tiny, parts, tmp_path):
    out = tmp_path / "tiny.zarr"
    partial = with_parts(out, parts)
    content = bytearray((partial / parts[2].name).read_bytes())
    content[content.index(b"responses.npy") + 2000] ^= 1
    (partial / parts[2].name).write_bytes(content)
    with pytest.raises(DataError, match=f"{parts[2].name} is damaged"):
        simulate(tiny, out, device="cpu")
    assert not out.exists()
    assert len(list(partial.glob("*.npz"))) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"workers": -2}, "workers is -2"),
        ({"workers": 1.5}, "workers is 1.5"),
        ({"device": "tpu"}, "device is 'tpu'; expected auto, cpu or cuda"),
    ],
)
def test_a_bad_option_leaves_nothing_behind(tiny, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        simulate(tiny, tmp_path / "tiny.zarr", **options)
    assert not list(tmp_path.iterdir())


KNET4 = ('"mlp"\n', '"knet4"\n', "[architectures.mlp]\nwidth = 16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("width = 16", "width = 0"), "mlp.width is 0"),
        (("checkpoints = 3", "checkpoints = 30"), "too few for 30 checkpoints"),
        (("stimuli = 3\nsyn", "stimuli = 361\nsyn"), "stimuli is 361, .* 360 held-out images"),
        (("validation = 4", "validation = 400"), "validation is 400, .* 360 held-out images"),
        (
            ("[architectures.mlp]", "[tasks.digits_simclr]\ndimensions = 0\n[architectures.mlp]"),
            "dimensions is 0",
        ),
        ((*KNET4, "[architectures.knet4]\nchannels = [4, 0]"), "channels has 0"),
        (
            (*KNET4, "[architectures.knet4]\nchannels = [4, 4, 4, 4, 4]"),
            "5 pooled layers needs images of at least 32 pixels",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_training(tiny_text, tmp_path, change, message):
    text = tiny_text
    for old, new in zip(change[::2], change[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(UsageError, match=message):
        simulate(parse_recipe(text), tmp_path / "tiny.zarr", device="cpu")
    assert not list(tmp_path.iterdir())


IMPOSSIBLE = """
[grid]
rule = "sgdm"
architecture = "{architecture}"
task = "{task}"
[training]
epochs = 1
checkpoints = 2
{settings}
"""


@pytest.mark.parametrize(
    ("architecture", "task", "settings", "message"),
    [
        ("knet4", "simclr", '[tasks.simclr]\nover = "tones"', "simclr.over is 'tones'.*SimCLR"),
        (
            "alexnet",
            "shapes",
            '[architectures.alexnet]\nstem = "imagenet"',
            "alexnet with the stem 'imagenet' needs images of at least .* pixels",
        ),
    ],
)
def test_combinations_that_cannot_be_are_refused_with_what_to_do(
    tmp_path, architecture, task, settings, message
):
    text = IMPOSSIBLE.format(architecture=architecture, task=task, settings=settings)
    with pytest.raises(UsageError, match=message):
        simulate(parse_recipe(text), tmp_path / "c.zarr", device="cpu")
    assert not list(tmp_path.iterdir())


def test_data_that_are_missing_are_named_before_training(tiny_text, tmp_path, monkeypatch):
    monkeypatch.delenv("LRPLAN_DATA", raising=False)
    text = tiny_text.replace('["digits", "digits_simclr"]', '["digits", "cifar10"]')
    recipe = parse_recipe(text)
    with pytest.raises(UsageError, match="'cifar10' needs data.*--data FOLDER"):
        simulate(recipe, tmp_path / "c.zarr", device="cpu")
    with pytest.raises(DataError, match="the data folder .*nowhere does not exist"):
        simulate(recipe, tmp_path / "c.zarr", device="cpu", data=tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no data of the task 'cifar10' at .*empty"):
        simulate(recipe, tmp_path / "c.zarr", device="cpu", data=empty)
    assert "LRPLAN_DATA" not in os.environ
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
    ids=["python", "linux", "windows", "cuda"],
)
def test_a_stack_without_memory_is_halved_and_goes_on(tiny, trained, monkeypatch, error):
    sizes = []

    def train(specs, storage, device):
        sizes.append(len(specs))
        if len(specs) > 1:
            raise error
        return [t for t in trained if t.spec == specs[0]]

    monkeypatch.setattr(work, "train", train)
    stack = list(tiny.specs[:3])
    found = list(work.trained_parts(stack, tiny.storage, "cpu"))
    assert [spec for spec, _, _ in found] == stack
    assert sizes == [3, 1, 2, 1, 1]

    def never(specs, storage, device):
        raise error

    monkeypatch.setattr(work, "train", never)
    with pytest.raises(DataError, match="too little memory for one organism .*mlp on digits"):
        list(work.trained_parts(stack, tiny.storage, "cpu"))


def test_other_faults_of_training_are_not_taken_for_want_of_memory(tiny, monkeypatch):
    def train(specs, storage, device):
        raise RuntimeError("a fault")

    monkeypatch.setattr(work, "train", train)
    with pytest.raises(RuntimeError, match="a fault"):
        list(work.trained_parts(list(tiny.specs[:2]), tiny.storage, "cpu"))


def test_stacks_are_even_and_depend_on_the_recipe_alone(tiny_text):
    seeds = ", ".join(map(str, range(17)))
    recipe = parse_recipe(tiny_text.replace("[0, 1]", f"[{seeds}]"))
    stacks = work.stacks_of(recipe.specs, recipe.storage, "cpu")
    assert sorted(s.hash for stack in stacks for s in stack) == sorted(s.hash for s in recipe.specs)
    assert max(map(len, stacks)) <= work.MOST_ON_CPU
    assert max(map(len, stacks)) - min(map(len, stacks)) <= 1


def test_a_rate_at_which_everything_diverges_is_finished_and_marked(tiny_text, tmp_path):
    text = tiny_text.replace("[grid]", "[grid]\nlearning_rate = 1e5")
    recipe = parse_recipe(text.replace('["sgdm", "information_alignment"]', '"sgdm"'))
    lost = []
    simulate(
        recipe,
        tmp_path / "c.zarr",
        workers=1,
        device="cpu",
        on_organism=lambda spec, diverged: lost.append(diverged),
    )
    assert lost == [True] * 4
    from lrplan import open_cohort

    assert open_cohort(tmp_path / "c.zarr").info()["diverged"] == 4


def test_an_output_in_a_file_is_a_data_error(tiny, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="cannot be written"):
        simulate(tiny, tmp_path / "file" / "tiny.zarr", device="cpu")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_while_packing_loses_nothing(
    tiny, parts, uninterrupted, tmp_path, monkeypatch, assert_same_cohort, code
):
    out = tmp_path / "tiny.zarr"
    partial = with_parts(out, parts)

    def full(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr("lrplan.cohort.format.CohortWriter.write", full)
        with pytest.raises(DataError, match="disk is full.*run the same command again"):
            simulate(tiny, out, device="cpu")
    assert not out.exists()
    assert len(list(partial.glob("*.npz"))) == 8
    simulate(tiny, out, device="cpu")
    assert_same_cohort(out, uninterrupted)


@contextlib.contextmanager
def small_disk(place: Path, size: str):
    """Mount a small file system, or skip where that is not allowed."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        made = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if made.returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@linux
@pytest.mark.parametrize(("size", "fits"), [("64k", range(1, 8)), ("140k", [8])])
def test_a_full_disk_is_one_clear_line_and_more_space_finishes_the_run(
    tiny, parts, uninterrupted, tmp_path, assert_same_cohort, size, fits
):
    """The disk fills up while organisms are trained, or while they are packed."""
    place = tmp_path / "disk"
    with small_disk(place, size):
        out = place / "tiny.zarr"
        if fits == [8]:
            with_parts(out, parts)
        with pytest.raises(DataError, match="disk is full.*Finished organisms are kept"):
            simulate(tiny, out, workers=1, device="cpu")
        assert not out.exists()
        partial = place / "tiny.zarr.partial"
        kept = list(partial.glob("*.npz"))
        assert len(kept) in fits
        assert not list(partial.glob(".*.npz.*"))
        subprocess.run(["mount", "-o", "remount,size=16m", str(place)], check=True)
        started = []
        simulate(
            tiny, out, workers=1, device="cpu", on_start=lambda done, total: started.append(done)
        )
        assert started == [len(kept)]
        assert_same_cohort(out, uninterrupted)


def children_of(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.add(int(stat.parent.name))
    return found


def workers_of(pid: int) -> set[int]:
    """Return the processes that train: children, or children of the server that starts them."""

    def started_by(how: bytes, parent: int) -> set[int]:
        found = set()
        for child in children_of(parent):
            with contextlib.suppress(OSError):
                if how in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.add(child)
        return found

    servers = started_by(b"multiprocessing.forkserver", pid)
    served = {w for server in servers for w in children_of(server)}
    return served | started_by(b"--multiprocessing-fork", pid)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, what: str, seconds: float = PATIENCE_SECONDS):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


@pytest.fixture
def stopped(tmp_path, tiny_text):
    """Return a function that starts a run on two workers and stops it after some organisms."""
    running = []

    def start_and_stop(stop, after: int) -> tuple[Path, str]:
        recipe = tmp_path / "tiny.toml"
        recipe.write_text(tiny_text)
        (tmp_path / "run.py").write_text(SCRIPT)
        out = tmp_path / "tiny.zarr"
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "run.py"), str(recipe), str(out)],
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        partial = tmp_path / "tiny.zarr.partial"
        wait_for(
            lambda: len(list(partial.glob("*.npz"))) >= after or process.poll() is not None,
            "the first organisms",
        )
        assert process.poll() is None, process.stderr.read()
        workers = workers_of(process.pid)
        assert len(workers) == 2
        stop(process, workers)
        _, said = process.communicate(timeout=60)
        wait_for(lambda: not any(map(alive, workers)), "the workers' end", 20)
        assert not out.exists()
        return out, said

    yield start_and_stop
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def kill_parent(process, workers):
    os.kill(process.pid, signal.SIGKILL)


def kill_worker(process, workers):
    os.kill(min(workers), signal.SIGKILL)


def press_ctrl_c(process, workers):
    # A terminal sends it to the whole group.
    os.killpg(process.pid, signal.SIGINT)


@linux
@pytest.mark.parametrize(
    ("stop", "after", "says"),
    [
        (kill_parent, 1, ""),
        pytest.param(
            kill_worker,
            2,
            "DataError: a worker process died.*Finished organisms are kept",
            marks=pytest.mark.slow,
        ),
        pytest.param(press_ctrl_c, 1, "KeyboardInterrupt", marks=pytest.mark.slow),
    ],
    ids=["kill -9", "kill -9 of a worker", "ctrl-c"],
)
def test_a_stopped_run_is_finished_by_the_next_and_equals_an_uninterrupted_one(
    tiny, uninterrupted, stopped, assert_same_cohort, stop, after, says
):
    out, said = stopped(stop, after)
    assert re.search(says, said, re.DOTALL)
    kept = list(out.with_name("tiny.zarr.partial").glob("*.npz"))
    assert len(kept) >= after
    started = []
    simulate(tiny, out, workers=2, device="cpu", on_start=lambda done, total: started.append(done))
    assert started == [len(kept)]
    assert_same_cohort(out, uninterrupted)
