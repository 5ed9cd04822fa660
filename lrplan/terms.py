"""The words for what is recorded and where, which cohorts, designs and recordings share."""

from __future__ import annotations

MEASURES = ("activity", "paired", "weights")
POSITIONS = ("early", "middle", "deep")
