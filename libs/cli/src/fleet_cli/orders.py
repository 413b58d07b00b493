"""order and logout: a user at the shell, through the gateway like any client."""

from __future__ import annotations

import asyncio
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

import typer
from fleet_launcher.places import StateDir

from fleet_cli.console import DEFAULT_STATE, StateOption, fail, out, run, state_of


def order(
    side: Annotated[Literal["buy", "sell"], typer.Argument(help="buy or sell")],
    symbol: Annotated[str, typer.Argument(help="AAPL/USD, BTC/USD, …")],
    quantity: Annotated[str, typer.Argument(help="How many: 1, 0.25, …")],
    *,
    email: Annotated[
        str | None, typer.Option(envvar="FLEET_EMAIL", help="The user's address; without it, who logged in last.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(envvar="FLEET_PASSWORD", help="Asked for when needed: better than here, where `ps` shows it."),
    ] = None,
    limit: Annotated[str | None, typer.Option("--limit", help="A limit price; without it, a market order.")] = None,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Buy or sell as a user, through the gateway, and tell what became of it within a second.

    The first time asks who you are; the session is kept until `fleet logout`.
    """
    placed = run(_placed(state_of(state_dir), _order(side, symbol, quantity, limit), email, password))
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


async def _placed(state: StateDir, wanted: dict[str, Any], email: str | None, password: str | None) -> dict[str, Any]:
    """The order as it stands when it has ended, or after a second: a limit order may rest for long."""
    from fleet_cli.session import logged_in

    async with logged_in(state, email, password) as client:
        placed = await client.place_order(wanted)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 1.0
        ended = {"filled", "canceled", "expired", "denied", "rejected"}
        while placed["status"] not in ended and loop.time() < deadline:
            await asyncio.sleep(0.05)
            placed = await client.order(placed["order_id"])
        return placed


def logout(state_dir: StateOption = DEFAULT_STATE) -> None:
    """End the session that `fleet order` has kept."""
    from fleet_cli.session import end_session

    email = run(end_session(state_of(state_dir)))
    out.print("nobody was logged in" if email is None else f"{email} is logged out")
