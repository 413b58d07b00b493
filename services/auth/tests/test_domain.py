"""Decisions about addresses, passwords, scopes and refresh tokens."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from fleet_auth.domain import (
    RefreshRefusal,
    RefreshToken,
    Session,
    User,
    UserStatus,
    normalise_email,
    scopes_of,
)
from fleet_contracts.vocabulary import Role
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def a_token(**changes: object) -> RefreshToken:
    user = User(
        user_id=UUID(int=1),
        email="ada@example.com",
        display_name=None,
        roles=(Role.TRADER,),
        status=UserStatus(str(changes.get("status", "active"))),
        version=1,
        created_at=NOW,
    )
    revoked_at = changes.get("revoked_at")
    used_at = changes.get("used_at")
    assert revoked_at is None or isinstance(revoked_at, datetime)
    assert used_at is None or isinstance(used_at, datetime)
    session = Session(
        session_id=UUID(int=2),
        user_id=user.user_id,
        began_at=NOW,
        ends_at=NOW,
        last_token_expires_at=NOW,
        revoked_at=revoked_at,
    )
    expires_at = NOW if changes.get("expired") else NOW + timedelta(days=1)
    return RefreshToken(token_hash=b"x", expires_at=expires_at, used_at=used_at, session=session, user=user)


def test_a_fresh_token_is_taken() -> None:
    assert a_token().refusal(NOW) is None


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"expired": True}, RefreshRefusal.EXPIRED),
        ({"used_at": NOW}, RefreshRefusal.REUSED),
        ({"used_at": NOW, "expired": True}, RefreshRefusal.REUSED),
        ({"revoked_at": NOW, "used_at": NOW}, RefreshRefusal.SESSION_REVOKED),
        ({"status": "disabled"}, RefreshRefusal.USER_DISABLED),
    ],
)
def test_why_a_token_gives_nothing(changes: dict[str, object], refusal: RefreshRefusal) -> None:
    assert a_token(**changes).refusal(NOW) is refusal


@given(st.emails())
def test_an_address_has_one_spelling(address: str) -> None:
    try:
        kept = normalise_email(address)
    except ValueError:
        return
    assert normalise_email(kept) == kept == normalise_email(f" {address} ")
    assert kept == kept.lower()


@pytest.mark.parametrize("address", ["", "ada", "ada@", "@example.com", "a b@example.com", "ada@example.com\nx"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        normalise_email(address)


def test_roles_add_up() -> None:
    assert scopes_of([Role.VIEWER]) == ["read"]
    assert scopes_of([Role.TRADER, Role.VIEWER]) == ["read", "strategy", "trade", "transfer"]
    assert "admin" in scopes_of([Role.ADMIN])
