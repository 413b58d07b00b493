"""What the world has for the journal, in the order in which it is learned."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from fleet_matching_engine.app import engine_of
from fleet_matching_engine.domain.rules import CANCEL_AFTER, INSTRUMENT, RULES, STATE, Rules
from fleet_matching_engine.service import VenueMachine, World

NOW = datetime(2026, 1, 5, 15, tzinfo=UTC)


def test_a_halt_is_learned_before_a_hundred_instruments(make_instrument: Any) -> None:
    """a first start: more facts than are learned at a time -> no order is taken before all that stops orders is known"""
    halt = TradingStateChanged(
        scope=StateScope.SYSTEM,
        target=None,
        state=TradingStateWord.HALTED,
        epoch=1,
        version=1,
        by="an operator",
        reason="a test",
        changed_at=NOW,
    )
    world = World(
        rules=Rules(Decimal("0.2"), Decimal(10**9), 1_000, "cancel_newest"),
        calendars={},
        instruments=lambda: [make_instrument(f"S{n}/USD") for n in range(400)],
        quote=lambda symbol: None,
        states=lambda: [halt],
        is_alone=lambda: True,
        passed=lambda: ({UUID(int=1): NOW}, 1),
        now=lambda: NOW,
    )
    told = [one.kind for one in world.news_for(VenueMachine(engine_of("naive"), 0))]
    assert told[:5] == [RULES, STATE, STATE, CANCEL_AFTER, INSTRUMENT]
    assert told.count(INSTRUMENT) > 50
