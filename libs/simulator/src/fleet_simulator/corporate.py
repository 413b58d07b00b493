"""What a split or a dividend makes of an order that is not in the book at the moment; `False`: it cannot stand."""

from fleet_simulator.orders import Order


def split(order: Order, numerator: int, denominator: int) -> bool:
    """Lots that have filled stay as they are, of the old kind; those that are open become new ones."""
    remaining = order.remaining * numerator // denominator
    filled = (order.filled_quantity + order.split_gain) * numerator // denominator
    order.split_gain = filled - order.filled_quantity
    order.declared = order.declared * numerator // denominator
    order.granted = order.granted * numerator // denominator
    order.quantity = order.filled_quantity + remaining
    if order.display_quantity is not None:
        order.display_quantity = max(1, order.display_quantity * numerator // denominator)
    order.minimum_quantity = 0 if order.filled_quantity else order.minimum_quantity * numerator // denominator
    order.ahead = None

    def price(old: int | None) -> int | None:
        if old is None:
            return None
        down, rest = divmod(old * denominator, numerator)
        return down + (rest > 0 and not order.is_buy)

    order.limit_price, order.stop_price = price(order.limit_price), price(order.stop_price)
    order.protection_price, order.mark = price(order.protection_price), price(order.mark)
    order.trail_amount = price(order.trail_amount)
    prices = (order.limit_price, order.stop_price, order.protection_price, order.mark, order.trail_amount)
    may_grow = order.parent_ref is not None and order.declared > 0
    return (remaining > 0 or may_grow) and all(p is None or p > 0 for p in prices)


def dividend(order: Order, ticks: int) -> bool:
    def price(old: int | None) -> int | None:
        return None if old is None else old - ticks

    order.limit_price, order.stop_price = price(order.limit_price), price(order.stop_price)
    order.protection_price, order.mark = price(order.protection_price), price(order.mark)
    order.ahead = None
    prices = (order.limit_price, order.stop_price, order.protection_price, order.mark)
    return all(p is None or p > 0 for p in prices)
