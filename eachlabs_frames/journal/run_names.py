"""Makes readable names for runs that were given none: a date and two words, easy to say and to type."""

from __future__ import annotations

from typing import Final

# fmt: off
QUALITIES: Final = (
    "amber", "brave", "brisk", "bright", "calm", "clear", "clever", "cosy", "crisp", "eager", "early", "fair",
    "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "honest", "jolly", "keen",
    "kind", "lively", "lucky", "mellow", "merry", "mild", "modest", "neat", "noble", "patient", "plain",
    "polite", "proud", "quick", "quiet", "rapid", "ready", "rosy", "round", "sharp", "shiny", "silent",
    "silver", "smart", "smooth", "snowy", "soft", "solid", "spry", "steady", "sunny", "swift", "tidy", "tiny",
    "true", "vivid", "warm", "wise", "witty", "young",
)

CREATURES: Final = (
    "badger", "bear", "beaver", "bison", "bittern", "crane", "cricket", "curlew", "deer", "dipper", "dolphin",
    "dove", "eagle", "egret", "falcon", "ferret", "finch", "fox", "gannet", "gecko", "goose", "hare", "hawk",
    "heron", "hoopoe", "ibis", "jackdaw", "jay", "kestrel", "kite", "lark", "linnet", "lizard", "lynx",
    "magpie", "marten", "merlin", "mole", "moth", "newt", "octopus", "oriole", "osprey", "otter", "owl",
    "panda", "pelican", "petrel", "plover", "puffin", "quail", "raven", "robin", "rook", "seal", "shrew",
    "skylark", "sparrow", "stoat", "stork", "swan", "swift", "tern", "thrush", "toad", "trout", "vole",
    "weasel", "wren",
)
# fmt: on


def readable(day: str, first: float, second: float) -> str:
    """Return the name for a day (YYYY-MM-DD) that two random numbers of [0, 1) choose."""
    quality = QUALITIES[int(first * len(QUALITIES))]
    return f"{day}-{quality}-{CREATURES[int(second * len(CREATURES))]}"
