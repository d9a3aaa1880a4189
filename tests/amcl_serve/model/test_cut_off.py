"""Files that were cut off: what lacks hardly anything is embedded, what lacks more refused, unless it is wanted."""

from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.errors import UndecodableImage
from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.pixels import decode
from tests import images
from tests.amcl_serve.model.decoded import SPEC, pixels
from tests.images import picture, save

PHOTO = picture(8, (400, 300))
KINDS = {
    "baseline": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 10},
    "a restart a row": {"restart_marker_rows": 1},
    "4:4:4": {"subsampling": 0},
}
FILES = {name: save(PHOTO, "JPEG", quality=90, **options) for name, options in KINDS.items()}
FILES["grey"] = save(PHOTO.convert("L"), "JPEG", quality=90)
FILES["CMYK"] = save(PHOTO.convert("CMYK"), "JPEG", quality=90)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("scaled", [False, True])
def test_a_jpeg_without_its_end_marker_is_the_same_picture(name: str, scaled: bool) -> None:
    data, spec = FILES[name], InputSpec(size=16, scaled_jpeg_decoding=scaled)
    whole = pixels(data, spec=spec)
    for missing in (1, 2):
        assert (pixels(data[:-missing], spec=spec) == whole).all()


@pytest.mark.parametrize("name", [name for name in FILES if name != "progressive"])
def test_a_jpeg_without_a_few_last_bytes_is_nearly_the_same_picture(name: str) -> None:
    data = FILES[name]
    whole = pixels(data)
    for missing in (3, 5, 8):
        assert np.abs(pixels(data[:-missing]) - whole).mean() < 3


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.3, 0.5, 0.7, 0.9, 0.95])
def test_a_jpeg_that_lacks_more_is_refused(name: str, keep: float) -> None:
    with pytest.raises(UndecodableImage, match="cut off"):
        pixels(FILES[name][: int(len(FILES[name]) * keep)])


def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused() -> None:
    data = FILES["progressive"]
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(starts) > 3
    for start in starts[1:]:
        table = data.rfind(b"\xff\xc4", 0, start)
        for cut in (start, table):
            with pytest.raises(UndecodableImage):
                pixels(data[:cut])


@pytest.mark.parametrize("name", FILES)
def test_what_is_there_of_a_jpeg_is_taken_if_it_is_wanted(name: str) -> None:
    data = FILES[name]
    found = decode(data[: int(len(data) * 0.6)], SPEC, max_pixels=10**6, accept_truncated=True).astype(int)
    assert np.abs(found[:6] - pixels(data)[:6]).mean() < 12


@pytest.mark.parametrize("fmt", ["PNG", "GIF", "BMP"])
def test_what_is_there_of_other_files_is_taken_if_it_is_wanted(fmt: str) -> None:
    data = save(PHOTO, fmt, **({"interlace": 0} if fmt == "GIF" else {}))
    cut = data[: int(len(data) * 0.6)]
    with pytest.raises(UndecodableImage):
        pixels(cut)
    found = decode(cut, SPEC, max_pixels=10**6, accept_truncated=True).astype(int)
    part = slice(10, None) if fmt == "BMP" else slice(0, 6)  # from the bottom up
    assert np.abs(found[part] - pixels(data)[part]).mean() < 12


def test_what_is_whole_is_the_same_either_way() -> None:
    for fmt in images.FORMATS:
        data = images.photo(2, format=fmt)
        assert (decode(data, SPEC, max_pixels=10**6, accept_truncated=True) == pixels(data)).all()


def test_what_has_no_pixels_is_refused_either_way() -> None:
    for fmt in images.FORMATS:
        with pytest.raises(UndecodableImage):
            decode(images.photo(2, format=fmt)[:20], SPEC, max_pixels=10**6, accept_truncated=True)
