"""A gateway as it is usually written first: FastAPI, httpx, a route for everything. It forwards, and judges nothing.

Run in an environment of its own: `python httpx_proxy.py PORT UPSTREAM`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

# By name, since nothing here but this script's own environment has it.
httpx = import_module("httpx")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=sys.argv[2]) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def forward(request: Request) -> StreamingResponse:
    client = request.app.state.client
    url = httpx.URL(path=request.url.path, query=request.url.query.encode())
    sent = client.build_request(request.method, url, headers=request.headers.raw, content=await request.body())
    answer = await client.send(sent, stream=True)
    return StreamingResponse(
        answer.aiter_raw(), answer.status_code, dict(answer.headers), background=BackgroundTask(answer.aclose)
    )


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
