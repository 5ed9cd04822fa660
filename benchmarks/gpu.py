"""GPU: tests, time of a step, memory promised and held, organisms per minute; under nine minutes.

- tests: those that are marked gpu, and what they come to.
- steps: milliseconds per organism and update, for each rule alone in stacks of 32, and for all four
  mixed in stacks of 8, 32 and 128, with updates that Python starts and with recorded ones, next to
  a plain loop: nn.Module, torch.optim, autocast, channels last, one network after another, all of
  which any user would write. Inputs are noise, which takes as long.
- memory: what a process is expected to hold that trains a stack, and what it held.
- recipe: organisms of a wide recipe (ten architectures, four tasks, four rules, three seeds) per
  minute, by `lrplan simulate`, or as its progress promises, and the most memory that was taken
  meanwhile.

Each part has its share of the time and says what it did not come to.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --device cpu --quick     # does it run at all?
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from lrplan.cohort.spec import OrganismSpec
from lrplan.simulate.learn.learning import Learners, rule_order, stacked
from lrplan.simulate.learn.recorded import UPDATES_BEFORE, Recorded
from lrplan.simulate.learn.train import train
from lrplan.simulate.network import init_backward, init_params
from lrplan.simulate.rules import rules
from lrplan.simulate.run.card import Gpu
from lrplan.simulate.run.memory import process_bytes
from lrplan.simulate.run.preflight import sized, task_of
from lrplan.simulate.run.recipe import Recipe, parse_recipe
from lrplan.simulate.run.work import is_out_of_memory

RULES = ("sgdm", "adam", "feedback_alignment", "information_alignment")
SHARES = {"tests": 90.0, "steps": 130.0, "recipe": 150.0, "memory": 40.0}
"""Seconds of each part."""
SIMULATE = (sys.executable, "-m", "lrplan.cli", "simulate")

ONE = """
[grid]
rule = {rules}
architecture = "{architecture}"
task = "{task}"
batch_size = {batch}
model_seed = {seeds}
[training]
epochs = 1
checkpoints = 3
{settings}
"""
NETWORKS = {
    "resnet18": ("shapes", 128, '[architectures.resnet18]\nstem = "small"\nwidth = 32'),
    "knet4": ("digits", 64, ""),
    "mlp": ("digits", 64, ""),
}
QUICK = {
    "resnet18": ("digits", 4, '[architectures.resnet18]\nstem = "small"\nwidth = 4'),
    "knet4": ("digits", 4, "[architectures.knet4]\nchannels = [4, 4]"),
    "mlp": ("digits", 4, "[architectures.mlp]\nwidth = 16"),
}
SHAPES = "\n[tasks.shapes]\ntrain = 1024\ntest = 256\n"

WIDE = """
name = "wide"
{grids}
[training]
checkpoints = 21
[architectures]
resnet18 = {{ stem = "small", width = 16 }}
resnet18v2 = {{ stem = "small", width = 16 }}
resnet34 = {{ stem = "small", width = 16 }}
resnet34v2 = {{ stem = "small", width = 16 }}
alexnet = {{ stem = "small", width = 16 }}
alexnet_lrn = {{ stem = "small", width = 16 }}
[tasks.shapes]
train = 8000
test = 1000
[tasks.simclr]
over = "shapes"
over_settings = {{ train = 8000, test = 1000 }}
[storage]
stimuli = 12
pair_stimuli = 2
"""
GRID = """
[[grid]]
rule = ["sgdm", "adam", "feedback_alignment", "information_alignment"]
architecture = "{architecture}"
task = "{task}"
batch_size = {batch}
model_seed = [0, 1, 2]
[grid.training]
epochs = {epochs}
"""
WIDE_ARCHITECTURES = (
    *("alexnet", "alexnet_lrn", "knet4", "knet4_lrn", "knet5", "knet5_lrn"),
    *("resnet18", "resnet18v2", "resnet34", "resnet34v2"),
)
WIDE_TASKS = {"digits": (128, 45), "shapes": (64, 8), "simclr": (128, 8), "tones": (64, 20)}


def one_recipe(network: str, organisms: int, which: tuple[str, ...], quick: bool) -> Recipe:
    """Return organisms of one network, an equal number of each rule."""
    task, batch, settings = (QUICK if quick else NETWORKS)[network]
    return parse_recipe(
        ONE.format(
            rules=json.dumps(which),
            architecture=network,
            task=task,
            batch=batch,
            seeds=list(range(max(1, organisms // len(which)))),
            settings=settings + (SHAPES if task == "shapes" else ""),
        )
    )


def wide_recipe(part: int) -> str:
    """Return every `part`-th stack of the wide recipe."""
    grids = [
        GRID.format(architecture=a, task=t, batch=batch, epochs=epochs)
        for a in WIDE_ARCHITECTURES
        for t, (batch, epochs) in WIDE_TASKS.items()
    ]
    return WIDE.format(grids="\n".join(grids[::part]))


# Tests


def tests(device: str, seconds: float, quick: bool) -> dict[str, Any]:
    """Run the tests that need a GPU."""
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider"]
    command += ["--tb=short", "--durations=8"]
    command += [str(root / "tests/simulate/test_gpu.py")]
    command += [str(root / "tests/lrplan/classifiers/test_conv1d_mlp.py")]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    late = threading.Timer(seconds, process.kill)
    late.start()
    lines = []
    for line in process.stdout or ():
        # At once, so that what was told is not lost with what is not over.
        print("  " + line.rstrip(), flush=True)
        lines.append(line.rstrip())
    code = process.wait()
    over = late.is_alive()
    late.cancel()
    if not over:
        print(f"tests: not over after {seconds:.0f} s", flush=True)
    told = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"over": over, "code": code, "last": lines[-1:], "failed": told}


# Steps


def learners_of(specs: list[OrganismSpec], device: torch.device) -> Learners:
    """Return a stack that is ready to learn."""
    specs = sorted(specs, key=lambda s: rule_order(rules.get(s.rule)))
    network, _ = sized(specs[0])
    task, settings = task_of(specs[0])
    each = [rules.get(s.rule) for s in specs]
    # One draw serves all: the time of a step does not depend on it.
    params = stacked(
        [init_params(network, specs[0].rng("weights"))] * len(specs), device, torch.float32
    )
    feedback = {}
    if any(r.credit.backward_weights for r in each):
        drawn = init_backward(network, specs[0].rng("feedback"))
        feedback = stacked([drawn] * len(specs), device, torch.float32)
    half = torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    rates = torch.full((len(specs),), 1e-5, device=device)
    return Learners(network, each, task, settings, params, feedback, rates, half=half)


def milliseconds(step: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """Return the time of a step, after three that warm up."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        step()
    wait()
    began, count = time.perf_counter(), 0
    while count < 5 or (count < 200 and time.perf_counter() - began < seconds):
        step()
        count += 1
        if count % 5 == 0:
            wait()
    wait()
    return 1000 * (time.perf_counter() - began) / count


