"""The words for what is recorded and where, which cohorts, designs and recordings share."""

from __future__ import annotations

MEASURES = ("activity", "paired", "weights")
POSITIONS = ("early", "middle", "deep")
UNIT_DIMS = {"activity": ("unit",), "weights": ("synapse",), "paired": ("post", "pre")}
"""The dimensions over which what is recorded of each measure is counted."""
UNIT_NOUNS = {"activity": "unit", "weights": "synapse", "paired": "pair"}
