"""The API's documentation. This server also serves Swagger UI's files, so the page needs no internet."""

from importlib.resources import files
from typing import Any

from fastapi import Depends, FastAPI
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from dashboard.access.security import reader

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>videossr API</title>
<link rel="stylesheet" href="/docs/files/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/files/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""


def add_docs(app: FastAPI) -> None:
    """Serve /docs and /openapi.json to callers who may read.

    The OpenAPI document says that error responses are JSON, also for routes that otherwise return pictures or CSV.
    """
    document = app.openapi

    def documented() -> dict[str, Any]:
        if app.openapi_schema is None:
            for operation in (op for path in document()["paths"].values() for op in path.values()):
                for code, response in operation["responses"].items():
                    if code >= "400":
                        response["content"] = {"application/json": next(iter(response["content"].values()))}
        return document()

    app.openapi = documented  # type: ignore[method-assign]

    readers = [Depends(reader)]

    @app.get("/openapi.json", include_in_schema=False, dependencies=readers)
    def described() -> Response:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False, dependencies=readers)
    def page() -> Response:
        return HTMLResponse(_PAGE)

    @app.get("/docs/start.js", include_in_schema=False, dependencies=readers)
    def start() -> Response:
        return Response(_START, media_type="text/javascript")

    folder = str(files("fastapi_offline") / "static")
    app.mount("/docs/files", StaticFiles(directory=folder), name="docs")