class Block(nn.Module):
    """Two convolutions and a skip path (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.skip = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of both paths."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.skip(x))


def plain_network(name: str, shape: tuple[int, ...], quick: bool) -> nn.Module:
    """Return the network as one would write it."""
    classes, channels = 10, shape[0]
    layers: list[nn.Module] = []
    if name == "mlp":
        width, inputs = 16 if quick else 512, channels * shape[1] * shape[2]
        for _ in range(3):
            layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            inputs = width
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, classes))
    if name == "knet4":
        widths = (4, 4) if quick else (32, 32, 64)
        edge = shape[1]
        for width in widths:
            layers += [nn.Conv2d(channels, width, 5, padding=2, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            channels, edge = width, edge // 2
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * edge * edge, classes))
    width = 4 if quick else 32
    layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
    layers += [nn.ReLU()]
    for i, inputs in enumerate((1, 1, 2, 4)):
        outputs = 2**i
        layers += [Block(width * inputs, width * outputs, 1 if i == 0 else 2)]
        layers += [Block(width * outputs, width * outputs, 1)]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, classes)
    )


def plain_step(name: str, spec: OrganismSpec, device: torch.device, quick: bool) -> Any:
    """Return one update of a plain loop."""
    _, extent = sized(spec)
    layout = torch.channels_last
    network = plain_network(name, extent.shape, quick).to(device, memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-5, momentum=0.9)
    images = torch.randn(spec.batch_size, *extent.shape, device=device)
    images = images.contiguous(memory_format=layout)
    labels = torch.zeros(spec.batch_size, dtype=torch.int64, device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def stack_step(specs: list[OrganismSpec], device: torch.device, *, recorded: bool = False) -> Any:
    """Return one update of a stack, recorded as a graph or started by Python."""
    _, extent = sized(specs[0])
    learners = learners_of(specs, device)
    images = torch.randn(len(specs), specs[0].batch_size, *extent.shape, device=device)
    labels = torch.zeros(len(specs), specs[0].batch_size, dtype=torch.int64, device=device)
    if not recorded:
        return lambda: learners.learn(images, labels, 1.0)
    played = Recorded(learners)

    def step() -> None:
        played.learn(images, labels, 1.0)

    for _ in range(UPDATES_BEFORE + 1):
        step()
    if played.reason is not None:
        raise played.reason
    return step


def time_of(specs: list[OrganismSpec], device: torch.device, way: str, seconds: float) -> Any:
    """Return milliseconds per organism and update, or why there are none."""
    tries = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = way == "recorded, tried"
    try:
        step = stack_step(specs, device, recorded=way != "by Python")
        return milliseconds(step, device, seconds) / len(specs)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return "no memory"
        print(f"  {way}: {type(error).__name__}: {error}", flush=True)
        return "failed"
    finally:
        step = None
        torch.backends.cudnn.benchmark = tries
        if device.type == "cuda":
            torch.cuda.empty_cache()


def steps(device: str, seconds: float, quick: bool) -> dict[str, Any]:
    """Time updates of stacks and of the plain loop; the stack of 32 comes first."""
    end, where = time.monotonic() + seconds, torch.device(device)
    each = 0.1 if quick else 1.0
    ways = ["by Python"] + ["recorded", "recorded, tried"] * (device == "cuda")
    found: dict[str, Any] = {}
    print(
        "steps: ms per organism and update, of which kernels are started by Python or by a graph "
        "that\nwas recorded; tried: cuDNN tries its kernels first (convolutions, stack of 32)"
    )
    header = ["network", "rules", "stack", *ways]
    print("  " + "  ".join(f"{h:>21}" for h in header), flush=True)
    for name in NETWORKS:
        spec = one_recipe(name, 1, RULES[:1], quick).specs[0]
        plain = milliseconds(plain_step(name, spec, where, quick), where, each)
        found[name] = {"plain": plain}
        print(f"  {name:>21}  {'a plain loop':>21}  {1:>21}  {plain:>21.3f}", flush=True)
    alone = [(name, (rule,), 32) for name in NETWORKS for rule in reversed(RULES)]
    mixed = [(name, RULES, n) for n in (32, 8, 128) for name in NETWORKS]
    for name, which, n in [*mixed[:3], *alone, *mixed[3:]]:
        if time.monotonic() > end:
            print("  out of time")
            break
        n = min(n, 8) if quick else n
        label = "all four" if len(which) > 1 else which[0]
        row = {}
        for way in ways:
            if way == "recorded, tried" and (name == "mlp" or n != 32):
                continue
            specs = list(one_recipe(name, n, which, quick).specs)
            row[way] = time_of(specs, where, way, each)
        found[name][f"{label} x {n}"] = row
        shown = [t if isinstance(t, str) else f"{t:.3f}" for t in row.values()]
        print("  " + "  ".join(f"{c:>21}" for c in (name, label, n, *shown)), flush=True)
    return found


# Memory


def memory(device: str, seconds: float, quick: bool) -> dict[str, Any]:
    """Compare what a process is expected to hold with what it held."""
    end, found = time.monotonic() + seconds, {}
    print("memory: GB of a process, promised and held (held: its allocator's, and the context's)")
    for name in NETWORKS:
        for n in (4,) if quick else (8, 32):
            if time.monotonic() > end:
                print(f"  {name:>10} x {n}: out of time")
                continue
            recipe = one_recipe(name, n, RULES, quick)
            promised = process_bytes(recipe.specs, recipe.storage)
            held = _held(recipe) if device == "cuda" else None
            found[f"{name} x {n}"] = {"promised": promised, "held": held}
            told = "no card" if held is None else f"{held / 1e9:.2f}"
            print(f"  {name:>10} x {n}: {promised / 1e9:.2f}  {told}")
    return found


def _held(recipe: Recipe) -> int:
    """Return what a process of its own held: this one may hold what other parts left."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_trained, recipe).result()


