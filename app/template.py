"""The page library's template without its link to a web app manifest, which is not served."""

from __future__ import annotations

from collections.abc import Callable

from gradio import routes
from jinja2 import BaseLoader, Environment

# An absolute path: behind a proxy's path it would ask another application.
MANIFEST = '<link rel="manifest" href="/manifest.json" />'


class _WithoutManifest(BaseLoader):
    def __init__(self, loader: BaseLoader) -> None:
        self._loader = loader

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, file, unchanged = self._loader.get_source(environment, template)
        return source.replace(MANIFEST, ""), file, unchanged


def drop_manifest() -> None:
    """Let pages that are rendered from now on have no link to a manifest; calling it again changes nothing."""
    environment = routes.templates.env
    if environment.loader is not None and not isinstance(environment.loader, _WithoutManifest):
        environment.loader = _WithoutManifest(environment.loader)
