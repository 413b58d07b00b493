"""Which trading state holds: per scope and target the highest (epoch, version), over the scopes the strictest word."""

from uuid import UUID

from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.vocabulary import StateScope, TradingStateWord

_STRICTNESS = {TradingStateWord.ACTIVE: 0, TradingStateWord.REDUCING: 1, TradingStateWord.HALTED: 2}


def strictest(*words: TradingStateWord) -> TradingStateWord:
    """Of several states the one that allows least; of none `active`."""
    return max(words, key=_STRICTNESS.__getitem__, default=TradingStateWord.ACTIVE)


def state_key(scope: StateScope, target: str | None) -> str:
    """The key of core-engine.state: `system`, or scope and target, for example `symbol:AAPL/USD`."""
    return scope.value if target is None else f"{scope.value}:{target}"


class States:
    """The states known so far; what no one has spoken of is active."""

    def __init__(self) -> None:
        self._held: dict[str, TradingStateChanged] = {}
        self._restricting: dict[str, TradingStateWord] = {}
        """Of those the ones that are not active: nearly always none, and every order asks."""

    def obey(self, change: TradingStateChanged) -> bool:
        """Takes the change if it is newer than what is held of its scope and target; tells whether it was."""
        key = state_key(change.scope, change.target)
        held = self._held.get(key)
        if held is not None and (held.epoch, held.version) >= (change.epoch, change.version):
            return False
        self._held[key] = change
        if change.state is TradingStateWord.ACTIVE:
            self._restricting.pop(key, None)
        else:
            self._restricting[key] = change.state
        return True

    def held(self, scope: StateScope, target: str | None) -> TradingStateChanged | None:
        return self._held.get(state_key(scope, target))

    def all(self) -> list[TradingStateChanged]:
        return list(self._held.values())

    def strictest(
        self, *, symbol: str | None = None, venue: str | None = None, account_id: UUID | None = None
    ) -> TradingStateWord:
        """The strictest state of the system and of each target that is named."""
        if not self._restricting:
            return TradingStateWord.ACTIVE
        keys = [state_key(StateScope.SYSTEM, None)]
        if symbol is not None:
            keys.append(state_key(StateScope.SYMBOL, symbol))
        if venue is not None:
            keys.append(state_key(StateScope.VENUE, venue))
        if account_id is not None:
            keys.append(state_key(StateScope.ACCOUNT, str(account_id)))
        return strictest(*(self._restricting[key] for key in keys if key in self._restricting))
