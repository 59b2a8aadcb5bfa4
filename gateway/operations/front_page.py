"""GET /: a page for people, with the models on this machine and a first request."""

from __future__ import annotations

import html

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.openapi.described import HTML, Operation, Section, get


class FrontPage:
    """``model``: the default model's name, for the example."""

    def __init__(self, models: ModelDirectory, url: str, model: str) -> None:
        self._models = models
        self._url = url
        self._model = model

    def routes(self) -> list[Route]:
        about = Operation(Section.SERVICE, "A page for people", answer=str, media=HTML)
        return [get("/", self.page, about)]

    async def page(self, request: Request) -> Response:
        names = [variant.id for variant in await self._models.variants()]
        models = "".join(f"<li><code>{html.escape(name)}</code></li>" for name in names)
        return HTMLResponse(
            PAGE.format(
                url=html.escape(self._url),
                model=html.escape(self._model or "MODEL"),
                models=models or "<li>none yet: <code>cupola model download MODEL</code></li>",
            )
        )


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Cupola</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}}
pre{{overflow:auto;padding:.75rem;background:#8882}}</style>
<h1>Cupola</h1>
<p>A local AI service: language models on ONNX Runtime, for every app on this machine.
It speaks OpenAI's API at <code>{url}/v1</code>; any key will do.</p>
<pre>curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'</pre>
<h2>Models on this machine</h2>
<ul>{models}</ul>
<p><a href="/v1/models">/v1/models</a> · <a href="/health">/health</a> ·
<a href="/ready">/ready</a> · <a href="/status">/status</a> · <a href="/docs">/docs</a></p>
</html>
"""
