"""Orders of groups and the reports about them, as trading's decisions take them."""

from decimal import Decimal as D
from uuid import UUID

from account_commands import NOW, a_fill, an_account, an_order, conditions, done
from fleet_simulator import Side
from fleet_trading.domain import (
    Account,
    Order,
    OrderClass,
    PlaceOrder,
    Reason,
    ReplaceOrder,
    ReportCancel,
    ReportReject,
    ReportReplace,
    Terms,
)

PARENT, PROFIT, LOSS = UUID(int=10), UUID(int=11), UUID(int=12)


def a_group(
    kind: OrderClass = OrderClass.BRACKET,
    side: Side = Side.BUY,
    limit: object = 100,
    profit: object = 120,
    loss: object = 80,
    loss_limit: object = None,
    **more: object,
) -> PlaceOrder:
    terms = Terms(
        order_class=kind,
        take_profit_price=None if profit is None else D(str(profit)),
        stop_loss_price=None if loss is None else D(str(loss)),
        stop_loss_limit_price=None if loss_limit is None else D(str(loss_limit)),
    )
    legs = (PROFIT, LOSS)[: terms.leg_count] if kind is not OrderClass.OCO else (LOSS,)
    return an_order(10, side, limit=limit, terms=terms, leg_ids=legs, **more)


def an_oco(**more: object) -> PlaceOrder:
    return a_group(OrderClass.OCO, Side.SELL, **({"limit": 120, "profit": None} | more))


def a_holder(usd: object = 100_000, holding: int = 10, fee_: object = 0) -> Account:
    """With these AAPL, bought at 100."""
    account = an_account(usd)
    done(account, an_order(5, quantity=holding, limit=100))
    done(account, a_fill(5, 50, holding, 100, fee_))
    return account


def placed(command: PlaceOrder, usd: object = 100_000, holding: int = 0) -> tuple[Account, list[Order]]:
    account = a_holder(usd, holding) if holding else an_account(usd)
    done(account, command)
    return account, [account.orders[each] for each in (PARENT, *command.leg_ids)]


def held(account: Account) -> tuple[D, D]:
    return account.balance("USD").reserved, account.balance("AAPL").reserved


def told(order: Order, quantity: int, code: str = "parent_filled") -> ReportReplace:
    return ReportReplace(
        order_id=order.order_id,
        quantity=D(quantity),
        limit_price=None,
        stop_price=None,
        cumulative_quantity=order.filled_quantity,
        code=code,
        market_at=NOW,
        now=NOW,
    )


def canceled(order: Order, code: str = "requested") -> ReportCancel:
    return ReportCancel(
        order_id=order.order_id, reason=Reason(code, ""), cumulative_quantity=order.filled_quantity, now=NOW
    )


def rejected(order: Order) -> ReportReject:
    return ReportReject(order_id=order.order_id, reason=Reason("said", ""), now=NOW)


def replace_of(number: int, **changed: D) -> ReplaceOrder:
    fields: dict[str, object] = dict.fromkeys(("quantity", "limit_price", "stop_price", "expected_version"))
    return ReplaceOrder(**(fields | {"order_id": UUID(int=number), "conditions": conditions()} | changed))  # type: ignore[arg-type]
