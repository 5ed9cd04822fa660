"""Threads change how fast something is computed, and nothing else."""

from __future__ import annotations

import pytest

from lrplan import threads


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_items_come_back_in_their_order(cores, count, monkeypatch):
    monkeypatch.setattr(threads, "threads", lambda: cores)
    assert threads.in_threads(lambda i: i * i, iter(range(count))) == [i * i for i in range(count)]


@pytest.mark.parametrize("cores", [1, 3])
def test_an_error_in_a_thread_is_raised(cores, monkeypatch):
    monkeypatch.setattr(threads, "threads", lambda: cores)
    with pytest.raises(ZeroDivisionError):
        threads.in_threads(lambda i: 1 // (i - 20), range(30))
