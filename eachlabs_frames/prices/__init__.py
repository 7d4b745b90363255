"""What executions cost: the published prices of a workflow's models, and forecasts from what was paid. Pure."""
