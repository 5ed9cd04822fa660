"""Whether organisms learned their task: one rule, in one place.

An organism that did not learn says nothing about its learning rule, and recordings of several of
them look alike whatever their rules are. So they are left out like those that diverged, and
counted (`lrplan.cohort.store.Cohort.fates`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrplan.errors import DataError

ALPHA = 1e-6
"""Level of the test against chance.

Cohorts have thousands of organisms, each is tested, and so 10,000 of them that guess give one false
positive in a hundred cohorts (Bonferroni: 0.01 / 10,000).
"""
MARGIN = 0.12
"""By how much performance must exceed chance; by 1.2 times chance where that is less.

A network with random weights answers in a systematic way, and so its performance varies more than
a guess's, which the test cannot know. Of twice 504 networks with a readout before training (digits,
shapes, tones; chance 0.1) the best were right in 0.189 and 0.211. And among many held-out examples
a trifle is significant.
"""
LOSS_FALL = 0.05
"""By which share of its first value a self-supervised loss must fall."""

RISE_ALPHA = 0.05
"""Level of the test that a probe has risen.

It is far above chance before training, so the test against chance says nothing, and of probes
that do not change half are above their first value. The level is no stricter since a probe that
starts at 0.95 of 360 examples could never pass; and the loss must have fallen, too.
"""

LEARNED, NOT_LEARNED, DIVERGED, UNKNOWN = "learned", "not learned", "diverged", "unknown"
FATES = (LEARNED, NOT_LEARNED, DIVERGED, UNKNOWN)
"""What may have become of an organism in training."""
RULE = (
    "performance ended above its first value, and above chance by at least 0.12 and p < 1e-6; if "
    "self-supervised, the probe rose with p < 0.05, and the loss fell by 5% (docs/cohorts.md)"
)
"""`has_learned` in words."""

_ROUNDING = 1e-6


def has_learned(
    performance: np.ndarray,
    loss: np.ndarray,
    chance: np.ndarray,
    held_out: np.ndarray,
    self_supervised: np.ndarray,
) -> np.ndarray:
    """Say which organisms learned their task.

    With a readout, an organism has if its performance at the end is

    - above its first one,
    - above chance by at least `MARGIN` (1.2 times chance where that is less), and
    - above chance by a one-sided exact binomial test over the held-out examples at `ALPHA`.

    A self-supervised organism learns to lower its loss, and performance is that of a probe (a
    linear readout of its features), which is above chance before training. It has learned if its
    probe is above its first one by a one-sided test of two shares at `RISE_ALPHA`, and above chance
    by the test, and its loss has fallen by at least `LOSS_FALL` of its first value. The loss alone
    would not do: it also falls where an organism learns something else than the classes, such as
    colours. The two shares are taken for independent; they are of the same examples, so the test
    errs on the side of "not learned", most of all where a probe starts near 1.

    Parameters
    ----------
    performance : array (organism, checkpoint)
        Share of held-out examples whose class is found.
    loss : array (organism, checkpoint)
        Loss on held-out examples, in nats.
    chance : array (organism,)
        Performance of who learned nothing.
    held_out : array (organism,) of int
        Number of held-out examples behind performance.
    self_supervised : array (organism,) of bool
        Whether performance is that of a probe.

    Returns
    -------
    array (organism,) of bool
        False where something is not finite.

    Examples
    --------
    Of 360 held-out digits 0.11 are named at the end, of 2000 shapes 0.22 and 0.19.

    >>> performance = np.array([[0.10, 0.11], [0.10, 0.22], [0.10, 0.19]])
    >>> held_out = np.array([360, 2000, 2000])
    >>> chance, loss = np.full(3, 0.1), np.zeros((3, 2))
    >>> has_learned(performance, loss, chance, held_out, np.zeros(3, dtype=bool)).tolist()
    [False, True, False]
    """
    first, final = performance[:, 0].astype(float), performance[:, -1].astype(float)
    risen = final > first
    clear = final - chance >= np.minimum(MARGIN, 1.2 * chance) - _ROUNDING
    better = _rise_p_value(first, final, held_out) < RISE_ALPHA
    fallen = loss[:, -1] <= loss[:, 0] - LOSS_FALL * np.abs(loss[:, 0])
    tested = _p_value(final, chance, held_out) < ALPHA
    return np.asarray(risen & tested & np.where(self_supervised, fallen & better, clear))


def fates(
    performance: np.ndarray,
    loss: np.ndarray,
    chance: np.ndarray,
    held_out: np.ndarray,
    self_supervised: np.ndarray,
    diverged: np.ndarray,
) -> np.ndarray:
    """Return what became of organisms: one of `FATES` each, (organism,).

    Parameters
    ----------
    performance, loss, chance, held_out, self_supervised
        As for `has_learned`; NaN and 0 are unknown.
    diverged : array (organism,) of bool
        An organism that diverged is no other case, whatever its performance.
    """
    known = np.isfinite(chance) & (held_out > 0) & np.isfinite(performance[:, [0, -1]]).all(axis=1)
    learned = has_learned(performance, loss, chance, held_out, self_supervised)
    found = np.where(known, np.where(learned, LEARNED, NOT_LEARNED), UNKNOWN)
    return np.where(diverged, DIVERGED, found)


def counts(found: np.ndarray) -> dict[str, int]:
    """Return how many organisms met each fate, as JSON has it: ``not_learned`` is one word."""
    return {fate.replace(" ", "_"): int((found == fate).sum()) for fate in FATES}


def left_out(found: np.ndarray, *, include_unlearned: bool) -> list[str]:
    """Say how many organisms are left out, and why.

    Parameters
    ----------
    found : array (organism,)
        As `fates` returns it.
    include_unlearned : bool
        Whether those that did not learn were asked for.
    """
    number = counts(found)
    out = []
    if number["diverged"]:
        out.append(f"{number['diverged']} organisms diverged in training and were left out")
    if number["not_learned"] and not include_unlearned:
        out.append(
            f"{number['not_learned']} organisms did not learn their task and were left out "
            "(--include-unlearned keeps them)"
        )
    return out


def kept(found: np.ndarray, cohort: str, *, include_unlearned: bool) -> list[str]:
    """Say how many organisms are kept that did not learn, or of which it is unknown.

    Parameters
    ----------
    found : array (organism,)
        As `fates` returns it.
    cohort : str
        The cohort's name.
    include_unlearned : bool
        Whether those that did not learn were asked for.
    """
    number = counts(found)
    out = []
    if number["not_learned"] and include_unlearned:
        out.append(f"{number['not_learned']} organisms did not learn their task and were kept")
    if number["unknown"]:
        every = number["unknown"] == len(found)
        what = "which organisms" if every else f"whether {number['unknown']} organisms"
        out.append(f"the cohort {cohort!r} does not say {what} learned; they were kept")
    return out


def refuse_lost_rules(
    found: np.ndarray,
    rules: np.ndarray,
    cohort: str,
    *,
    include_unlearned: bool,
    asked: Sequence[str] | None = None,
) -> None:
    """Refuse a cohort in which a rule has organisms, but none that is usable.

    To leave such a rule out silently would answer another question than was asked.

    Parameters
    ----------
    found : array (organism,)
        As `fates` returns it.
    rules : array (organism,)
        The organisms' rules.
    cohort : str
        The cohort's name.
    include_unlearned : bool
        Whether those that did not learn are usable.
    asked : sequence of str, optional
        The rules that are to be told apart; by default all.

    Raises
    ------
    DataError
        With the rule, what became of its organisms, and what can be done.
    """
    usable = is_usable(found, include_unlearned=include_unlearned)
    if not usable.any():
        return  # that nothing can be recorded is said of the whole cohort
    for rule in sorted(set(map(str, rules if asked is None else asked))):
        own = rules == rule
        if not own.any() or usable[own].any():
            continue
        number = counts(found[own])
        said = (("not_learned", "did not learn"), ("diverged", "diverged"))
        fate = ", ".join(f"{number[key]} {what}" for key, what in said if number[key])
        keep = ", or keep what did not learn (--include-unlearned)" if number["not_learned"] else ""
        raise DataError(
            f"the cohort {cohort!r} has no usable organism of the rule {rule!r}: of "
            f"{int(own.sum())}, {fate}. Train it with other settings, tell the other rules apart "
            f"(`lrplan cohort select --rule`){keep}"
        )


def is_usable(found: np.ndarray, *, include_unlearned: bool) -> np.ndarray:
    """Say which organisms are recorded: those that learned, and those of which it is unknown.

    Parameters
    ----------
    found : array (organism,)
        As `fates` returns it.
    include_unlearned : bool
        Whether those that did not learn are, too.
    """
    lost = [DIVERGED] if include_unlearned else [DIVERGED, NOT_LEARNED]
    return ~np.isin(found, lost)


def _p_value(share: np.ndarray, chance: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Return the probability that guessing names as large a share of examples, or a larger one."""
    from scipy.special import betainc

    right = np.rint(np.nan_to_num(share) * examples)
    # The binomial distribution's upper tail as an incomplete beta function; 1 from 0 on.
    tail = betainc(np.maximum(right, 1), np.maximum(examples - right, 0) + 1, chance)
    return np.where(right > 0, tail, 1.0)


def _rise_p_value(first: np.ndarray, final: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Return the probability that a share rises as much between two draws of the examples."""
    from scipy.special import ndtr

    mean = (first + final) / 2
    spread = np.sqrt(2 * np.clip(mean * (1 - mean), 0, None) / np.maximum(examples, 1))
    with np.errstate(invalid="ignore"):
        return np.where(final > first, ndtr(-(final - first) / np.maximum(spread, 1e-12)), 1.0)
