"""The engine: the only place that waits. What it decides by, it asks the core."""
