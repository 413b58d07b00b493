"""`fleet ledger book` against trading as it runs."""

from decimal import Decimal as D
from pathlib import Path
from typing import Any
from uuid import UUID

from fleet_command import command, fleet_of
from fleet_contracts.audit import AdminActed
from fleet_testkit.eventually import eventually


async def test_an_operator_books_what_is_no_trade(fleet: Any, tmp_path: Path) -> None:
    """a fee → said again → another amount under the same reference → more than is there → all of it in the ledger once"""
    user: UUID = fleet.a_user()
    await fleet.call("GET", "/api/v1/accounts", user=user)
    account = str(fleet.account_of(user))
    state = fleet_of(tmp_path, fleet.settings.private_key_file.parent, "trading", fleet.url)
    fee = (account, "fee", "-3.50", "--reference", "data of November")
    status, told, wrong = await command(state, "ledger", "book", *fee)
    assert status == 0, wrong
    heads, row = told.splitlines()
    assert heads.split() == ["at", "kind", "amount", "currency", "reference", "transaction"]
    assert row.split()[1:-1] == ["fee", "-3.5", "USD", "data", "of", "November"]
    status, again, _ = await command(state, "ledger", "book", *fee)
    assert (status, again) == (0, f"booked before, nothing has changed:\n{told}")
    assert await fleet.balance(user) == (D("99996.5"), 0)
    status, _, wrong = await command(state, "ledger", "book", account, "fee", "-4", "--reference", "data of November")
    assert (status, wrong) == (1, "error: trading: It is booked already, as a fee of -3.50 USD.\n")
    status, _, wrong = await command(
        state, "ledger", "book", account, "withdrawal", "-100000", "--reference", "to the bank"
    )
    assert status == 1 and "settled and not reserved was 99996.5" in wrong
    for words in (
        ("correction", "3.5", "--reference", "of the fee"),
        ("withdrawal", "-100000", "--reference", "to the bank"),
    ):
        status, _, wrong = await command(state, "ledger", "book", account, *words)
        assert status == 0, wrong
    assert await fleet.balance(user) == (0, 0)
    ledger = (await fleet.call("GET", f"/api/v1/accounts/{account}/ledger", user=user)).body["data"]
    assert [(e["kind"], e["amount"], e["reference"]) for e in ledger[:3]] == [
        ("withdrawal", "-100000", "to the bank"),
        ("correction", "3.5", "of the fee"),
        ("fee", "-3.5", "data of November"),
    ]

    def acts() -> list[str]:
        told = [one.message for one in fleet.heard if isinstance(one.message, AdminActed)]
        found = [act.action for act in told if act.target == f"account:{account}"]
        return found if len(found) == 3 else []

    assert await eventually(acts) == ["fee.booked", "correction.booked", "withdrawal.booked"]
    await fleet.books_hold()
