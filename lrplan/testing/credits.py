"""What every credit assignment keeps to."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lrplan.registry import Registry
from lrplan.simulate.credits import (
    Conv,
    LearnedFeedback,
    Linear,
    Observed,
    Operation,
    OwnUpdate,
    Visit,
    carry_back,
    credits,
)
from lrplan.testing._contract import Contract, told

MEMBERS = {
    *("apply", "update", "update_backward", "minimiser"),
    *("backward_weights", "way_back", "any_precision"),
}
LAYERS: tuple[tuple[Operation, tuple[int, ...], tuple[int, ...]], ...] = (
    (Linear(), (6, 4), (3, 4)),
    (Conv(1, 1), (6, 2, 5, 5), (3, 2, 3, 3)),
    (Conv(2, 0), (6, 2, 5, 5), (3, 2, 3, 3)),
)


class CreditContract(Contract):
    """What every credit assignment keeps to, with its default settings.

    What it equals where the answer is known (backpropagation, a published loss) is for its own
    tests to show.
    """

    registry: ClassVar[Registry[Any]] = credits

    def test_it_says_what_it_is_and_has_no_member_that_nobody_calls(self) -> None:
        """A mistyped member would be left out silently."""
        credit: Any = credits.get(self.name)()
        told(credit, "summary", "cites")
        assert dataclasses.is_dataclass(credit)
        fields = dataclasses.fields(credit)
        assert all(f.default is not dataclasses.MISSING for f in fields), "a setting has no default"
        own = {m for m, _ in inspect.getmembers(credit) if not m.startswith("_")}
        unknown = own - {f.name for f in fields} - {"summary", "cites"} - MEMBERS
        assert not unknown, f"lrplan knows no members {unknown}; known: {sorted(MEMBERS)}"

    def test_its_parts_fit_together(self) -> None:
        """Backward weights are there where they are used."""
        credit: Any = credits.get(self.name)()
        assert credit.way_back in ("forward weights", "backward weights", "own")
        if credit.way_back != "own":
            assert credit.backward_weights == (credit.way_back == "backward weights")
        assert credit.backward_weights or not isinstance(credit, LearnedFeedback), (
            "update_backward needs backward_weights = True"
        )

    def test_what_it_says_of_its_way_back_is_true(self) -> None:
        """A stack takes it at its word."""
        credit = credits.get(self.name)()
        for op, x, w, b, dz in _layers():
            mine = b[0] if credit.backward_weights else None
            given = (x[0], w[0], dz[0])
            z, *found = _back(lambda x, w, op=op, mine=mine: credit.apply(op, x, w, mine), *given)
            assert torch.allclose(z, op.forward(x[0], w[0]), rtol=0, atol=1e-10), (
                f"apply must return z = W x ({op})"
            )
            assert all(torch.isfinite(g).all() for g in found), f"an error is not finite ({op})"
            known: dict[str, Callable[..., Tensor]] = {
                "forward weights": op.forward,
                "backward weights": lambda x, w, op=op, b=b: carry_back(op, x, w, b[0]),
            }
            if credit.way_back in known:
                _, *expected = _back(known[credit.way_back], *given)
                for one, other in zip(found, expected, strict=True):
                    assert torch.allclose(one, other, rtol=0, atol=1e-10), (
                        f'way_back is "{credit.way_back}", but errors go back otherwise; say "own"'
                    )

    def test_it_is_the_same_under_vmap(self) -> None:
        """Organisms train in stacks: no ``.item()``, no change in place, no branch on values."""
        credit: Any = credits.get(self.name)()
        for op, x, w, b, dz in _layers():
            for has_backward in {False, credit.backward_weights}:

                def asked(
                    x: Tensor,
                    w: Tensor,
                    b: Tensor,
                    dz: Tensor,
                    op: Operation = op,
                    has_backward: bool = has_backward,
                ) -> tuple[Tensor, ...]:
                    mine = b if has_backward else None
                    # Nothing lies behind the first layer, which has no backward weights.
                    by = (1,) if credit.backward_weights and mine is None else (0, 1)
                    z, *errors, change = _back(
                        lambda x, w: credit.apply(op, x, w, mine), x, w, dz, by=by
                    )
                    visits = [Visit(x, z, z.relu(), dz), Visit(x / 2, z / 2, z.relu() / 2, dz / 3)]
                    # Errors and rewards are known where W learns, not where B does.
                    seen = Observed(op, w, mine, visits, -(z**2).flatten(1).mean(1))
                    blind = Observed(op, w, mine, [replace(v, error=None) for v in visits])
                    changes = [change]
                    if isinstance(credit, OwnUpdate):
                        own = credit.update(seen)
                        changes += [] if own is None else [own]
                    if isinstance(credit, LearnedFeedback) and mine is not None:
                        changes.append(credit.update_backward(blind))
                    for change in changes:
                        assert change.shape == w.shape, (
                            f"a change has the shape {tuple(change.shape)}, W {tuple(w.shape)}"
                        )
                    return (z, *errors, *changes)

                together = torch.func.vmap(asked)(x, w, b, dz)
                for i in range(len(x)):
                    for one, other in zip(together, asked(x[i], w[i], b[i], dz[i]), strict=True):
                        assert torch.isfinite(other).all(), (
                            f"a change or error is not finite ({op})"
                        )
                        assert torch.allclose(one[i], other, rtol=1e-9, atol=1e-9), (
                            f"an organism in a stack learns otherwise than alone ({op})"
                        )


def _back(
    apply: Callable[..., Tensor],
    x: Tensor,
    w: Tensor,
    dz: Tensor,
    *,
    by: tuple[int, ...] = (0, 1),
) -> tuple[Tensor, ...]:
    """Return what `apply` makes of x and W, and where an error dz of it goes: to x and to W."""
    pulled = torch.func.grad(lambda x, w: (apply(x, w) * dz).sum(), argnums=by)(x, w)
    return (apply(x, w), *pulled)


def _layers() -> Iterator[tuple[Operation, Tensor, Tensor, Tensor, Tensor]]:
    """Yield operations, and x, W, B and an error of the output, for three organisms in float64."""
    for op, inputs, weights in LAYERS:
        rng = np.random.default_rng(0)
        x, w, b = (
            torch.from_numpy(rng.standard_normal((3, *shape)))
            for shape in (inputs, weights, weights)
        )
        shape = op.forward(x[0], w[0]).shape
        yield op, x, w, b, torch.from_numpy(rng.standard_normal((3, *shape)))
