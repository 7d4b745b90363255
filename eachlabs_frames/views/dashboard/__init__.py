"""The live dashboard of a run, by bulk operation."""
