"""Tools that check cohorts, join them, take them apart, and bring in those of others."""
