"""The decision over a signal, against the rules as a list, for circumstances of every kind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from fleet_core_engine.domain.signals import (
    Action,
    Circumstances,
    Deployment,
    Drop,
    Grant,
    Missing,
    Quote,
    Signal,
    Word,
    judge,
)
from fleet_simulator import OrderType, Side, TimeInForce
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
ACCOUNT, OTHER_ACCOUNT, USER, DEPLOYMENT = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)
MAX_AGE = timedelta(seconds=10)

BUY = Signal(
    deployment_id=DEPLOYMENT,
    grant_id=DEPLOYMENT,
    account_id=ACCOUNT,
    user_id=USER,
    action=Action.SUBMIT,
    symbol="AAPL/USD",
    raised_at=NOW,
    side=Side.BUY,
    order_type=OrderType.MARKET,
    quantity=Decimal(20),
    limit_price=None,
    time_in_force=TimeInForce.GTC,
    target_signal_id=None,
)
SELL = replace(BUY, side=Side.SELL)
CANCEL = replace(
    BUY,
    action=Action.CANCEL,
    side=None,
    order_type=None,
    quantity=None,
    time_in_force=None,
    target_signal_id=UUID(int=9),
)
GRANT = Grant(
    account_id=ACCOUNT,
    user_id=USER,
    symbols=frozenset({"AAPL/USD"}),
    max_order_notional=None,
    expires_at=None,
    is_active=True,
)
KNOWN = Circumstances(
    account_owner=USER,
    deployment=Deployment(account_id=ACCOUNT, user_id=USER, symbols=frozenset({"AAPL/USD"}), is_active=True),
    grant=GRANT,
    is_symbol_known=True,
    state=Word.ACTIVE,
    quote=Quote(Decimal("99.5"), Decimal("100.5"), NOW + timedelta(seconds=10)),
    now=NOW,
    max_age=MAX_AGE,
)


def granting(**changes: object) -> Circumstances:
    return replace(KNOWN, grant=replace(GRANT, **changes))  # type: ignore[arg-type]


def deployed(**changes: object) -> Circumstances:
    assert KNOWN.deployment is not None
    return replace(KNOWN, deployment=replace(KNOWN.deployment, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("signal", "known", "drop"),
    [
        (BUY, KNOWN, None),
        (SELL, KNOWN, None),
        (CANCEL, KNOWN, None),
        (BUY, replace(KNOWN, account_owner=UUID(int=8)), Drop.ACCOUNT_MISMATCH),
        (BUY, deployed(is_active=False), Drop.DEPLOYMENT_NOT_ACTIVE),
        (BUY, deployed(account_id=OTHER_ACCOUNT), Drop.DEPLOYMENT_MISMATCH),
        (BUY, deployed(symbols=frozenset({"MSFT/USD"})), Drop.SYMBOL_NOT_DEPLOYED),
        (BUY, granting(account_id=OTHER_ACCOUNT), Drop.GRANT_MISMATCH),
        (BUY, granting(user_id=OTHER_ACCOUNT), Drop.GRANT_MISMATCH),
        (replace(BUY, grant_id=UUID(int=5)), KNOWN, Drop.GRANT_MISMATCH),
        (BUY, granting(symbols=frozenset({"MSFT/USD"})), Drop.SYMBOL_NOT_GRANTED),
        (BUY, granting(is_active=False), Drop.GRANT_ENDED),
        (BUY, granting(expires_at=NOW), Drop.GRANT_EXPIRED),
        (BUY, granting(expires_at=NOW + timedelta(seconds=1)), None),
        (replace(BUY, quantity=Decimal(0)), KNOWN, Drop.MALFORMED),
        (replace(BUY, order_type=OrderType.LIMIT), KNOWN, Drop.MALFORMED),
        (replace(BUY, limit_price=Decimal(100)), KNOWN, Drop.MALFORMED),
        (replace(CANCEL, target_signal_id=None), KNOWN, Drop.MALFORMED),
        (BUY, replace(KNOWN, state=Word.HALTED), Drop.HALTED),
        (SELL, replace(KNOWN, state=Word.HALTED), Drop.HALTED),
        (CANCEL, replace(KNOWN, state=Word.HALTED), None),
        (BUY, replace(KNOWN, state=Word.REDUCING), Drop.REDUCING),
        (SELL, replace(KNOWN, state=Word.REDUCING), None),
        (BUY, replace(KNOWN, now=NOW + MAX_AGE), None),
        (BUY, replace(KNOWN, is_open=False), Drop.MARKET_CLOSED),
        (replace(BUY, time_in_force=TimeInForce.AT_OPEN), replace(KNOWN, is_open=False), None),
        (CANCEL, replace(KNOWN, is_open=False, is_free=False), None),
        (BUY, replace(KNOWN, is_free=False), Drop.THROTTLED),
        (BUY, replace(KNOWN, quote=Quote(Decimal(99), Decimal(101), NOW - timedelta(seconds=1))), Drop.STALE_QUOTE),
        (BUY, replace(KNOWN, quote=Quote(Decimal(99), Decimal(101), NOW)), None),
        (BUY, replace(KNOWN, now=NOW + MAX_AGE + timedelta(seconds=1)), Drop.STALE),
        (BUY, replace(KNOWN, now=NOW + timedelta(days=5000), max_age=None), None),
        (BUY, granting(max_order_notional=Decimal(2010)), None),
        (BUY, granting(max_order_notional=Decimal("2009.99")), Drop.MAX_ORDER_NOTIONAL),
        (SELL, granting(max_order_notional=Decimal(1990)), None),
        (
            replace(BUY, order_type=OrderType.LIMIT, limit_price=Decimal(50)),
            granting(max_order_notional=Decimal(1000)),
            None,
        ),
        (CANCEL, granting(is_active=False), None),
    ],
)
def test_a_signal_is_judged(signal: Signal, known: Circumstances, drop: Drop | None) -> None:
    assert judge(signal, known) is drop


D = Decimal
STOP = replace(BUY, order_type=OrderType.STOP, stop_price=D(110))
BRACKET = replace(STOP, order_class="bracket", take_profit_price=D(120), stop_loss_price=D(100))
OCO = replace(SELL, order_class="oco", order_type=OrderType.LIMIT, limit_price=D(110), stop_loss_price=D(90))
TRAILING = replace(BUY, order_type=OrderType.TRAILING_STOP, trail_percent=D(2))


@pytest.mark.parametrize("signal", [STOP, BRACKET, OCO, TRAILING, replace(BRACKET, stop_loss_limit_price=D(99))])
def test_orders_of_every_kind_are_accepted(signal: Signal) -> None:
    assert judge(signal, KNOWN) is None


@pytest.mark.parametrize(
    "signal",
    [
        replace(STOP, stop_price=None),
        replace(STOP, stop_price=D(0)),
        replace(BUY, stop_price=D(110)),
        replace(TRAILING, trail_amount=D(1)),
        replace(TRAILING, trail_percent=D("0.00001")),
        replace(BUY, time_in_force=TimeInForce.GTD),
        replace(BUY, expires_at=NOW),
        replace(BUY, post_only=True),
        replace(STOP, time_in_force=TimeInForce.AT_OPEN),
        replace(BRACKET, take_profit_price=None),
        replace(BRACKET, order_class="oto"),
        replace(BRACKET, order_class="simple"),
        replace(BRACKET, stop_loss_price=D(-1)),
        replace(BUY, stop_loss_limit_price=D(1)),
        replace(OCO, order_type=OrderType.STOP, limit_price=None, stop_price=D(90)),
        replace(OCO, take_profit_price=D(120)),
    ],
)
def test_what_does_not_go_together_is_malformed(signal: Signal) -> None:
    assert judge(signal, KNOWN) is Drop.MALFORMED


@pytest.mark.parametrize(
    ("signal", "notional"),
    [
        (STOP, D(2200)),  # where it would become a market order, whatever the quote is
        (BRACKET, D(2200)),  # its exits only close what it opened
        (OCO, D(2200)),
        (replace(OCO, side=Side.BUY, limit_price=D(90), stop_loss_price=D(105)), D(2100)),  # the dearer of the two
        (TRAILING, D("2050.2")),  # 2 % above the ask
        (replace(STOP, order_type=OrderType.STOP_LIMIT, limit_price=D(111)), D(2220)),
        # A sell limited far below the market is one at the market.
        (replace(SELL, order_type=OrderType.LIMIT, limit_price=D(1)), D(1990)),
        (replace(SELL, order_type=OrderType.MARKET_IF_TOUCHED, stop_price=D(1)), D(1990)),
        (replace(SELL, order_type=OrderType.STOP, stop_price=D(90)), D(1800)),
        (replace(SELL, order_type=OrderType.TRAILING_STOP, trail_percent=D(2)), D(1990)),
        (replace(SELL, order_type=OrderType.STOP_LIMIT, stop_price=D(90), limit_price=D(1)), D(1800)),
    ],
)
def test_the_cap_is_on_the_price_at_which_the_order_would_trade(signal: Signal, notional: Decimal) -> None:
    assert judge(signal, granting(max_order_notional=notional)) is None
    assert judge(signal, granting(max_order_notional=notional - D("0.01"))) is Drop.MAX_ORDER_NOTIONAL


@pytest.mark.parametrize(
    "known",
    [
        replace(KNOWN, account_owner=None),
        replace(KNOWN, grant=None),
        replace(KNOWN, deployment=None),
        replace(KNOWN, is_symbol_known=False),
        replace(granting(max_order_notional=Decimal(1)), quote=None),
    ],
)
def test_what_another_topic_will_bring_is_waited_for(known: Circumstances) -> None:
    with pytest.raises(Missing):
        judge(BUY, known)


def test_a_capped_signal_waits_for_a_quote_no_longer_than_it_is_good() -> None:
    known = replace(granting(max_order_notional=Decimal(1)), quote=None, now=NOW + MAX_AGE)
    with pytest.raises(Missing):
        judge(BUY, known)
    assert judge(BUY, replace(known, now=NOW + MAX_AGE + timedelta(seconds=1))) is Drop.STALE


def test_a_cap_is_not_measured_with_a_stale_quote() -> None:
    known = replace(granting(max_order_notional=Decimal(10**6)), now=NOW + timedelta(seconds=11), max_age=timedelta(60))
    assert judge(BUY, known) is Drop.STALE_QUOTE
    assert judge(BUY, replace(known, max_age=None)) is None


SIGNALS = st.builds(
    replace,
    st.just(BUY),
    side=st.sampled_from(Side),
    symbol=st.sampled_from(["AAPL/USD", "MSFT/USD"]),
    account_id=st.sampled_from([ACCOUNT, OTHER_ACCOUNT]),
    raised_at=st.sampled_from([NOW, NOW - MAX_AGE * 2]),
    quantity=st.decimals(min_value=1, max_value=1000, places=0),
)
GRANTS = st.builds(
    replace,
    st.just(GRANT),
    symbols=st.sampled_from([frozenset({"AAPL/USD"}), frozenset({"AAPL/USD", "MSFT/USD"})]),
    is_active=st.booleans(),
    expires_at=st.sampled_from([None, NOW - timedelta(days=1), NOW + timedelta(days=1)]),
    max_order_notional=st.one_of(st.none(), st.decimals(min_value=0, max_value=100_000, places=2)),
)
CIRCUMSTANCES = st.builds(
    replace,
    st.just(KNOWN),
    grant=GRANTS,
    state=st.sampled_from(Word),
    max_age=st.sampled_from([None, MAX_AGE]),
)


@given(SIGNALS, CIRCUMSTANCES)
def test_nothing_that_any_rule_forbids_is_accepted(signal: Signal, known: Circumstances) -> None:
    grant, quote = known.grant, known.quote
    assert grant is not None
    assert quote is not None
    assert signal.quantity is not None
    price = quote.ask if signal.side is Side.BUY else quote.bid
    allowed = (
        signal.account_id == grant.account_id == ACCOUNT
        and signal.symbol in grant.symbols & {"AAPL/USD"}
        and grant.is_active
        and (grant.expires_at is None or grant.expires_at > NOW)
        and known.state is not Word.HALTED
        and (known.state is Word.ACTIVE or signal.side is Side.SELL)
        and (known.max_age is None or signal.raised_at >= NOW - known.max_age)
        and (grant.max_order_notional is None or signal.quantity * price <= grant.max_order_notional)
    )
    assert (judge(signal, known) is None) == allowed
