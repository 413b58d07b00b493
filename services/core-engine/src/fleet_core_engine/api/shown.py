"""What both routes show."""

from datetime import datetime

from fleet_chassis.shapes import Resource
from fleet_contracts.vocabulary import StateScope, TradingStateWord


class TradingStateShown(Resource):
    scope: StateScope
    target: str | None
    state: TradingStateWord
    epoch: int
    version: int
    by: str
    reason: str
    changed_at: datetime
