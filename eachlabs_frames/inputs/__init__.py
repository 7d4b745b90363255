"""A row of a table to the JSON input of an execution. Pure: no network, clock, randomness, pandas or environment."""
