"""A run: sends batches, limits concurrency, records results, tracks executions and recovers lost responses."""
