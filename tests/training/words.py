"""KEY=VALUE words for tests of several methods."""

from __future__ import annotations

from collections.abc import Sequence

from training.config import Config, flatten


def had_by(config: Config, words: Sequence[str]) -> list[str]:
    """Those of the words whose key the config has."""
    keys = flatten(config)
    return [word for word in words if word.partition("=")[0] in keys]
