"""Parity figures, tolerances, and the gate on scaled JPEG decoding."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.encoder import Embeddings
from export.errors import ToleranceError
from export.images import ImageSet
from export.verify import SCALED_DECODING_COSINE, misses, parity, refuse_misses, scaled_decoding, table


def embeddings(seed=0, count=200):
    rng = np.random.default_rng(seed)
    heads = rng.normal(size=(count, 3, 4))
    heads /= np.linalg.norm(heads, axis=-1, keepdims=True)
    return Embeddings(rng.normal(size=(count, 8)).astype(np.float32), heads.astype(np.float32))


def test_parity_equals_loops():
    a, b = embeddings(0), embeddings(1)
    found = parity(a, b)

    def cosine(x, y):
        return float(x.astype(float) @ y / np.linalg.norm(x.astype(float)) / np.linalg.norm(y.astype(float)))

    features = [cosine(x, y) for x, y in zip(a.features, b.features, strict=True)]
    heads = [cosine(a.heads[i, c], b.heads[i, c]) for i in range(200) for c in range(3)]
    assert found.images == 200
    assert found.features_max_abs == pytest.approx(np.abs(a.features - b.features).max() / np.abs(a.features).max())
    for name, values in (("features", features), ("heads", heads)):
        assert getattr(found, f"{name}_min_cosine") == pytest.approx(min(values))
        assert getattr(found, f"{name}_mean_cosine") == pytest.approx(np.mean(values))
        assert getattr(found, f"{name}_p01_cosine") == pytest.approx(np.quantile(values, 0.01))


def test_a_perfect_copy_misses_nothing_and_shows_in_the_table():
    perfect = parity(embeddings(), embeddings())
    assert all(misses(p, perfect) == [] for p in ("fp32", "fp16", "int8"))
    lines = table({"fp32": perfect, "int8": perfect}).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["fp32", "heads", "int8", "heads"]


@pytest.mark.parametrize(
    ("precision", "figure", "good", "bad"),
    [
        ("fp32", "features_max_abs", 1e-4, 1.1e-4),
        ("fp32", "heads_max_abs", 1e-4, 1.1e-4),
        ("fp16", "features_min_cosine", 0.9995, 0.9994),
        ("fp16", "heads_min_cosine", 0.9995, 0.9994),
        ("int8", "features_mean_cosine", 0.99, 0.989),
        ("int8", "heads_mean_cosine", 0.99, 0.989),
        ("int8", "features_p01_cosine", 0.97, 0.969),
        ("int8", "heads_p01_cosine", 0.97, float("nan")),
    ],
)
def test_each_tolerance_bites(precision, figure, good, bad):
    perfect = parity(embeddings(), embeddings())
    assert misses(precision, perfect.model_copy(update={figure: good})) == []
    (phrase,) = misses(precision, perfect.model_copy(update={figure: bad}))
    assert figure in phrase
    assert f"{bad:.6g}" in phrase


def jpegs(count, *, side, noisy):
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(count):
        small = rng.integers(0, 256, (side if noisy else 4, side if noisy else 4, 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95)
        contents.append(buffer.getvalue())
    return ImageSet([f"{i}.jpg" for i in range(count)], contents.__getitem__, None)


def raw_pixels(pixels):
    """A network that sees every pixel's deviation from grey."""
    features = pixels.reshape(len(pixels), -1).astype(np.float32) - 128
    return Embeddings(features, np.ones((len(pixels), 1, 2), np.float32))


def test_scaled_decoding_is_measured_on_enough_large_jpegs_or_not_at_all():
    spec = InputSpec(size=16)
    smooth = scaled_decoding(raw_pixels, jpegs(40, side=96, noisy=False), spec)
    noisy = scaled_decoding(raw_pixels, jpegs(40, side=96, noisy=True), spec)
    assert smooth.value >= SCALED_DECODING_COSINE[False] > noisy.value > 0
    assert "40 JPEGs with sides of 64 pixels or more" in smooth.protocol
    assert scaled_decoding(raw_pixels, jpegs(20, side=96, noisy=False), spec) is None  # too few to know
    assert scaled_decoding(raw_pixels, jpegs(40, side=60, noisy=False), spec) is None  # none is decoded at a scale


def test_the_refusal_names_the_way_out_when_only_int8_misses():
    perfect = parity(embeddings(), embeddings())
    coarse = perfect.model_copy(update={"features_mean_cosine": 0.9, "features_min_cosine": 0.9})
    refuse_misses({"fp32": perfect, "int8": perfect})
    with pytest.raises(
        ToleranceError, match=r"^no bundle was written: int8 features_mean_cosine is 0\.9,.*leaves int8 out"
    ):
        refuse_misses({"fp32": perfect, "int8": coarse})
    with pytest.raises(ToleranceError) as both:
        refuse_misses({"fp16": coarse, "int8": coarse})
    assert "leaves int8 out" not in str(both.value)
