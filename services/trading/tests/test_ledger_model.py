"""The ledger against a short model that keeps nothing but a list of what happened, and against restarts."""

import copy
import random
from decimal import Decimal as D
from uuid import UUID

import msgspec
import pytest
from account_commands import ACCOUNT, NOW, a_fill, an_account, an_order, done, entries_of
from fleet_simulator import Side
from fleet_trading.domain import (
    Account,
    Adjust,
    BeginReset,
    Book,
    EntryKind,
    Reset,
)
from fleet_trading.domain.account import Balance, Changes, Position
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule


def restarted(account: Account) -> Account:
    """What a process that has just started would read: rows, and of its orders those that are asked for."""
    rows = msgspec.json.encode({c: (b.total, b.reserved) for c, b in account.balances.items()})
    held = msgspec.json.encode({s: (p.quantity, p.cost, p.realized_pnl) for s, p in account.positions.items()})
    account.balances = {c: Balance(*b) for c, b in msgspec.json.decode(rows, type=dict[str, tuple[D, D]]).items()}
    positions = msgspec.json.decode(held, type=dict[str, tuple[D, D, D]])
    account.positions = {s: Position(*p) for s, p in positions.items()}
    account.known_trades = {}
    account.changes = Changes()
    return account


@pytest.mark.parametrize("times", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_interleavings_and_restarts_do_not_change_what_was_earned(times: int) -> None:
    """A buy of one order and a sell of another, their fills in random orders, with restarts in between: in the end
    nothing is held and the same was earned, to the last digit."""
    fills = [
        (10, 3, "100.37"),
        (10, 4, "99.13"),
        (10, 3, "101.91"),
        (11, 5, "102.77"),
        (11, 2, "98.03"),
        (11, 3, "103.29"),
    ]
    earned = sum((q * D(p) if order == 11 else -q * D(p)) for order, q, p in fills)
    chance = random.Random(5)
    opened = an_account(10_000)
    done(opened, an_order(10, Side.BUY, 10, 105))
    done(opened, an_order(12, Side.BUY, 10, 1))  # Rests beside them: what is reserved for it stays.
    reserved = opened.orders[UUID(int=12)].reserved
    seen = set()
    for _ in range(times):
        account = begun(opened)
        chance.shuffle(fills)
        restart_after = chance.randrange(len(fills))
        for number, (order, quantity, price) in enumerate(fills):
            side = Side.BUY if order == 10 else Side.SELL
            done(account, a_fill(order, 100 + number, quantity, price, symbol="AAPL/USD", side=side))
            if number == restart_after:
                account = restarted(account)
        position = account.positions["AAPL/USD"]
        seen.add((position.quantity, position.cost, position.realized_pnl, account.balances["USD"].total))
        assert account.balances["USD"].reserved == reserved
    assert seen == {(D(0), D(0), earned, 10_000 + earned)}


def begun(opened: Account) -> Account:
    """A copy, as cheap as it can be; the sell is one that the venue tells of first."""
    return Account(
        account_id=ACCOUNT,
        user_id=opened.user_id,
        name="",
        kind="paper",
        base_currency="USD",
        is_default=True,
        created_at=NOW,
        balances={c: Balance(b.total, b.reserved) for c, b in opened.balances.items()},
        orders={order_id: copy.copy(order) for order_id, order in opened.orders.items()},
    )


KINDS = [
    EntryKind.DEPOSIT,
    EntryKind.WITHDRAWAL,
    EntryKind.DIVIDEND,
    EntryKind.FEE,
    EntryKind.FUNDING,
    EntryKind.CORRECTION,
]


class LedgerMachine(RuleBasedStateMachine):
    """Fills, adjustments, transfers and resets in any order; the model adds up a list."""

    @initialize()
    def open(self) -> None:
        self.account = an_account(1_000)
        self.model: list[tuple[str, D]] = [("USD", D(1_000))]
        self.entries = entries_of(self.account)
        self.transferred = D(0)
        self.number = 100

    def fresh(self) -> int:
        self.number += 1
        return self.number

    @rule(side=st.sampled_from(Side), quantity=st.integers(1, 9), price=st.integers(1, 200), fee=st.integers(0, 2))
    def trade(self, side: Side, quantity: int, price: int, fee: int) -> None:
        order = self.fresh()
        done(self.account, a_fill(order, self.fresh(), quantity, price, fee, symbol="AAPL/USD", side=side))
        sign = 1 if side is Side.BUY else -1
        self.model += [("AAPL", D(sign * quantity)), ("USD", D(-sign * quantity * price)), ("USD", D(-fee))]

    @rule(kind=st.sampled_from([*KINDS, EntryKind.TRANSFER]), amount=st.integers(-300, 300).filter(bool))
    def adjust(self, kind: EntryKind, amount: int) -> None:
        command = Adjust(
            transaction_id=UUID(int=self.fresh()),
            kind=kind,
            currency="USD",
            amount=D(amount),
            source="model",
            now=NOW,
            market_at=NOW,
        )
        done(self.account, command)
        self.model.append(("USD", D(amount)))
        self.transferred += amount if kind is EntryKind.TRANSFER else 0

    @rule(opening=st.integers(0, 2_000))
    def reset(self, opening: int) -> None:
        done(self.account, BeginReset())
        assert self.account.status.value == "resetting"
        done(self.account, Reset(transaction_id=UUID(int=self.fresh()), opening=D(opening), now=NOW, market_at=NOW))
        assert self.account.status.value == "active"
        self.model = [("USD", D(opening))]

    @rule()
    def restart(self) -> None:
        self.entries += entries_of(self.account)[self._seen() :]
        self.account = restarted(self.account)

    def _seen(self) -> int:
        """How many of the account's unwritten entries are in the list already."""
        return sum(1 for entry in entries_of(self.account) if entry.entry_no <= len(self.entries))

    @invariant()
    def agrees(self) -> None:
        self.entries += entries_of(self.account)[self._seen() :]
        assert [entry.entry_no for entry in self.entries] == list(range(1, len(self.entries) + 1))
        for currency in ("USD", "AAPL"):
            expected = sum((amount for of, amount in self.model if of == currency), D(0))
            assert self.account.balance(currency).total == expected
            of_client = [e for e in self.entries if e.book is Book.CLIENT and e.currency == currency]
            assert sum((e.amount for e in of_client), D(0)) == expected
            assert not of_client or of_client[-1].balance_after == expected
        assert self.account.positions.get("AAPL/USD", Position()).quantity == self.account.balance("AAPL").total
        sums: dict[tuple[UUID, str], D] = {}
        for entry in self.entries:
            key = (entry.transaction_id, entry.currency)
            sums[key] = sums.get(key, D(0)) + entry.amount
        assert not any(sums.values())
        of_transfers = sum((e.amount for e in self.entries if e.book is Book.TRANSFERS), D(0))
        assert of_transfers == -self.transferred


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=25)
