"""A card whose memory is a number in a file: organisms train on the CPU, as if it were a GPU.

Processes book what they take in a folder and give it back when they end or are killed, as they
would with a GPU's memory. Tests are told of what trained through the same folder.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from lrplan.simulate.learn.train import train


@dataclass(frozen=True)
class MadeUpCard:
    """A card of so many bytes.

    `context` is what a process takes before it trains; an organism takes `each` and is said to take
    `promised`. Stacks of more organisms than `truly` allows fail halfway, after some checkpoints.
    """

    folder: str
    total: int = 1000
    context: int = 10
    each: int = 100
    promised: int = 100
    seconds: float = 0.0
    name: str = "made-up card"

    def total_bytes(self):
        return self.total

    def free_bytes(self):
        return self.total - sum(self._booked().values())

    def stack_bytes(self, specs, storage):
        return self.context + self.promised * len(specs)

    def used_bytes(self):
        if os.getpid() not in self._booked():
            self._book(self.context)
        return self._booked()[os.getpid()]

    def release(self):
        self._book(self.context)

    def train(self, specs, storage, on_checkpoint):
        (Path(self.folder) / f"began-{os.getpid()}-{time.monotonic_ns()}").write_text(
            f"{len(specs)} {len(self._booked())}"
        )
        if (Path(self.folder) / "fault").exists():
            raise RuntimeError("a fault")
        if (Path(self.folder) / "kill-one").exists():
            (Path(self.folder) / "kill-one").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (Path(self.folder) / f"fatal-{specs[0].hash}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        self._book(self.context + self.each * len(specs))
        found = train(specs, storage, device="cpu", on_checkpoint=on_checkpoint)
        time.sleep(self.seconds)
        return found

    def began(self):
        """Return the size of every stack that began, and how many processes there were."""
        files = sorted(Path(self.folder).glob("began-*"), key=lambda p: int(p.name.split("-")[2]))
        return [tuple(map(int, f.read_text().split())) for f in files]

    def taken_by_another(self, bytes_):
        """Book memory for a process that is none of ours."""
        (Path(self.folder) / "booked-0").write_text(str(bytes_))

    def _booked(self):
        booked = {}
        for file in Path(self.folder).glob("booked-*"):
            pid = int(file.name.split("-")[1])
            if pid and not _lives(pid):
                continue
            text = file.read_text()
            booked[pid] = int(text or 0)
        return booked

    def _book(self, bytes_):
        with FileLock(Path(self.folder) / "lock"):
            held = self._booked()
            others = sum(v for pid, v in held.items() if pid != os.getpid())
            if others + bytes_ > self.total:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 100 bytes")
            (Path(self.folder) / f"booked-{os.getpid()}").write_text(str(bytes_))


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
