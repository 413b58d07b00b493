"""Which orders belong together: the legs of an OCO group, and the children of a parent. An index, rebuilt from orders."""

from fleet_simulator.orders import Order


class Groups:
    def __init__(self) -> None:
        self._legs: dict[str, dict[str, Order]] = {}
        self._children: dict[str, dict[str, Order]] = {}

    def add(self, order: Order) -> None:
        if order.oco_group is not None:
            self._legs.setdefault(order.oco_group, {})[order.order_ref] = order
        if order.parent_ref is not None:
            self._children.setdefault(order.parent_ref, {})[order.order_ref] = order

    def remove(self, order: Order) -> None:
        _discard(self._legs, order.oco_group, order)
        _discard(self._children, order.parent_ref, order)

    def others(self, order: Order) -> list[Order]:
        """The other legs of its group, by arrival."""
        return [leg for leg in self.legs(order.oco_group) if leg is not order]

    def legs(self, group: str | None) -> list[Order]:
        return [] if group is None else list(self._legs.get(group, {}).values())

    def children(self, parent_ref: str) -> list[Order]:
        return list(self._children.get(parent_ref, {}).values())

    def orphan(self, child: Order) -> None:
        """Its parent has ended; from now on it stands alone."""
        _discard(self._children, child.parent_ref, child)
        child.parent_ref = None


def _discard(index: dict[str, dict[str, Order]], key: str | None, order: Order) -> None:
    if key is not None and key in index:
        index[key].pop(order.order_ref, None)
        if not index[key]:
            del index[key]
