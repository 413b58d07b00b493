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
    quantity: Annotated[str | None, typer.Argument(help="How many: 1, 0.25, …")] = None,
    *,
    notional: Annotated[
        str | None, typer.Option("--notional", help="Instead of how many: for how much, in the quote currency.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Only tell whether it would be accepted, and what it would cost.")
    ] = False,
    email: Annotated[
        str | None, typer.Option(envvar="FLEET_EMAIL", help="The user's address; without it, who logged in last.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(envvar="FLEET_PASSWORD", help="Asked for when needed: better than here, where `ps` shows it."),
    ] = None,
    limit: Annotated[str | None, typer.Option("--limit", help="A limit price; without it, a market order.")] = None,
    stop: Annotated[
        str | None, typer.Option("--stop", help="Wait until the price is this bad: a buy at or above it.")
    ] = None,
    touch: Annotated[
        str | None, typer.Option("--touch", help="Wait until the price is this good: a buy at or below it.")
    ] = None,
    trail: Annotated[
        str | None, typer.Option("--trail", help="A stop that follows the best price at this distance: 1.50 or 2%.")
    ] = None,
    take_profit: Annotated[
        str | None, typer.Option("--take-profit", help="Leave at this limit once it has filled.")
    ] = None,
    stop_loss: Annotated[str | None, typer.Option("--stop-loss", help="Leave at this stop once it has filled.")] = None,
    time_in_force: Annotated[
        Literal["gtc", "day", "ioc", "fok", "at_open", "at_close"], typer.Option("--tif", help="How long it works.")
    ] = "gtc",
    over: Annotated[
        int | None, typer.Option("--over", help="Work it in equal parts, evenly over so many seconds (TWAP).")
    ] = None,
    slices: Annotated[int | None, typer.Option("--slices", help="With --over: in so many parts.")] = None,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Buy or sell as a user, through the gateway, and tell what became of it within a second.

    The first time asks who you are; the session is kept until `fleet logout`. With --preview the exit status is 1 if the
    order would be denied.
    """
    wanted = {"symbol": symbol, "side": side, "time_in_force": time_in_force} | _size(quantity, notional)
    wanted |= _waiting(limit=limit, stop=stop, touch=touch, trail=trail) | _exits(take_profit, stop_loss)
    wanted |= _worked(over, slices)
    if preview:
        _tell_preview(run(_previewed(state_of(state_dir), wanted, email, password)), symbol.partition("/")[2])
        return
    placed = run(_placed(state_of(state_dir), wanted, email, password))
    price = f" at {placed['average_fill_price']}" if placed.get("average_fill_price") else ""
    reason = f" ({placed['reason']['detail']})" if placed.get("reason") else ""
    filled = f"{placed['filled_quantity']} of {placed['quantity']}"
    out.print(f"{placed['side']} {placed['symbol']}: {placed['status']}, filled {filled}{price}{reason}")
    out.print(f"[dim]order_id {placed['order_id']}[/]")


def _size(quantity: str | None, notional: str | None) -> dict[str, Any]:
    if (quantity is None) == (notional is None):
        fail("An order has a quantity or --notional, one of the two", "fleet order buy AAPL/USD --notional 1000")
    return {"quantity": _decimal(quantity)} if quantity is not None else {"notional": _decimal(notional or "")}


def _tell_preview(found: dict[str, Any], currency: str) -> None:
    """Amounts that are not known are left out."""
    for reason in found["reasons"]:
        out.print(f"would be denied: {reason['detail']} [dim]{reason['code']}[/]")
    if found["accepted"]:
        out.print("would be accepted")
    for name, what in (
        ("estimated_cost", "cost"),
        ("estimated_fee", "fee"),
        ("buying_power_after", "buying power after"),
    ):
        if found[name] is not None:
            out.print(f"{what}: {found[name]} {currency}")
    raise typer.Exit(0 if found["accepted"] else 1)


def _waiting(*, limit: str | None, stop: str | None, touch: str | None, trail: str | None) -> dict[str, Any]:
    """The type that these prices make, and the prices. What does not go together the fleet refuses, in words."""
    if sum(price is not None for price in (stop, touch, trail)) > 1:
        fail("An order waits for one price: give one of --stop, --touch and --trail")
    found: dict[str, Any] = {} if limit is None else {"limit_price": _decimal(limit)}
    if trail is not None:
        is_percent = trail.endswith("%")
        name = "trail_percent" if is_percent else "trail_amount"
        return found | {"type": "trailing_stop", name: _decimal(trail.removesuffix("%"))}
    if stop is not None:
        return found | {"type": "stop" if limit is None else "stop_limit", "stop_price": _decimal(stop)}
    if touch is not None:
        kind = "market_if_touched" if limit is None else "limit_if_touched"
        return found | {"type": kind, "stop_price": _decimal(touch)}
    return found | {"type": "market" if limit is None else "limit"}


def _exits(take_profit: str | None, stop_loss: str | None) -> dict[str, Any]:
    """The legs, and the class of an order that has them."""
    found: dict[str, Any] = {}
    if take_profit is not None:
        found["take_profit"] = {"limit_price": _decimal(take_profit)}
    if stop_loss is not None:
        found["stop_loss"] = {"stop_price": _decimal(stop_loss)}
    return found | ({"order_class": "bracket" if len(found) == 2 else "oto"} if found else {})


def _worked(over: int | None, slices: int | None) -> dict[str, Any]:
    if (over is None) != (slices is None):
        fail("--over and --slices go together", "fleet order buy AAPL/USD 100 --over 600 --slices 10")
    return {} if over is None else {"algo": {"type": "twap", "duration_s": over, "slices": slices}}


def _decimal(text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        fail(f"A quantity or price is a number, was {text!r}")
    return format(value, "f")


async def _previewed(
    state: StateDir, wanted: dict[str, Any], email: str | None, password: str | None
) -> dict[str, Any]:
    from fleet_cli.session import logged_in

    async with logged_in(state, email, password) as client:
        return await client.preview_order(wanted)


async def _placed(state: StateDir, wanted: dict[str, Any], email: str | None, password: str | None) -> dict[str, Any]:
    """The order as it stands when it has ended, or after a second: a limit order may rest for long. The venue's first
    word is waited for longer."""
    from fleet_cli.session import logged_in

    async with logged_in(state, email, password) as client:
        placed = await client.place_order(wanted)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < _patience_s(placed["status"]):
            await asyncio.sleep(0.05)
            placed = await client.order(placed["order_id"])
        return placed


def _patience_s(status: str) -> float:
    from fleet_contracts.vocabulary import OrderStatus

    if OrderStatus(status).is_ended:
        return 0.0
    return 5.0 if status == "pending_new" else 1.0


def logout(state_dir: StateOption = DEFAULT_STATE) -> None:
    """End the session that `fleet order` has kept."""
    from fleet_cli.session import end_session

    email = run(end_session(state_of(state_dir)))
    out.print("nobody was logged in" if email is None else f"{email} is logged out")
