"""The pure core: values in, values out. No network, clock, randomness, asyncio, pandas or environment here."""
