"""Shards: the organisms of a recipe divided among the jobs of a job array.

The jobs know nothing of each other. They meet in the directory of `FinishedOrganisms`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """One of several equal shares of a recipe.

    Parameters
    ----------
    index : int
        Which one; the first is 1.
    count : int
        Of how many.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        for name, value in (("index", self.index), ("count", self.count)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise UsageError(f"the shard's {name} is {value!r}; expected a whole number")
        if self.count < 1 or not 1 <= self.index <= self.count:
            raise UsageError(
                f"shard {self.index}/{self.count} does not exist; shards are counted from 1: "
                f"expected 1/{max(self.count, 1)} to {max(self.count, 1)}/{max(self.count, 1)}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"3/8"``: the third of eight.

        Raises
        ------
        UsageError
            If it is not of this form, or there is no such shard.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
        if not found:
            raise UsageError(
                f"shard is {text!r}; expected INDEX/COUNT, counted from 1, such as 3/8"
            )
        return cls(int(found[1]), int(found[2]))

    def of(self, stacks: Sequence[list[OrganismSpec]]) -> list[list[OrganismSpec]]:
        """Return this shard's share of all stacks.

        It does not depend on what is finished. Stacks are dealt out by their hash, so that no
        shard gets all of the large networks.
        """
        return sorted(stacks, key=lambda stack: stack[0].hash)[self.index - 1 :: self.count]
