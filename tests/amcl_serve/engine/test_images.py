"""What one image does to the others of its request, when a child process decodes it."""

from __future__ import annotations

import asyncio

import pytest

from amcl_serve.engine.submissions import Embedded
from amcl_serve.errors import UndecodableImage
from amcl_serve.model import pixels as decoding
from amcl_serve.model.children import process
from amcl_serve.model.children.pool import Pool
from tests.amcl_serve.engine.running import running
from tests.fakes import FakeEncoder
from tests.images import photo, truncated

DEADLY = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
from amcl_serve.model.children import child
real = child.read
def read(data, kind, wanted, take, *, in_child):
    if kind == "GIF":
        os.abort()
    return real(data, kind, wanted, take, in_child=in_child)
child.read = read
child.main()
"""


def test_a_decoder_that_crashes_costs_its_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_BOOT", DEADLY)
    pool = Pool(2)
    monkeypatch.setattr(decoding, "shared", lambda: pool)
    files = [photo(1), photo(2, format="GIF"), photo(3, format="TIFF"), photo(4, format="GIF"), photo(5, format="PNG")]

    async def main() -> None:
        async with running(FakeEncoder()) as engine:
            for _ in range(3):
                found = (await engine.embed(files)).items
                assert [type(item) for item in found] == [
                    Embedded, UndecodableImage, Embedded, UndecodableImage, Embedded,
                ]  # fmt: skip
            assert engine.healthy

    try:
        asyncio.run(main())
        assert pool.lost == 6
    finally:
        pool.close()


@pytest.mark.parametrize("accept", [False, True])
def test_files_that_are_cut_off_are_embedded_if_the_setting_says_so(accept: bool) -> None:
    async def main() -> None:
        async with running(FakeEncoder(), accept_truncated=accept) as engine:
            found = (await engine.embed([truncated("JPEG"), truncated("PNG")])).items
            assert [isinstance(item, Embedded) for item in found] == [accept, accept]

    asyncio.run(main())
