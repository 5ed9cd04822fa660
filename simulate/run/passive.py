"""Passive twins: organisms that see what others learn, beside those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lrplan.cohort.references import PASSIVE
from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import UsageError
from lrplan.randomness import keyed_rng
from lrplan.simulate.learn.exposure import PLASTICITY
from lrplan.simulate.run._values import is_number, only_known, refuse_distribution
from lrplan.simulate.run.distributions import Choice, Distribution, distribution

KEYS = ("share", "plasticity")


@dataclass(frozen=True)
class Passive:
    """What a ``[passive]`` table of a recipe says.

    Parameters
    ----------
    share : float
        Of the organisms that have a passive twin, 0 to 1.
    plasticity : distribution
        Of how far the twins move, 0 to 1 (`Exposed`).
    """

    share: float = 1.0
    plasticity: Distribution = Choice((PLASTICITY,))

    def twins(self, specs: Sequence[OrganismSpec]) -> list[OrganismSpec]:
        """Return the passive twins of organisms, in their order.

        Which have one, and how plastic it is, is drawn for organisms that differ in nothing but
        the rule, its settings and its learning rate together: nothing but the rule is to differ
        between rules.
        """
        found = []
        for spec in specs:
            rng = keyed_rng(
                *("passive", spec.architecture, spec.task, spec.batch_size),
                *(spec.model_seed, spec.data_seed),
            )
            chosen, quantile = rng.random(2)
            if chosen < self.share:
                found.append(twin_of(spec, float(self.plasticity.at(quantile))))
        return found


def twin_of(spec: OrganismSpec, plasticity: float = PLASTICITY) -> OrganismSpec:
    """Return the organism that is the same preparation and does not learn.

    Parameters
    ----------
    spec : OrganismSpec
        One that learns.
    plasticity : float
        How far it moves, 0 to 1.
    """
    training = dict(spec.settings.get("training", {}))
    training |= {"condition": PASSIVE, "preparation": spec.hash, "plasticity": plasticity}
    return replace(spec, settings={**spec.settings, "training": training})


def parse_passive(tables: Sequence[tuple[Mapping[str, Any], str]]) -> Passive:
    """Check the ``[passive]`` tables that stand for a grid or draw.

    Parameters
    ----------
    tables : sequence of (mapping, str)
        What they say, and what to call them in messages: that of the recipe, then that of the
        grid or draw, which goes before. Without any there are no twins.

    Raises
    ------
    UsageError
        If one names what does not exist, or a value that cannot be.
    """
    if not tables:
        return Passive(share=0.0)
    found = Passive()
    for table, where in tables:
        only_known(table, KEYS, where)
        if "share" in table:
            refuse_distribution(table["share"], f"{where}: share")
            found = replace(found, share=_share(table["share"], f"{where}: share"))
        if "plasticity" in table:
            place = f"{where}: plasticity"
            check = partial(_share, where=place)
            drawn = distribution(table["plasticity"], PLASTICITY, place, check)
            found = replace(found, plasticity=drawn)
    return found


def _share(value: Any, where: str) -> float:
    """Return a number from 0 to 1, or refuse it."""
    if not is_number(value) or not 0 <= value <= 1:
        raise UsageError(f"{where} is {value!r}; expected a number from 0 to 1")
    return float(value)
