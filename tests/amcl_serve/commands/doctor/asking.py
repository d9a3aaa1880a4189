from __future__ import annotations

from collections.abc import Callable

MiB = 2**20


CHECKS = ["python", "keys", "onnxruntime", "providers", "memory", "decoding", "model", "data folder", "disk", "port"]


Doctor = Callable[..., tuple[int, dict[str, str]]]