def _trained(recipe: Recipe) -> int:
    card = Gpu.here()
    train(list(recipe.specs), recipe.storage, device="cuda")
    return card.used_bytes()


# A recipe


def recipe(device: str, seconds: float, quick: bool) -> dict[str, Any]:
    """Run a recipe by the command, for so long, and count what it finished."""
    text = WIDE.format(grids=GRID.format(architecture="knet4", task="digits", batch=128, epochs=2))
    if not quick:
        text = wide_recipe(part=2)
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            free, total = torch.cuda.mem_get_info()
            most[0] = max(most[0], total - free)

    with tempfile.TemporaryDirectory() as place:
        path, out = Path(place) / "wide.toml", Path(place) / "wide.zarr"
        path.write_text(text, encoding="utf-8")
        specs = parse_recipe(text).specs
        command = [*SIMULATE, str(path), "--out", str(out), "--device", device]
        began = time.monotonic()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        told: list[str] = []
        listener = threading.Thread(target=_listen, args=(process.stderr, told), daemon=True)
        listener.start()
        if device == "cuda":
            torch.cuda.empty_cache()
            threading.Thread(target=watch, daemon=True).start()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
        took = time.monotonic() - began
        over.set()
        listener.join(5)
        whole = out.exists()
        done = (
            len(specs) if whole else len(list(out.with_name(out.name + ".partial").glob("*.npz")))
        )
    left = _promised(told)
    print(
        f"recipe: {done} of {len(specs)} organisms in {took:.0f} s"
        f"{'' if whole else ' (stopped: organisms in training do not count)'}, "
        f"{60 * done / took:.1f} a minute; {most[0] / 1e9:.1f} GB taken at most"
    )
    promised = None
    if not whole and left is not None:
        promised = 60 * len(specs) / left
        print(f"recipe: as its progress has it, {promised:.1f} organisms a minute in all")
    return {
        "organisms": done,
        "of": len(specs),
        "seconds": took,
        "promised": promised,
        "most_bytes": most[0],
    }


def _listen(lines: Any, told: list[str]) -> None:
    """Show what a command says, and keep it with the time at which it said it."""
    began = time.monotonic()
    for line in lines:
        print("  " + line.rstrip(), flush=True)
        told.append(f"{time.monotonic() - began:.1f} {line.rstrip()}")


def _promised(told: list[str]) -> float | None:
    """Return how many seconds a command promised last to take in all."""
    found = None
    for line in told:
        about = re.search(r"^([\d.]+) .*about ([\d.]+) (s|min|hours) left", line)
        if about:
            unit = {"s": 1, "min": 60, "hours": 3600}[about[3]]
            found = float(about[1]) + unit * float(about[2])
    return found


def main() -> int:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny networks, to try the script")
    parser.add_argument("--parts", nargs="+", choices=tuple(SHARES), default=tuple(SHARES))
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("torch finds no GPU here; --device cpu --quick tries the script", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}", flush=True)
    found: dict[str, Any] = {"device": name, "torch": torch.__version__}
    for part in options.parts:
        began = time.monotonic()
        found[part] = globals()[part](options.device, SHARES[part], options.quick)
        print(f"  ({part}: {time.monotonic() - began:.0f} s)", flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
