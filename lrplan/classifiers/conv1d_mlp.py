"""One convolution over the trajectory and a linear layer; settings are trained together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrplan.classifiers import classifiers
from lrplan.classifiers._search import Accuracy, Found, class_weights
from lrplan.classifiers._trajectory import TrajectoryClassifier
from lrplan.classifiers.splits import Splits
from lrplan.errors import UsageError
from lrplan.randomness import keyed_rng
from lrplan.registry import nearest

if TYPE_CHECKING:
    import torch

PAPER: Mapping[str, Sequence[Any]] = {
    "kernel": (1, 2, 6, 11, 21),
    "stride": (1, 2, 4),
    "pool": ("none", "max", "average"),
    "filters": (20, 40),
    "learning_rate": (1e-3, 1e-4),
    "weight_decay": (0.0, 1e-4),
    "batch": (512, 1024),
}
QUICK: Mapping[str, Sequence[Any]] = {
    "kernel": (2, 6, 21),
    "stride": (1,),
    "pool": ("none", "average"),
    "filters": (20,),
    "learning_rate": (1e-3,),
    "weight_decay": (0.0,),
    "batch": (512,),
}
POOLS = ("none", "max", "average")
# Rounds of the race: which settings are crossed with those that are left, up to which share of the
# epochs they are trained, and how many are left then.
ROUNDS: tuple[tuple[tuple[str, ...], float, int], ...] = (
    (("kernel", "stride", "pool"), 1 / 20, 6),
    ((), 1 / 10, 2),
    (("filters", "learning_rate"), 1 / 5, 1),
    (("weight_decay", "batch"), 1 / 2, 1),
    ((), 1, 1),
)

# Steps of the optimizer before which networks do not show what they can.
LEAST_STEPS = 20


@classifiers.register("conv1d_mlp")
class Conv1dMLP(TrajectoryClassifier):
    """One convolution over the sessions, rectified, perhaps pooled, then one linear layer.

    Sessions are the convolved axis, observables the channels; pooling is over all places. Static
    features join at the linear layer. Adam minimises the balanced cross-entropy.

    Settings of the same shape are trained as one batched network, with all inner folds at once,
    and are raced: first all kernels, strides and pools, for a twentieth of the epochs (20 steps
    at least); the best of them go on; then filters and learning rates, and at last weight decays
    and batches are crossed with what is left. Batches that hold all training rows are one and the
    same.

    Parameters
    ----------
    sessions : int, default 1
        Sessions of a trajectory; columns are session-major.
    static : int, default 0
        Columns at the end that belong to no session.
    grid : mapping, optional
        Values of ``kernel``, ``stride``, ``pool`` (none, max, average), ``filters``,
        ``learning_rate``, ``weight_decay`` and ``batch``; by default the paper's 720 settings.
        Kernels longer than the trajectory are left out; if all are, one spans it.
    epochs : int, default 400
        Passes over the training set.
    exhaustive : bool, default False
        Whether every setting is trained to the end instead of raced.
    folds : int, default 5
        Folds of the inner cross-validation.
    random_state : int, default 0
        Seeds folds, first weights and batches.
    device : str, default "cpu"
        Where to train, as torch names it. On the CPU the same seed gives the same result.
    workers : int, optional
        Threads on the CPU; by default as many as the process has cores. No result depends on it.

    Attributes
    ----------
    weights_ : dict of array
        ``convolution`` (kernel x observable, filter), ``bias`` (filter,), ``linear`` (place x
        filter + static, class) and ``offset`` (class,).

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((80, 12)).cumsum(axis=1)
    >>> y = np.where(x[:, -1] > 0, "up", "down")
    >>> grid = {"kernel": [3], "stride": [1], "pool": ["none"], "filters": [8]}
    >>> model = Conv1dMLP(sessions=12, grid=grid, epochs=20).fit(x, y)
    >>> model.settings_["kernel"]
    3
    """

    summary = "one convolution over the trajectory and a linear layer"
    cites = "Nayebi et al., NeurIPS 2020"

    def __init__(
        self,
        sessions: int = 1,
        static: int = 0,
        grid: Mapping[str, Sequence[Any]] | None = None,
        epochs: int = 400,
        exhaustive: bool = False,
        folds: int = 5,
        random_state: int = 0,
        device: str = "cpu",
        workers: int | None = None,
    ) -> None:
        self.sessions = sessions
        self.static = static
        self.grid = grid
        self.epochs = epochs
        self.exhaustive = exhaustive
        self.folds = folds
        self.random_state = random_state
        self.device = device
        self.workers = workers

    @classmethod
    def make(
        cls, *, sessions: int, static: int, random_state: int, effort: str, workers: int | None
    ) -> Conv1dMLP:
        """Return one that is not fitted yet."""
        quick = effort == "quick"
        return cls(
            sessions=sessions,
            static=static,
            grid=QUICK if quick else None,
            epochs=100 if quick else 400,
            folds=3 if quick else 5,
            random_state=random_state,
            workers=workers,
        )

    def _search(
        self, Z: np.ndarray, index: np.ndarray, splits: Splits, groups: np.ndarray
    ) -> Found:
        grid = self._checked(Z)
        rows = _Rows(*self._split(Z), index, len(self.classes_))
        folds = list(splits)
        accuracy = Accuracy(index, len(self.classes_), groups)
        train = int(min((~t).sum() for t in folds))
        tried: dict[_Setting, dict[str, Any]] = {}
        running: dict[_Setting, np.ndarray] = {}
        stacks: list[_Stack] = []
        left = [
            _Setting(**{name: values[0] for name, values in grid.items()}).canonical(
                train, self.sessions
            )
        ]
        rounds = ((tuple(grid), 1.0, 1),) if self.exhaustive else ROUNDS
        with _one_thread_each(), self._spread() as spread:
            for names, share, keep in rounds:
                crossed = {
                    setting._replace(**dict(zip(names, values, strict=True))).canonical(
                        train, self.sessions
                    )
                    for setting in left
                    for values in product(*(grid[name] for name in names))
                }
                stacks = [s.only(crossed) for s in stacks]
                stacks = [s for s in stacks if s.settings]
                new = crossed - {setting for s in stacks for setting in s.settings}
                for shape in sorted({setting.shape for setting in new}):
                    members = sorted(s for s in new if s.shape == shape)
                    stacks.append(_Stack(members, rows, folds, self.random_state, self.device))
                steps = -(-train // max(setting.batch for setting in crossed))
                epochs = max(round(share * self.epochs), -(-LEAST_STEPS // steps))
                epochs = min(epochs, self.epochs)
                # The longest first, so that no thread is left with it at the end.
                stacks.sort(key=lambda s: -s.work)
                for part in spread(lambda job: job[0].train(job[1]), [(s, epochs) for s in stacks]):
                    running.update(part)
                for setting in sorted(crossed):
                    tried[setting] = {
                        **setting._asdict(),
                        "epochs": epochs,
                        "accuracy": accuracy.of(running[setting]),
                    }
                # Ties go to what comes first in the grid.
                order = {n: {v: i for i, v in enumerate(values)} for n, values in grid.items()}
                left = sorted(
                    crossed,
                    key=lambda s: (
                        -tried[s]["accuracy"],
                        [order[n].get(v, 0) for n, v in s._asdict().items()],
                    ),
                )[:keep]
        return Found(left[0]._asdict(), running[left[0]], list(tried.values()))

    def _train(self, Z: np.ndarray, index: np.ndarray) -> None:
        rows = _Rows(*self._split(Z), index, len(self.classes_))
        nobody = np.zeros(len(Z), dtype=bool)
        with _one_thread_each():
            stack = _Stack(
                [_Setting(**self.settings_)], rows, [nobody], self.random_state, self.device
            )
            stack.train(self.epochs)
        self.weights_ = stack.weights()

    def _logits(self, Z: np.ndarray) -> np.ndarray:
        series, static = self._split(Z.astype(np.float32))
        s = _Setting(**self.settings_)
        windows = _windows(series, s.kernel, s.stride)
        places = np.maximum(windows @ self.weights_["convolution"] + self.weights_["bias"], 0)
        if s.pool == "max":
            found = places.max(axis=1)
        elif s.pool == "average":
            found = places.mean(axis=1)
        else:
            found = places.reshape(len(Z), -1)
        together = np.concatenate([found, static], axis=1)
        logits = together @ self.weights_["linear"] + self.weights_["offset"]
        return np.asarray(logits, dtype=np.float64)

    def _checked(self, Z: np.ndarray) -> dict[str, list[Any]]:
        """Return the grid, with kernels that fit."""
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 1:
            raise UsageError(f"epochs is {self.epochs!r}; expected a whole number of at least 1")
        grid = self._settings_of(PAPER)
        for name in ("kernel", "stride", "filters", "batch"):
            for value in grid[name]:
                whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
                if not whole or value < 1:
                    raise UsageError(f"the grid has a {name} of {value!r}; expected at least 1")
        for pool in grid["pool"]:
            if pool not in POOLS:
                raise UsageError(f"the grid has the pool {pool!r}; {nearest(str(pool), POOLS)}")
        fitting = [k for k in grid["kernel"] if k <= self.sessions]
        return {**grid, "kernel": fitting or [self.sessions]}


class _Setting(NamedTuple):
    """One point of the grid."""

    kernel: int
    stride: int
    pool: str
    filters: int
    learning_rate: float
    weight_decay: float
    batch: int

    @property
    def shape(self) -> tuple[int, int, str, int, int]:
        """What has to be equal to be trained together."""
        return self.kernel, self.stride, self.pool, self.filters, self.batch

    def canonical(self, rows: int, sessions: int) -> _Setting:
        """Return the same network and training under its first name.

        A batch is no larger than the training set; a kernel with one place has no stride or pool.
        """
        plain = self._replace(batch=min(self.batch, rows))
        return plain._replace(stride=1, pool="none") if self.kernel == sessions else plain


class _Rows(NamedTuple):
    """What networks are trained on."""

    series: np.ndarray
    static: np.ndarray
    labels: np.ndarray
    classes: int


def _windows(series: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """Return what a kernel sees (row, place, kernel x observable)."""
    seen = np.lib.stride_tricks.sliding_window_view(series, kernel, axis=1)[:, ::stride]
    return np.ascontiguousarray(seen.transpose(0, 1, 3, 2)).reshape(*seen.shape[:2], -1)


class _Stack:
    """Networks of one shape, one for each setting and fold, trained as one.

    Parameters
    ----------
    settings : list of _Setting
        Of equal shape.
    rows : _Rows
        All rows; a fold's network learns from those outside its fold.
    folds : list of array (row,) of bool
        Rows that are left out.
    seed : int
        With setting and fold it fixes first weights and batches.
    device : str
        Where the tensors live.
    """

    def __init__(
        self,
        settings: list[_Setting],
        rows: _Rows,
        folds: list[np.ndarray],
        seed: int,
        device: str,
    ) -> None:
        import torch

        self.settings = settings
        self._folds = folds
        self._epoch = self._step = 0
        kernel, stride, pool, filters, batch = settings[0].shape
        self._pool, self._classes = pool, rows.classes
        windows = _windows(rows.series.astype(np.float32), kernel, stride)
        n, places, width = windows.shape
        self._width = filters * (places if pool == "none" else 1)
        self._filters = filters
        self.work = len(settings) * len(folds) * n * places * width * filters

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(np.ascontiguousarray(values), device=device)

        self._x = tensor(windows)
        self._static = tensor(rows.static.astype(np.float32))
        self._y = tensor(rows.labels)
        # Networks are numbered setting-major. A row that is left out has no weight.
        of_fold = np.zeros((len(folds), n), dtype=np.float32)
        for i, out in enumerate(folds):
            of_fold[i, ~out] = class_weights(rows.labels[~out], rows.classes)
        self._weight = tensor(np.tile(of_fold, (len(settings), 1)))
        # Batches are of all rows, so that a network sees its share of them.
        seen = float(np.mean([(~out).mean() for out in folds]))
        self._batch = n if batch >= round(seen * n) else max(1, round(batch / seen))
        self._order = keyed_rng(seed, "batches", kernel, stride, filters, batch)
        self._rate = tensor(_each(settings, folds, "learning_rate"))
        self._decay = tensor(_each(settings, folds, "weight_decay"))

        # As torch starts its layers: uniform, by the number of inputs.
        first: list[list[np.ndarray]] = [[], [], [], []]
        inputs = self._width + rows.static.shape[1]
        for i in range(len(folds)):
            rng = keyed_rng(seed, "first weights", i, kernel, stride, pool, filters)
            for part, shape, fan in zip(
                first,
                ((width, filters), (filters,), (inputs, rows.classes), (rows.classes,)),
                (width, width, inputs, inputs),
                strict=True,
            ):
                part.append(rng.uniform(-1, 1, shape).astype(np.float32) / np.sqrt(fan))
        self._parameters = [
            tensor(np.tile(np.stack(part), (len(settings), *[1] * part[0].ndim)).astype(np.float32))
            for part in first
        ]
        self._moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self._parameters]

    def only(self, settings: set[_Setting]) -> _Stack:
        """Drop the networks of all other settings."""
        import torch

        kept = [s in settings for s in self.settings]
        if not all(kept):
            chosen = torch.as_tensor(np.flatnonzero(np.repeat(kept, len(self._folds))))
            chosen = chosen.to(self._x.device)
            self._parameters = [p[chosen] for p in self._parameters]
            self._moments = [(a[chosen], b[chosen]) for a, b in self._moments]
            self._weight, self._rate = self._weight[chosen], self._rate[chosen]
            self._decay = self._decay[chosen]
            self.work = self.work * sum(kept) // len(kept)
            self.settings = [s for s in self.settings if s in settings]
        return self

    def train(self, epochs: int) -> dict[_Setting, np.ndarray]:
        """Go on until so many epochs are done; return logits of the rows left out."""
        import torch

        n = len(self._x)
        while self._epoch < epochs:
            self._epoch += 1
            if self._batch >= n:
                self._update(None)
                continue
            order = torch.as_tensor(self._order.permutation(n)).to(self._x.device)
            for start in range(0, n, self._batch):
                self._update(order[start : start + self._batch])
        with torch.no_grad():
            logits = self._forward(self._parameters, None).cpu().numpy().astype(np.float64)
        out = {}
        for i, setting in enumerate(self.settings):
            out[setting] = np.zeros((n, self._classes))
            for k, rows in enumerate(self._folds):
                out[setting][rows] = logits[i * len(self._folds) + k, rows]
        return out

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights of the only network."""
        names = ("convolution", "bias", "linear", "offset")
        return {n: p[0].cpu().numpy() for n, p in zip(names, self._parameters, strict=True)}

    def _forward(self, parameters: list[torch.Tensor], rows: torch.Tensor | None) -> torch.Tensor:
        """Return logits (network, row, class)."""
        import torch

        convolution, bias, linear, offset = parameters
        x = self._x if rows is None else self._x[rows]
        static = self._static if rows is None else self._static[rows]
        networks = len(bias)
        # One product for all networks: they see the same windows.
        wide = convolution.permute(1, 0, 2).reshape(x.shape[-1], -1)
        places = torch.relu(x.reshape(-1, x.shape[-1]) @ wide + bias.reshape(-1))
        places = places.reshape(len(x), -1, networks, self._filters)
        if self._pool == "max":
            found = places.amax(dim=1).transpose(0, 1)
        elif self._pool == "average":
            found = places.mean(dim=1).transpose(0, 1)
        else:
            found = places.permute(2, 0, 1, 3).reshape(networks, len(x), -1)
        logits = torch.baddbmm(offset[:, None], found, linear[:, : self._width])
        return logits + static @ linear[:, self._width :]

    def _update(self, rows: torch.Tensor | None) -> None:
        """Take one step of Adam (Kingma and Ba 2015), each network with its own rate and decay."""
        import torch

        weight = self._weight if rows is None else self._weight[:, rows]
        y = self._y if rows is None else self._y[rows]
        parameters = [p.requires_grad_() for p in self._parameters]
        scores = torch.log_softmax(self._forward(parameters, rows), dim=2)
        right = scores[:, torch.arange(len(y), device=y.device), y]
        # Weights of all rows sum to 1; a batch is an estimate of their mean.
        loss = -(weight * right).sum() * (len(self._x) / len(y))
        gradients = torch.autograd.grad(loss, parameters)
        self._step += 1
        first, second = 1 - 0.9**self._step, 1 - 0.999**self._step
        with torch.no_grad():
            for p, g, (m, v) in zip(parameters, gradients, self._moments, strict=True):
                each = (-1, *[1] * (p.ndim - 1))
                g = g + self._decay.reshape(each) * p
                m.mul_(0.9).add_(g, alpha=0.1)
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                rate = self._rate.reshape(each) / first
                p.requires_grad_(False).sub_(rate * m / ((v / second).sqrt_() + 1e-8))


def _each(settings: list[_Setting], folds: list[np.ndarray], name: str) -> np.ndarray:
    values = [getattr(s, name) for s in settings]
    return np.repeat(np.array(values, dtype=np.float32), len(folds))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep torch to one thread: stacks are spread over threads, and sums keep their order.

    torch counts threads for the whole process, so the last of several fits side by side gives
    them back.
    """
    import torch

    global _fits, _threads_before
    with _lock:
        if _fits == 0:
            _threads_before = torch.get_num_threads()
            torch.set_num_threads(1)
        _fits += 1
    try:
        yield
    finally:
        with _lock:
            _fits -= 1
            if _fits == 0:
                torch.set_num_threads(_threads_before)


_lock = Lock()
_fits = 0
_threads_before = 1
