"""HEIC, what phones write: read by an extra, and only ever in a child."""

from __future__ import annotations

from amcl_serve.errors import UnsupportedImage


def register() -> None:
    """Make the format known to Pillow; UnsupportedImage where the extra is not installed."""
    try:
        import pillow_heif
    except ImportError:
        raise UnsupportedImage(
            "HEIC is not supported by this installation; `pip install amcl-serve[heif]` makes it so"
        ) from None
    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
