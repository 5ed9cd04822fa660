"""Features seen as a trajectory: sessions x observables, and columns that belong to no session."""

from __future__ import annotations

import numpy as np

from lrplan.classifiers._search import SearchedClassifier
from lrplan.errors import UsageError


class TrajectoryClassifier(SearchedClassifier):
    """Base of classifiers that know which features are one observable at different sessions.

    Columns are session-major: column ``s * n_observables + o`` is observable ``o`` in session
    ``s``; after them come ``static`` columns. An observable that is not finite in any session of
    any training row is left out in all.
    """

    sessions: int
    static: int

    def _sound(self, X: np.ndarray) -> np.ndarray:
        for name, value, least in (("sessions", self.sessions, 1), ("static", self.static, 0)):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or value < least:
                raise UsageError(f"{name} is {value!r}; expected a whole number from {least} on")
        sound = super()._sound(X)
        dynamic = X.shape[1] - self.static
        if dynamic < self.sessions or dynamic % self.sessions:
            raise UsageError(
                f"X has {X.shape[1]} features, {self.static} of them static; the other {dynamic} "
                f"are no multiple of {self.sessions} sessions"
            )
        of_session = sound[:dynamic].reshape(self.sessions, -1)
        sound[:dynamic] = np.tile(of_session.all(axis=0), self.sessions)
        # Without a trajectory there is nothing to tell.
        sound &= sound[:dynamic].any()
        return sound

    def _split(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return kept features as (row, session, observable) and (row, static)."""
        static = int(self.kept_[len(self.kept_) - self.static :].sum()) if self.static else 0
        dynamic = Z.shape[1] - static
        return Z[:, :dynamic].reshape(len(Z), self.sessions, -1), Z[:, dynamic:]
