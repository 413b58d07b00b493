"""A book of the paper venue that is killed at any point and read again from its rows: memory is a cache."""

from typing import Any

from fleet_exchange_connector.domain.orders import Report
from fleet_simulator import Models, OrderType, Side, TimeInForce, models_of
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_books import SECOND, Stored, bracket, canceling, order, ref, replacing, told

PRICES = st.integers(9_000, 11_000).map(lambda cents: cents / 100)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "display_quantity": st.integers(1, 6),
        "minimum_quantity": st.integers(1, 10),
        "post_only": st.booleans(),
        "reduce_only": st.booleans(),
        "time_in_force": st.sampled_from(TimeInForce),
        "expires_after_s": st.integers(1, 30),
        "oco_group": st.integers(1, 3).map(lambda n: ref(500 + n)),
        "parent_ref": st.integers(1, 25).map(ref),
        "account_id": st.sampled_from([ref(1000), ref(1001)]),
        "quantity": st.integers(1, 12),
    },
)
TYPES = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"limit_price": PRICES}),
    st.fixed_dictionaries({"stop_price": PRICES}),
    st.fixed_dictionaries({"stop_price": PRICES, "order_type": st.just(OrderType.MARKET_IF_TOUCHED)}),
    st.fixed_dictionaries(
        {
            "stop_price": PRICES,
            "limit_price": PRICES,
            "order_type": st.sampled_from([OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED]),
        }
    ),
    st.fixed_dictionaries({"trail_amount": st.integers(1, 500).map(lambda cents: cents / 100)}),
    st.fixed_dictionaries(
        {"trail_percent": st.sampled_from(["0.5", "1.5"]), "order_type": st.just(OrderType.TRAILING_STOP)}
    ),
)
MOVES = st.one_of(
    st.tuples(st.just("place"), st.sampled_from(Side), TYPES, CONDITIONS),
    st.tuples(st.just("bracket"), PRICES),
    st.tuples(st.just("quote"), PRICES),
    st.tuples(st.just("quote"), PRICES),
    st.tuples(st.just("bar"), PRICES, PRICES, PRICES, PRICES),
    st.tuples(st.just("cancel"), st.integers(1, 25)),
    st.tuples(st.just("replace"), st.integers(1, 25), st.integers(1, 15), PRICES),
    st.tuples(st.just("again")),
    st.tuples(st.just("end")),
    st.tuples(st.just("kill")),
)


def move(book: Stored, number: int, drawn: Any) -> list[Report]:
    match drawn:
        case ("place", side, kind, conditions):
            conditions = dict(conditions)
            after_s = conditions.pop("expires_after_s", None)
            if conditions.get("time_in_force") is TimeInForce.GTD and after_s is not None:
                conditions["expires_at"] = book.at + after_s * SECOND
            return book.does(order(number, side, **kind, **conditions))
        case ("bracket", price):
            return book.does(*bracket(number, limit_price=price))
        case ("quote", price):
            return book.quote(price)
        case ("bar", opened, first, second, close):
            prices = (opened, first, second, close)
            reports = book.bar(opened, max(prices), min(prices), close)
            book.at = book.closed_at
            return reports
        case ("cancel", number):
            return book.does(canceling(number))
        case ("replace", number, quantity, price):
            known = {each.venue_order_ref.int: each for each in book.book.listed()}.get(number)
            changed: dict[str, Any] = {"quantity": quantity}
            if known is not None and known.limit_price is not None:
                changed = {"limit_price": price}
            elif known is not None and known.stop_price is not None:
                changed = {"stop_price": price}
            return book.does(replacing(number, **changed))
        case ("again",):
            return book.look_again()
        case _:
            return book.end_session()


MODELS = st.sampled_from(
    [
        models_of(),
        models_of(volume_share="0.06", slippage="half_spread", fees="maker_taker"),
        models_of(volume_share="1", slippage="square_root", fees="per_share", bar_path="worst_first"),
        models_of(volume_share="0.03", slippage="volume_share", fees="tiered:0=0.003,500=0.001"),
    ]
)


@settings(max_examples=150)
@given(MODELS, st.lists(MOVES, min_size=4, max_size=25))
def test_whenever_it_is_killed_its_rows_are_the_truth(models: Models, moves: list[Any]) -> None:
    whole, killed = Stored(models), Stored(models)
    whole.quote(100)
    killed.quote(100)
    for number, drawn in enumerate(moves, 1):
        if drawn == ("kill",):
            killed.book = killed.restored()
        else:
            assert move(killed, number * 3, drawn) == move(whole, number * 3, drawn)
        assert killed.restored().state_hash() == whole.book.state_hash(), "at every point"


def test_the_rows_say_where_every_kind_of_order_stands_between_two_prices() -> None:
    """A bracket whose parent has filled, a stop that has trailed, an iceberg, a child that waits, a leg left alone."""
    whole, killed = Stored(), Stored()
    for book in (whole, killed):
        book.quote(100)
        book.does(
            *bracket(),
            order(10, Side.SELL, trail_amount=2),
            order(11, limit_price=97, display_quantity=3),
            order(12, Side.SELL, limit_price=99, parent_ref=ref(13)),
            order(13, limit_price=96),
            *bracket(20, limit_price=100),
        )
        book.quote(101)
        assert book.unreported == 1, "the mark has moved, and nothing else has changed without a report"
        book.quote(100.5)
        assert book.unreported == 1, "what has not moved is not written"
    killed.book = killed.restored()
    assert killed.book.state_hash() == whole.book.state_hash()
    for price in (99.0, 96.5, 95.9, 112.0):
        assert killed.quote(price) == whole.quote(price)
        assert killed.restored().state_hash() == whole.book.state_hash()
    assert (10, "filled") not in told(whole.quote(100)), "it has filled at 99"
