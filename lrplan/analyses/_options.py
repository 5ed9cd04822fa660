"""Options of analyses: each is declared where `run` takes it, and read from there.

A parameter of `run` is annotated with its type and an `Option`, and has its default:

    def run(cohort, *, rng, measure: Measure = None, splits: SplitCount = 10) -> Result: ...

`analyse` checks what it is given against this, and the command line makes its options of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Annotated, Any, get_args, get_origin

from lrplan.errors import UsageError

RESERVED = ("cohort", "force", "help", "json", "name", "out", "plot", "quiet", "rng", "seed")
"""What `analyse` or its command take themselves."""


@dataclass(frozen=True)
class Kind:
    """What values an option takes.

    Parameters
    ----------
    expected : str
        In words, for messages.
    accepts : callable
        Whether a Python value is one.
    read : callable
        A value from the text of a command line; raises `ValueError`.
    take : callable, optional
        What `run` is given for a value that is accepted; by default the value itself.
    """

    expected: str
    accepts: Callable[[Any], bool]
    read: Callable[[str], Any]
    take: Callable[[Any], Any] | None = None


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _one_or_several(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        several = isinstance(value, Iterable) and not isinstance(value, str)
        return all(map(accepts, value)) if several else accepts(value)

    return check


def _words(text: str) -> list[str]:
    return [w.strip() for w in text.split(",") if w.strip()]


def _each(read: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [read(w) for w in _words(text)]


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return _words(value)
    return list(value) if isinstance(value, Iterable) else [value]


NAME = Kind("a name", _is_name, str.strip)
NAMES = Kind("a name or several", _one_or_several(_is_name), _words, _list)
WHOLE = Kind("a whole number", _is_whole, int)
WHOLES = Kind("a whole number or several", _one_or_several(_is_whole), _each(int), _list)
NUMBER = Kind("a number", _is_number, float)
NUMBERS = Kind("a number or several", _one_or_several(_is_number), _each(float), _list)
FLAG = Kind("True or False", lambda value: isinstance(value, bool), bool)
# A single name in Python is that of a set, as it always was.
SET_OR_NAMES = Kind(
    "the name of a set of observables, or those of several observables",
    _one_or_several(_is_name),
    lambda text: text.strip() if text.strip() in ("paper", "all") else _words(text),
)


@dataclass(frozen=True)
class Option:
    """An option of an analysis, as its `run` declares it.

    Parameters
    ----------
    help : str
        What it does, in a sentence.
    kind : Kind
        What values it takes.
    metavar : str, default "NAME"
        What stands for its value in a help text.
    unset : str, default ""
        What happens where it is None, which it then may be.
    name, default
        Those of the parameter.
    """

    help: str
    kind: Kind = NAME
    metavar: str = "NAME"
    unset: str = ""
    name: str = ""
    default: Any = None

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def shown_default(self) -> str:
        """The default, as it would be written on the command line."""
        if self.default is None:
            return self.unset
        several = not isinstance(self.default, str) and isinstance(self.default, Sequence)
        return ",".join(map(_shown, self.default if several else [self.default]))

    def checked(self, value: Any) -> Any:
        """Return what `run` is given for a value; raise `UsageError` if it is of another kind."""
        if value is None and self.default is None:
            return None
        if not self.kind.accepts(value):
            raise UsageError(f"{self.name} is {value!r}; expected {self.kind.expected}")
        return value if self.kind.take is None else self.kind.take(value)

    def read(self, text: str) -> Any:
        """Return the value that a text on the command line stands for."""
        try:
            return self.kind.read(text)
        except ValueError:
            raise UsageError(f"{text!r}; expected {self.kind.expected}") from None


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def options_of(run: Callable[..., Any]) -> dict[str, Option]:
    """Return the options that the keyword-only parameters of a function declare.

    Raises
    ------
    TypeError
        If one declares none, has no default, or has a name that is taken.
    """
    out = {}
    for name, parameter in inspect.signature(run).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or name == "rng":
            continue
        where = f"the parameter {name!r} of {run.__module__}.{run.__qualname__}"
        option = _annotated(run, parameter.annotation)
        if option is None:
            raise TypeError(
                f"{where} declares no option; annotate it with one of lrplan.analyses, such as "
                "Measure, or with Annotated[TYPE, Option(HELP)]"
            )
        if parameter.default is inspect.Parameter.empty:
            raise TypeError(f"{where} has no default; an option needs one")
        if name in RESERVED:
            raise TypeError(f"{where} has a name that the command line takes for itself")
        out[name] = replace(option, name=name, default=parameter.default)
    return out


def _annotated(run: Callable[..., Any], annotation: Any) -> Option | None:
    """Return the option in an annotation, which may still be text."""
    if isinstance(annotation, str):
        # One by one: other annotations may name what is imported for type checkers only.
        annotation = eval(annotation, getattr(run, "__globals__", {}))
    if get_origin(annotation) is not Annotated:
        return None
    return next((a for a in get_args(annotation)[1:] if isinstance(a, Option)), None)


# -- options that many analyses share ---------------------------------------------------------

Measure = Annotated[
    str | Sequence[str] | None,
    Option(
        "activity, weights or paired, some of them joined by +, or 'all' joined. Several with "
        "commas.",
        NAMES,
        unset="each that is stored",
    ),
]
Classifier = Annotated[str, Option("See `lrplan list classifiers`.")]
Classifiers = Annotated[
    str | Sequence[str], Option("See `lrplan list classifiers`. Several with commas.", NAMES)
]
Label = Annotated[
    str, Option("What is told: rule, credit, optimizer, objective, architecture or task.")
]
Rules = Annotated[
    Sequence[str] | None,
    Option("Only organisms of these rules. Several with commas.", NAMES, unset="all"),
]
_SPLIT = (
    "What stays together: organism, or layer, which leaks between the layers of an organism and "
    "is there to reproduce the paper."
)
Split = Annotated[str, Option(_SPLIT, metavar="organism|layer")]
BothSplits = Annotated[
    str | Sequence[str], Option(f"{_SPLIT} Both with a comma.", NAMES, metavar="organism|layer")
]
SplitCount = Annotated[int, Option("How many 75%/25% splits.", WHOLE, metavar="N")]
ShuffleLabels = Annotated[
    bool, Option("Let organisms swap labels: a control, to be at chance.", FLAG)
]
Observables = Annotated[
    str | Sequence[str],
    Option("'paper' (the 24 that the paper was left with), 'all', or names.", SET_OR_NAMES),
]
Effort = Annotated[
    str, Option("How widely classifiers search for their settings.", metavar="quick|paper")
]
