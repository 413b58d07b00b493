"""buy and sell from the shell, through the gateway like any client."""

from __future__ import annotations

import asyncio
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

import typer
from fleet_launcher.control import description

from fleet_cli.console import DEFAULT_STATE, StateOption, fail, out, run, state_of


def order(
    side: Annotated[Literal["buy", "sell"], typer.Argument(help="buy or sell")],
    symbol: Annotated[str, typer.Argument(help="AAPL/USD, BTC/USD, …")],
    quantity: Annotated[str, typer.Argument(help="How many.")],
    *,
    email: Annotated[str, typer.Option(prompt=True, envvar="FLEET_EMAIL", help="The user's address.")],
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, envvar="FLEET_PASSWORD", help="Asked for if not given.")
    ],
    limit: Annotated[str | None, typer.Option("--limit", help="A limit price; without it, a market order.")] = None,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Buy or sell as a user, through the gateway, and tell what became of it within a second."""
    placed = run(
        _placed(description(state_of(state_dir))["gateway_url"], _order(side, symbol, quantity, limit), email, password)
    )
    price = f" at {placed['average_fill_price']}" if placed.get("average_fill_price") else ""
    reason = f" ({placed['reason']['detail']})" if placed.get("reason") else ""
    filled = f"{placed['filled_quantity']} of {placed['quantity']}"
    out.print(f"{placed['side']} {placed['symbol']}: {placed['status']}, filled {filled}{price}{reason}")
    out.print(f"[dim]order_id {placed['order_id']}[/]")


def _order(side: str, symbol: str, quantity: str, limit: str | None) -> dict[str, Any]:
    wanted: dict[str, Any] = {"symbol": symbol, "side": side, "quantity": _decimal(quantity), "type": "market"}
    if limit is not None:
        wanted |= {"type": "limit", "limit_price": _decimal(limit)}
    return wanted


def _decimal(text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        fail(f"A quantity or price is a number, was {text!r}")
    return format(value, "f")


async def _placed(gateway_url: str, wanted: dict[str, Any], email: str, password: str) -> dict[str, Any]:
    """The order as it stands when it has ended, or after a second: a limit order may rest for long."""
    from fleet_sdk.client import FleetClient

    async with FleetClient(gateway_url) as client:
        await client.login(email, password)
        placed = await client.place_order(wanted)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 1.0
        ended = {"filled", "canceled", "expired", "denied", "rejected"}
        while placed["status"] not in ended and loop.time() < deadline:
            await asyncio.sleep(0.05)
            placed = await client.order(placed["order_id"])
        await client.logout()
        return placed
