"""Names of orders: every other byte of what a client sends stays as it is."""

import json
from typing import Any
from uuid import UUID

from fleet_chassis.problems import Problem
from fleet_gateway.orders import name_batch, name_order
from hypothesis import given, settings
from hypothesis import strategies as st

MINTED = UUID("0192f3a4-0000-7000-8000-000000000001")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
names = st.text(max_size=4)
orders = st.dictionaries(names, values, max_size=3)


def new_id() -> UUID:
    return MINTED


@settings(max_examples=50)
@given(orders)
def test_a_nameless_order_gets_a_name_and_nothing_else(order: dict[str, Any]) -> None:
    named = name_order(json.dumps(order).encode(), new_id)
    assert json.loads(named.body) == order | {"client_order_id": str(MINTED)}
    assert named.header == str(MINTED)


@settings(max_examples=30)
@given(st.lists(orders, max_size=12), st.dictionaries(names, values, max_size=2))
def test_so_does_every_one_of_a_batch(batch: list[dict[str, Any]], rest: dict[str, Any]) -> None:
    named = name_batch(json.dumps(rest | {"orders": batch}).encode(), new_id)
    assert json.loads(named.body) == rest | {
        "orders": [order | {"client_order_id": f"{MINTED}-{at}"} for at, order in enumerate(batch)]
    }
    assert named.weight == max(1, len(batch) / 10)
    assert named.header == (f"{MINTED}-*" if batch else None)


@settings(max_examples=30)
@given(st.lists(orders, min_size=11, max_size=30), st.sampled_from(({"client_order_id": 5}, 7, None, [], "order")))
def test_one_that_is_no_order_makes_a_batch_no_lighter(batch: list[dict[str, Any]], wrong: Any) -> None:
    """trading takes each order of a batch by itself: the others are placed."""
    named = name_batch(json.dumps({"orders": [*batch, wrong]}).encode(), new_id)
    assert named.weight == (len(batch) + 1) / 10
    assert json.loads(named.body)["orders"] == [
        *({"client_order_id": f"{MINTED}-{at}"} | order for at, order in enumerate(batch)),
        wrong,
    ]


@given(st.binary(max_size=200))
def test_what_is_no_order_is_passed_on(body: bytes) -> None:
    for name in (name_order, name_batch):
        try:
            named = name(body, new_id)
        except Problem as problem:
            assert problem.status == 400
            assert body.decode(errors="replace").encode() != body
        else:
            assert named.body == body or json.loads(body) is not None


def test_depth_is_trading_s_affair() -> None:
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    assert name_order(deep, new_id).body == deep
