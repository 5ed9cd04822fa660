"""What all contracts share: the plug-in's name, a list of checks, one way to run them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest import SkipTest

from lrplan.errors import UsageError
from lrplan.registry import Registry, nearest


class Contract:
    """What every plug-in of one kind keeps to.

    A subclass whose name begins with ``Test`` and that names the plug-in is a test suite for
    pytest; `run` does the same without it. Other attributes that a kind has are options, such as
    the settings with which a task is loaded.

    Attributes
    ----------
    name : str
        The plug-in's registered name. Its module must have been imported, or be an entry point.
    """

    name: str
    registry: ClassVar[Registry[Any]]

    @classmethod
    def checks(cls) -> list[str]:
        """Return the names of all checks, in the order in which they run."""
        found = [n for base in reversed(cls.__mro__) for n in vars(base) if n.startswith("test_")]
        return list(dict.fromkeys(found))

    @classmethod
    def run(cls, name: str, check: str | None = None, **options: Any) -> None:
        """Hold a plug-in to its contract.

        Parameters
        ----------
        name : str
            The plug-in's registered name.
        check : str, optional
            One of `checks`; by default all of them, but for those that do not concern this
            plug-in.
        **options
            Values for other attributes of the contract.

        Raises
        ------
        AssertionError
            If it breaks the contract; the message says what a plug-in must keep.
        unittest.SkipTest
            If the one check that was asked for does not concern this plug-in.
        UsageError
            If there is no such plug-in, check or option.
        """
        if not __debug__:
            raise UsageError(
                "contracts are made of assertions, which python -O leaves out; run without -O"
            )
        checks = cls.checks()
        if check is not None and check not in checks:
            raise UsageError(f"{cls.__name__} has no check {check!r}; {nearest(check, checks)}")
        known = {n for n in dir(cls) if not n.startswith(("_", "test_"))}
        known -= {n for n in known if callable(getattr(cls, n))} | {"registry"}
        contract = cls()
        contract.name = name
        for option, value in options.items():
            if option not in known:
                instead = nearest(option, known) if known else "it has none"
                raise UsageError(f"{cls.__name__} has no option {option!r}; {instead}")
            setattr(contract, option, value)
        cls.registry.get(name)
        for each in checks if check is None else [check]:
            try:
                getattr(contract, each)()
            except SkipTest:
                if check is not None:
                    raise

    def test_it_is_registered_under_its_name(self) -> None:
        """Names are lower-case, so that `lrplan` finds what is typed on a command line."""
        plugin = self.registry.get(self.name)
        assert self.name == self.name.lower(), f"the name {self.name!r} must be lower-case"
        own = getattr(plugin, "name", self.name)
        assert own == self.name, f"registered as {self.name!r}, but its own name is {own!r}"


def told(owner: object, *attributes: str) -> None:
    """Assert that texts which `lrplan list` shows are there."""
    for attribute in attributes:
        text = getattr(owner, attribute, None)
        assert isinstance(text, str) and text.strip(), (
            f"{attribute} is {text!r}; expected a text that says it"
        )


@contextmanager
def refused(error: type[Exception], what: str, *words: str) -> Iterator[None]:
    """Assert that the body raises `error` with words (regular expressions) in its message."""
    try:
        yield
    except error as raised:
        for word in words:
            assert re.search(word, str(raised)), (
                f"{what} must be refused with a message that has {word!r}; it was: {raised}"
            )
    else:
        raise AssertionError(f"{what} must be refused with a {error.__name__}")
