"""/openapi.json, and /docs: Swagger UI on it, with the scripts of an installed package in place of another host's."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

import fastapi_offline
from fastapi import Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse, JSONResponse

from amcl_serve.http.about import about, routes

SCRIPT, STYLE = "swagger-ui-bundle.js", "swagger-ui.css"

router = routes(tag="operation")


@router.get("/openapi.json", include_in_schema=False)
@about(None)
async def schema(request: Request) -> JSONResponse:
    """The interface's description."""
    root = request.scope.get("root_path", "").rstrip("/")  # where a proxy has put the server
    return JSONResponse(request.app.openapi() | ({"servers": [{"url": root}]} if root else {}))


@router.get("/docs", include_in_schema=False)
@about(None)
async def docs(request: Request) -> HTMLResponse:
    """The page; it loads nothing from outside, and sends the schema to no validator."""
    root = request.scope.get("root_path", "")
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title=f"{request.app.title} HTTP API",
        swagger_js_url=f"{root}/docs/{SCRIPT}",
        swagger_css_url=f"{root}/docs/{STYLE}",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"validatorUrl": None},
    )


@router.get("/docs/{name}", include_in_schema=False)
@about(None)
async def asset(name: Literal["swagger-ui-bundle.js", "swagger-ui.css"]) -> FileResponse:
    """A file of the page."""
    kind = "text/javascript" if name == SCRIPT else "text/css"  # what this machine calls them is not certain
    return FileResponse(str(files(fastapi_offline) / "static" / name), media_type=kind)
