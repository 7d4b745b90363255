"""Everything about asyncio that does not know the API: the bridge from synchronous code, tasks, the clock, backoff."""
