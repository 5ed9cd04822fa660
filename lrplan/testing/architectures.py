"""What every architecture keeps to, under every credit assignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
import torch
from torch import Tensor

from lrplan.cohort.settings import family_of
from lrplan.errors import UsageError
from lrplan.registry import Registry
from lrplan.simulate.architectures import Architecture, Head, architectures
from lrplan.simulate.credits import Credit, LearnedFeedback, Observed, Operation, credits
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.network import Network, Pass, init_backward, init_params, layer_positions
from lrplan.testing._contract import Contract, refused, told

HEADS = (Head("readout", 10), Head("contrastive", 24))
POSITIONS = ("early", "middle", "deep")
REFUSED: dict[str, tuple[Any, ...]] = {
    "width": (0, -1, 2.5, True),
    "depth": (0, True),
    "growth": (0, 2.5, True),
    "channels": ([], [0], [4, True]),
    "blocks": ([], [0], [1, True]),
    "kernel": (0, -1, True),
    "stem": ("large", ""),
    "nonlinearity": ("rleu", ""),
    "normalisation": ("bach", ""),
    "gain": (0.0, -1.0, float("nan"), True),
    "pooling": ("men", ""),
    "skip": (1, "yes"),
}
"""Values that settings of these names cannot have."""

Tensors = dict[str, Tensor]


class ArchitectureContract(Contract):
    """What every architecture keeps to.

    Attributes
    ----------
    settings : mapping
        What differs from the defaults; narrow layers save time.
    """

    registry: ClassVar[Registry[Any]] = architectures
    settings: Mapping[str, Any] = {}

    def _architecture(self) -> Architecture:
        return architectures.get(self.name)

    def _built(self, head: Head, examples: int = 5) -> tuple[Network, Tensor]:
        architecture = self._architecture()
        size = architecture.size or 8
        settings = {**architecture.settings, **self.settings}
        network = architecture.build((1, size, size), head, **settings)
        x = np.random.default_rng(0).standard_normal((examples, 1, size, size))
        return network, torch.from_numpy(x.astype(np.float32))

    def test_it_says_what_it_is(self) -> None:
        """A line that says it, its source, its settings and the size of image that it takes."""
        architecture = self._architecture()
        told(architecture, "summary", "cites")
        assert isinstance(architecture.settings, dict), "settings are names with their defaults"
        assert architecture.size is None or architecture.size >= 1

    def test_its_family_is_what_a_cohort_reads_from_its_name(self) -> None:
        """Cohorts know architectures by name, and hold out families where there is no plug-in."""
        declared, read = self._architecture().family, family_of(self.name)
        assert declared == read, (
            f"{self.name} declares the family {declared!r}; a cohort reads {read!r} from its name"
        )

    def test_layers_have_names_of_their_own_and_a_position(self) -> None:
        """Thirds of the layers before the head are early, middle and deep; a head is deep."""
        for head in HEADS:
            network, _ = self._built(head)
            names = [layer.name for layer in network.layers]
            assert len(names) == len(set(names)), "two layers have one name"
            assert not any("." in n for n in names), "a dot parts the layer from its parameter"
            positions = layer_positions(network)
            assert len(positions) == len(names)
            assert set(positions) == set(POSITIONS), "there must be early, middle and deep layers"
            order = [POSITIONS.index(p) for p in positions]
            assert order == sorted(order), "layers are listed in the order of the signal"
            pairs = list(zip(names, positions, strict=True))
            body = [p for n, p in pairs if not n.startswith("head")]
            g = max(1, len(body) // 3)
            assert body == ["early"] * g + ["middle"] * g + ["deep"] * (len(body) - 2 * g)
            assert all(p == "deep" for n, p in pairs if n.startswith("head"))

    def test_a_setting_that_cannot_be_is_refused_by_name(self) -> None:
        """Such as numbers of units and layers, kernels, nonlinearities and normalisations."""
        architecture = self._architecture()
        keys = [k for k in architecture.settings if k in REFUSED]
        if not keys:
            raise SkipTest("none of the settings that are known everywhere")
        for key in keys:
            for value in REFUSED[key]:
                with refused(UsageError, f"{key} = {value!r}", key):
                    architecture.build(
                        (1, 16, 16), HEADS[0], **architecture.settings | {key: value}
                    )

    def test_a_pass_records_every_layer_and_a_gradient_reaches_every_parameter(self) -> None:
        """Under every registered credit."""
        for head in HEADS:
            network, x = self._built(head)
            params = _tensors(init_params(network, np.random.default_rng(1)))
            output = network.forward(Pass(params), x)
            assert output.shape == (5, head.width), "the output is (example, width of the head)"
            for name, kind in credits.items():
                credit = kind()
                backward = {}
                if credit.backward_weights:
                    backward = _tensors(init_backward(network, np.random.default_rng(2)))
                found, run = _gradients(network, params, backward, credit, x)
                _check_records(network, run, params)
                assert set(found) == set(params)
                for key, gradient in found.items():
                    assert gradient.shape == params[key].shape
                    assert torch.isfinite(gradient).all(), f"{key} under {name}: not finite"
                    if credit.way_back != "own":
                        assert gradient.abs().sum() > 0, f"{key} under {name}: no gradient"

    def test_feedback_through_the_transpose_is_backpropagation(self) -> None:
        """In float64; every weight goes through `Pass`, and every layer behind has feedback."""
        for head in HEADS:
            network, x = self._built(head)
            params = _doubles(init_params(network, np.random.default_rng(1)))
            same = {layer.name: params[f"{layer.name}.weight"] for layer in network.layers[1:]}
            expected, _ = _gradients(network, params, {}, Backpropagation(), x.double())
            found, _ = _gradients(network, params, same, FeedbackAlignment(), x.double())
            for key, value in expected.items():
                assert torch.allclose(found[key], value, rtol=1e-10, atol=1e-10), (
                    f"{key} learns otherwise than by backpropagation where B = W"
                )

    def test_feedback_through_other_weights_changes_all_but_the_last_layer(self) -> None:
        """No error finds a way around the layers."""
        network, x = self._built(HEADS[0])
        params = _doubles(init_params(network, np.random.default_rng(1)))
        backward = _doubles(init_backward(network, np.random.default_rng(2)))
        expected, _ = _gradients(network, params, {}, Backpropagation(), x.double())
        found, _ = _gradients(network, params, backward, FeedbackAlignment(), x.double())
        *before, last = (f"{layer.name}.weight" for layer in network.layers)
        assert torch.allclose(found[last], expected[last], rtol=1e-10, atol=1e-10)
        for key in before:
            ours, theirs = found[key].flatten(), expected[key].flatten()
            assert torch.cosine_similarity(ours, theirs, dim=0) < 0.9, (
                f"the error of {key} does not go back through the layers behind it"
            )

    def test_a_stack_learns_as_its_organisms_do(self) -> None:
        """The forward pass runs under `torch.func.vmap`, with every registered credit."""
        network, x = self._built(HEADS[0])
        x = x.double()
        each = [_doubles(init_params(network, np.random.default_rng(i))) for i in range(2)]
        drawn = [_doubles(init_backward(network, np.random.default_rng(9 + i))) for i in range(2)]
        for name, kind in credits.items():
            credit = kind()
            backs = drawn if credit.backward_weights else [{}, {}]

            def both(params: Tensors, backward: Tensors, credit: Credit = credit) -> list[Tensors]:
                found, _ = _gradients(network, params, backward, credit, x)
                return [found, _moves(network, params, backward, credit, x)]

            together = torch.func.vmap(both)(_stack(each), _stack(backs))
            for i in range(2):
                for stacked, alone in zip(together, both(each[i], backs[i]), strict=True):
                    assert set(stacked) == set(alone)
                    for key, value in alone.items():
                        assert torch.allclose(stacked[key][i], value, rtol=1e-8, atol=1e-9), (
                            f"{key} of organism {i} learns otherwise in a stack, under {name}"
                        )

    def test_a_probe_gives_the_derivative_of_its_own_layer(self) -> None:
        """Skip paths lead from one layer's probe to another's output, unless they are cut."""
        network, x = self._built(HEADS[0], examples=3)
        x = x.double()
        params = _doubles(init_params(network, np.random.default_rng(1)))
        first = Pass(params)
        network.forward(first, x)
        statistics = first.batch_statistics
        shown = Pass(params, statistics=statistics)
        network.forward(shown, x)
        for every in (1, 3):
            stored = [layer.name for layer in network.layers][::every]
            rng = np.random.default_rng(2)
            upon = {
                n: torch.from_numpy(rng.standard_normal(shown.outputs[n].shape)) for n in stored
            }

            def total(probes: Tensors, upon: Tensors = upon) -> Tensor:
                run = Pass(params, statistics=statistics, probes=probes)
                network.forward(run, x)
                return torch.stack([(run.outputs[n] * u).sum() for n, u in upon.items()]).sum()

            found = torch.func.grad(total)(
                {n: torch.zeros_like(shown.visits[n][-1].x) for n in stored}
            )
            for n in stored:
                probe = torch.zeros_like(found[n]).requires_grad_()

                class Replaced(Pass):
                    """The inputs of one layer are those of the pass that was shown, and a probe."""

                    def _apply(
                        self,
                        name: str,
                        op: Operation,
                        x: Tensor,
                        n: str = n,
                        probe: Tensor = probe,
                    ) -> Tensor:
                        if name == n:
                            x = shown.visits[n][len(self.visits.get(n, ()))].x.detach() + probe
                        return super()._apply(name, op, x)

                alone = Replaced(params, statistics=statistics)
                network.forward(alone, x)
                [expected] = torch.autograd.grad((alone.outputs[n] * upon[n]).sum(), probe)
                assert torch.allclose(found[n], expected, rtol=1e-10, atol=1e-12), (
                    f"the probe of {n} meets other layers; skip paths join through run.residual"
                )

    def test_an_example_is_judged_on_its_own_once_statistics_are_fixed(self) -> None:
        """Nothing but the statistics of normalisation mixes examples."""
        for head in HEADS:
            network, x = self._built(head)
            params = _tensors(init_params(network, np.random.default_rng(1)))
            first = Pass(params)
            network.forward(first, x)
            statistics = first.batch_statistics
            together = network.forward(Pass(params, statistics=statistics), x)
            for i in range(len(x)):
                alone = network.forward(Pass(params, statistics=statistics), x[i : i + 1])
                assert torch.allclose(alone[0], together[i], rtol=1e-4, atol=1e-4), (
                    "an example is not judged on its own"
                )

    def test_weights_start_where_the_seed_says(self) -> None:
        """And as large as their gain says."""
        for head in HEADS:
            network, _ = self._built(head)
            one, same, other = (init_params(network, np.random.default_rng(s)) for s in (0, 0, 1))
            for key, value in one.items():
                assert value.dtype == np.float32
                np.testing.assert_array_equal(value, same[key])
                if key.endswith(".weight"):
                    assert (value != other[key]).any(), key
            for layer in network.layers:
                gain = layer.gain or (1 if layer.readout else 2)
                spread = one[f"{layer.name}.weight"].std() * np.sqrt(
                    np.prod(layer.shape[1:]) / gain
                )
                assert 0.7 < spread < 1.4, layer.name
            back = init_backward(network, np.random.default_rng(0))
            assert list(back) == [layer.name for layer in network.layers[1:]]
            for layer in network.layers[1:]:
                assert back[layer.name].shape == layer.shape


def _tensors(arrays: Mapping[str, np.ndarray]) -> Tensors:
    return {k: torch.from_numpy(v) for k, v in arrays.items()}


def _doubles(arrays: Mapping[str, np.ndarray]) -> Tensors:
    return {k: v.double() for k, v in _tensors(arrays).items()}


def _stack(many: list[Tensors]) -> Tensors:
    return {k: torch.stack([m[k] for m in many]) for k in many[0]}


def _gradients(
    network: Network, params: Tensors, backward: Tensors, credit: Credit, x: Tensor
) -> tuple[Tensors, Pass]:
    """Return the gradients of a loss that every output takes part in, and what a pass leaves."""
    runs = []

    def loss(params: Tensors) -> Tensor:
        run = Pass(params, backward=backward, credit=credit)
        output = network.forward(run, x)
        runs.append(run)
        # Normalised layers make a plain sum blind to their weights.
        places = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape)
        return (output * places).sin().sum()

    return torch.func.grad(loss)(params), runs[0]


def _moves(
    network: Network, params: Tensors, backward: Tensors, credit: Credit, x: Tensor
) -> Tensors:
    """Return the steps of backward weights that learn."""
    if not isinstance(credit, LearnedFeedback):
        return {}
    run = Pass(params, backward=backward, credit=credit)
    network.forward(run, x)
    return {
        n: credit.update_backward(
            Observed(run.operations[n], params[f"{n}.weight"], b, run.visits[n])
        )
        for n, b in backward.items()
    }


def _check_records(network: Network, run: Pass, params: Tensors) -> None:
    """Assert that a pass of 5 examples left something of each layer."""
    names = {layer.name for layer in network.layers}
    for record in (run.visits, run.operations):
        assert set(record) == names, "each layer goes through run.linear or run.conv by its name"
    assert set(run.outputs) == names | {"features"}, "run.output is called for each layer"
    for layer in network.layers:
        assert params[f"{layer.name}.weight"].shape == layer.shape
        for visit in run.visits[layer.name]:
            assert visit.y is not None, f"run.output is called for each visit to {layer.name}"
            assert len(visit.x) == len(visit.z) == len(visit.y) == 5
        assert run.visits[layer.name][-1].y is run.outputs[layer.name]
    # Layer normalisation leaves no statistics; of either kind a gradient reaches scale and shift.
    normalised = {name.split(" ")[0] for name in run.batch_statistics}
    assert normalised <= {layer.name for layer in network.layers if layer.norm}
