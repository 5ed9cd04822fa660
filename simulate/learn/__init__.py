"""Learning: organisms train in stacks and are looked at on the way."""
