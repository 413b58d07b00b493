"""A service that only answers, with all that the chassis does for a request: `python -m bench.gateway_upstream`.

Any service of ours costs more, since it asks a database. It also tells the keys of auth, so that the gateway believes the
tokens of the bench: FLEET_BENCH_KEY_SET names their file.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
from fastapi import FastAPI, Request, Response
from fleet_chassis.app import new_app
from fleet_chassis.assertions import Caller
from fleet_chassis.health import Health
from fleet_chassis.permissions import TRADE, ReadCaller
from fleet_chassis.server import serve
from fleet_chassis.settings import ServiceSettings
from fleet_chassis.shapes import FastJSON


class Order(msgspec.Struct, forbid_unknown_fields=True):
    client_order_id: str
    symbol: str
    side: Literal["buy", "sell"]
    type: Literal["limit"]
    quantity: Decimal
    limit_price: Decimal
    time_in_force: Literal["gtc"]


_orders = msgspec.json.Decoder(Order)
_encode = msgspec.json.Encoder(decimal_format="string").encode


def create_app(settings: ServiceSettings) -> FastAPI:
    key_set = Path(os.environ["FLEET_BENCH_KEY_SET"]).read_bytes()

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    app = new_app(settings, "bench", lifespan, Health())

    @app.get("/api/v1/auth/.well-known/jwks.json")
    async def keys() -> Response:
        return Response(key_set, media_type="application/json")

    @app.get("/api/v1/portfolio", response_class=FastJSON)
    async def portfolio(caller: ReadCaller) -> dict[str, Any]:
        """As most routes are: FastAPI's dependencies."""
        return {"account_id": str(caller.user_id), "equity": "100000", "cash": "100000", "buying_power": "100000"}

    @app.post("/api/v1/orders", status_code=201)
    @TRADE.guards
    async def order(request: Request, caller: Caller) -> Response:
        """As the hot ones are: without."""
        accepted = _orders.decode(await request.body())
        body = _encode({"order_id": str(caller.user_id), "status": "new", "order": accepted})
        return Response(body, 201, media_type="application/json")

    return app


if __name__ == "__main__":
    serve(create_app, ServiceSettings)
