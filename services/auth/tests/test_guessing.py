"""Waits that grow, and that nobody elsewhere shuts an account's owner out."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec
import pyotp
import pytest
import pytest_asyncio
from fleet_auth.app import create_app
from fleet_auth.domain import Client
from fleet_auth.guessing.domain import Budget, Failures, Standing, TooManyFailedLogins
from fleet_auth.guessing.networks import NetworkLists, parse_networks
from fleet_auth.guessing.service import Defence
from fleet_auth.settings import AuthSettings
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BUDGET = Budget(allowed=10, first_wait=MINUTE, longest_wait=15 * MINUTE)
HOME, OFFICE, ELSEWHERE = "192.0.2.1", "192.0.2.2", "2001:db8:0:7::/64"

budgets = st.builds(
    lambda allowed, first_s, times: Budget(
        allowed=allowed, first_wait=timedelta(seconds=first_s), longest_wait=timedelta(seconds=first_s * times)
    ),
    st.integers(1, 6),
    st.integers(1, 30),
    st.integers(1, 20),
)
pauses_s = st.lists(st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 700)), max_size=60)


class Naive:
    """The same with a level that drains, and a wait that is counted down."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.level, self.wait_s = budget, Fraction(0), 0.0

    def passes(self, seconds: int) -> None:
        self.level = max(Fraction(0), self.level - Fraction(seconds, int(self.budget.longest_wait.total_seconds())))
        self.wait_s = max(0, self.wait_s - seconds)

    def fails(self) -> None:
        self.level += 1
        beyond = -(-self.level // 1) - self.budget.allowed
        if beyond >= 0:
            first_s, longest_s = self.budget.first_wait.total_seconds(), self.budget.longest_wait.total_seconds()
            self.wait_s = min(first_s * 2**beyond, longest_s)


@given(budget=budgets, pauses=pauses_s)
def test_waits_are_those_of_a_level_that_drains(budget: Budget, pauses: list[int]) -> None:
    failures, naive, now = Failures(NOW), Naive(budget), NOW
    for pause in pauses:
        now += timedelta(seconds=pause)
        naive.passes(pause)
        wait = failures.wait(now)
        assert (wait or timedelta()).total_seconds() == naive.wait_s
        if wait is None:
            failures = failures.one_more(now, budget)
            naive.fails()
            assert failures.count(now, budget) == -(-naive.level // 1)


@given(budget=budgets, pauses=pauses_s)
def test_no_first_wait_ever_has_more_attempts_than_are_allowed(budget: Budget, pauses: list[int]) -> None:
    failures, now, taken = Failures(NOW), NOW, list[datetime]()
    for pause in pauses:
        now += timedelta(seconds=pause)
        if failures.wait(now) is None:
            failures = failures.one_more(now, budget)
            taken.append(now)
            assert sum(at > now - budget.first_wait for at in taken) <= budget.allowed


@given(budget=budgets, pauses=pauses_s)
def test_what_succeeds_leaves_nothing_behind(budget: Budget, pauses: list[int]) -> None:
    failures, now = Failures(NOW), NOW
    for pause in pauses:
        now += timedelta(seconds=pause)
        if failures.wait(now) is None:
            counted = failures.count(now, budget)
            given_back = failures.one_more(now, budget).one_less(budget)
            assert (given_back.wait(now), given_back.count(now, budget)) == (None, counted)
            failures = failures.one_more(now, budget)


def test_who_never_gives_up_has_about_a_hundred_guesses_a_day() -> None:
    failures, now, taken = Failures(NOW), NOW, 0
    while now < NOW + timedelta(days=1):
        wait = failures.wait(now)
        if wait is None:
            failures, taken = failures.one_more(now, BUDGET), taken + 1
        now += wait or timedelta(seconds=1)
    assert 90 < taken < 115


def test_a_wait_is_told_in_whole_seconds() -> None:
    assert TooManyFailedLogins(timedelta(seconds=12.2)).retry_after_s == 13


def test_lists_of_networks(tmp_path: Path) -> None:
    allowed, denied = tmp_path / "allowed", tmp_path / "denied"
    allowed.write_text("203.0.113.7 # the office\n")
    denied.write_text("# whoever it is\n203.0.113.0/24\n\n2001:db8:bad::/48\n")
    lists = NetworkLists(allowed=allowed, denied=denied)
    for address, standing in (
        ("203.0.113.7", Standing.ALLOWED),
        ("203.0.113.8", Standing.DENIED),
        ("203.0.114.8", Standing.UNKNOWN),
        ("2001:db8:bad:1::/64", Standing.DENIED),
        ("2001:db8:bed:1::/64", Standing.UNKNOWN),
    ):
        assert lists.standing(address) is standing


@pytest.mark.parametrize("line", ["nowhere", "10.0.0.1/8", "2001:db8::1", "10.0.0.0/33"])
def test_what_is_no_network_is_not_taken(line: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        parse_networks(b"10.0.0.0/8\n" + line.encode())
    path = tmp_path / "denied"
    path.write_text(line)
    with pytest.raises(ValueError):
        NetworkLists(denied=path)
    with pytest.raises(OSError):
        NetworkLists(denied=tmp_path / "not there")


async def login(auth: Any, email: str, password: str, address: str | None) -> Any:
    headers = {} if address is None else {"X-Client-Address": address}
    return await auth.call("POST", "/login", json={"email": email, "password": password}, headers=headers)


async def at_home(auth: Any) -> dict[str, Any]:
    """A user who has logged in at HOME before."""
    user: dict[str, Any] = await auth.registered()
    assert (await login(auth, user["email"], user["password"], HOME)).status == 200
    return user


async def besieged(auth: Any, email: str, guesses: int) -> list[Any]:
    """The answers to so many guesses, each from an address of its own, twenty at once."""
    waiting = [login(auth, email, f"wrong horse {n}", f"198.51.100.{n}") for n in range(guesses)]
    return [reply for start in range(0, guesses, 20) for reply in await asyncio.gather(*waiting[start : start + 20])]


async def test_200_guesses_from_200_addresses_are_throttled_and_the_owner_gets_in(auth: Any) -> None:
    user = await at_home(auth)
    nobody = "nobody-there@example.com"
    for email, guesses in ((user["email"], 200), (nobody, 20)):
        replies = await besieged(auth, email, guesses)
        assert sorted(reply.status for reply in replies) == [401] * 10 + [429] * (guesses - 10)
        refused = [reply for reply in replies if reply.status == 429]
        assert {reply.body["code"] for reply in refused} == {"too_many_failed_logins"}
        assert all(0 < int(reply.headers["Retry-After"]) <= 60 for reply in refused)
    # Whoever is elsewhere is a stranger, and cannot tell whether anybody lives there.
    stranger = await login(auth, user["email"], user["password"], OFFICE)
    unknown = await login(auth, nobody, user["password"], OFFICE)
    for reply in (stranger, unknown):
        assert reply.body.pop("request_id")
    assert (stranger.status, stranger.body) == (unknown.status, unknown.body) == (429, stranger.body)
    # At home nothing has happened, and what happens there helps no stranger.
    for _ in range(3):
        assert (await login(auth, user["email"], "wrong horse", HOME)).status == 401
        assert (await login(auth, user["email"], user["password"], HOME)).status == 200
    assert (await login(auth, user["email"], "wrong horse", OFFICE)).status == 429


async def test_waits_grow(auth: Any) -> None:
    user = await auth.registered()
    for _ in range(9):
        assert (await login(auth, user["email"], "wrong horse", None)).status == 401
    for wait_s in (60, 120, 240, 480, 480, 900, 900):
        assert (await login(auth, user["email"], "wrong horse", None)).status == 401
        refused = await login(auth, user["email"], user["password"], None)
        assert (refused.status, int(refused.headers["Retry-After"])) == (429, wait_s)
        auth.clock.advance(seconds=wait_s)
    auth.clock.advance(timedelta(days=1))
    for _ in range(9):
        assert (await login(auth, user["email"], "wrong horse", None)).status == 401
    assert (await login(auth, user["email"], user["password"], None)).status == 200


async def test_guesses_at_home_are_throttled_too_and_each_address_by_itself(auth: Any) -> None:
    user = await at_home(auth)
    assert (await login(auth, user["email"], user["password"], OFFICE)).status == 200
    statuses = [(await login(auth, user["email"], "wrong horse", HOME)).status for _ in range(14)]
    assert statuses == [401] * 10 + [429] * 4
    assert (await login(auth, user["email"], user["password"], HOME)).status == 429
    assert (await login(auth, user["email"], user["password"], OFFICE)).status == 200


async def test_an_address_is_its_owner_s_for_90_days(auth: Any) -> None:
    user = await at_home(auth)
    auth.clock.advance(timedelta(days=90))
    for _ in range(10):
        await login(auth, user["email"], "wrong horse", None)
    assert (await login(auth, user["email"], user["password"], HOME)).status == 429


async def test_30_failures_from_an_address_are_throttled_whatever_the_accounts(auth: Any) -> None:
    user = await auth.registered()
    assert (await login(auth, user["email"], user["password"], ELSEWHERE)).status == 200
    guesses = (login(auth, f"somebody-{n}@example.com", "wrong horse", ELSEWHERE) for n in range(40))
    assert sorted(reply.status for reply in await asyncio.gather(*guesses)) == [401] * 30 + [429] * 10
    other = await auth.registered()
    assert (await login(auth, other["email"], other["password"], ELSEWHERE)).status == 429
    assert (await login(auth, other["email"], other["password"], "203.0.113.9")).status == 200
    assert (await login(auth, user["email"], user["password"], ELSEWHERE)).status == 200


async def test_what_succeeds_is_not_counted_for_an_address(auth: Any) -> None:
    users = [await auth.registered() for _ in range(35)]
    replies = [await login(auth, user["email"], user["password"], "203.0.113.10") for user in users]
    assert {reply.status for reply in replies} == {200}


async def test_whoever_reads_the_account_s_mail_gets_in_from_anywhere(auth: Any) -> None:
    user = await at_home(auth)
    for _ in range(11):
        await login(auth, user["email"], "wrong horse", None)
    assert (await auth.call("POST", "/password/forgot", json={"email": user["email"]})).status == 202
    token = (await eventually(lambda: mail_to(auth, user["email"])))["token"]
    body = {"token": token, "new_password": "another horse"}
    reset = await auth.call("POST", "/password/reset", json=body, headers={"X-Client-Address": "203.0.113.20"})
    assert reset.status == 204
    assert (await login(auth, user["email"], "another horse", "203.0.113.20")).status == 200
    # Whoever was in before may have been another.
    assert (await login(auth, user["email"], "another horse", HOME)).status == 429


def mail_to(auth: Any, address: str) -> Any:
    path = Path(auth.settings.auth_mail.get_secret_value().removeprefix("file:"))
    lines = path.read_text().splitlines() if path.exists() else []
    return next((mail for mail in map(msgspec.json.decode, lines) if mail["to"] == address), None)


async def test_a_password_alone_makes_no_address_known_to_who_has_a_second_factor(auth: Any) -> None:
    user = await auth.registered()
    claims = jwt.decode((await auth.logged_in(user))["access_token"], options={"verify_signature": False})
    caller = {name: claims[name] for name in ("sub", "sid", "roles", "scopes")}
    secret = (await auth.call("POST", "/mfa/totp", user=caller)).body["secret"]
    code = pyotp.TOTP(secret).at(auth.clock.now())
    assert (await auth.call("POST", "/mfa/totp/verify", json={"code": code}, user=caller)).status == 200

    thief, owner = "203.0.113.30", "203.0.113.31"
    asked = [await login(auth, user["email"], user["password"], address) for address in (thief, owner)]
    assert all(reply.body["mfa_required"] for reply in asked)
    auth.clock.advance(seconds=30)
    shown = {"mfa_token": asked[1].body["mfa_token"], "code": pyotp.TOTP(secret).at(auth.clock.now())}
    headers = {"X-Client-Address": owner}
    assert (await auth.call("POST", "/login/mfa", json=shown, headers=headers)).status == 200
    for _ in range(10):
        await login(auth, user["email"], "wrong horse", None)
    assert (await login(auth, user["email"], user["password"], thief)).status == 429
    assert (await login(auth, user["email"], user["password"], owner)).status == 200


async def test_whose_address_the_gateway_does_not_see_is_a_stranger(auth: Any) -> None:
    user = await auth.registered()
    assert (await login(auth, user["email"], user["password"], "unknown")).status == 200
    for _ in range(10):
        await login(auth, user["email"], "wrong horse", None)
    assert (await login(auth, user["email"], user["password"], "unknown")).status == 429


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def listing(
    auth: Any, auth_settings: AuthSettings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Any]:
    """A replica with lists of networks."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "allowed").write_text("203.0.113.64/26\n")
    (folder / "denied").write_text("203.0.113.128/25\n")
    files = {"auth_allowed_networks_file": folder / "allowed", "auth_denied_networks_file": folder / "denied"}
    settings = auth_settings.model_copy(update=files | {"ordinal": 1})
    async with served(create_app(settings, clock=auth.clock)) as url, aiohttp.ClientSession() as http:
        yield dataclasses.replace(auth, url=url, settings=settings, http=http)


async def test_replicas_count_together(auth: Any, listing: Any) -> None:
    email = "two-doors@example.com"
    guesses = (login((auth, listing)[n % 2], email, "wrong horse", None) for n in range(16))
    assert sorted(reply.status for reply in await asyncio.gather(*guesses)) == [401] * 10 + [429] * 6


async def test_from_denied_networks_nobody_comes_in(auth: Any, listing: Any) -> None:
    user = await auth.registered()
    for path, body in (
        ("/login", {"email": user["email"], "password": user["password"]}),
        ("/register", {"email": "denied@example.com", "password": "correct horse"}),
        ("/refresh", {"refresh_token": "any"}),
        ("/password/forgot", {"email": user["email"]}),
    ):
        reply = await listing.call("POST", path, json=body, headers={"X-Client-Address": "203.0.113.200"})
        assert (reply.status, reply.body["code"]) == (403, "address_denied")
    assert (await login(listing, user["email"], user["password"], HOME)).status == 200

    denied = listing.settings.auth_denied_networks_file
    (denied.parent / "new").write_text("192.0.2.1\n")
    (denied.parent / "new").replace(denied)

    async def is_denied() -> bool:
        return bool((await login(listing, user["email"], user["password"], HOME)).status == 403)

    await eventually(is_denied)
    assert (await login(listing, user["email"], user["password"], "203.0.113.200")).status == 200


async def test_failures_from_allowed_networks_are_counted_by_account_only(listing: Any) -> None:
    guesses = (login(listing, f"anybody-{n}@example.com", "wrong horse", "203.0.113.70") for n in range(40))
    assert {reply.status for reply in await asyncio.gather(*guesses)} == {401}
    statuses = [(await login(listing, "one@example.com", "wrong horse", "203.0.113.70")).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]


async def test_wrong_codes_count_for_their_address_whatever_the_accounts(auth: Any) -> None:
    """30 codes at logins that nobody began → a wait there, for passwords too; not elsewhere"""
    here, guess = {"X-Client-Address": "192.0.2.77"}, {"mfa_token": "invented", "code": "123456"}
    replies = [await auth.call("POST", "/login/mfa", json=guess, headers=here) for _ in range(31)]
    assert [reply.status for reply in replies] == [401] * 30 + [429]
    assert replies[-1].body["code"] == "too_many_failed_logins"
    assert int(replies[-1].headers["Retry-After"]) >= 1
    assert (await login(auth, "anybody@example.com", "wrong horse", "192.0.2.77")).status == 429
    elsewhere = {"X-Client-Address": "192.0.2.78"}
    assert (await auth.call("POST", "/login/mfa", json=guess, headers=elsewhere)).status == 401


async def test_right_codes_do_not_count_for_their_address(auth: Any) -> None:
    user = await auth.registered()
    claims = jwt.decode((await auth.logged_in(user))["access_token"], options={"verify_signature": False})
    caller = {name: claims[name] for name in ("sub", "sid", "roles", "scopes")}
    totp = pyotp.TOTP((await auth.call("POST", "/mfa/totp", user=caller)).body["secret"])
    code = {"code": totp.at(auth.clock.now())}
    recovery = (await auth.call("POST", "/mfa/totp/verify", json=code, user=caller)).body["recovery_codes"]
    at = "192.0.2.79"
    for n in range(len(recovery)):
        begun = await login(auth, user["email"], user["password"], at)
        shown = {"mfa_token": begun.body["mfa_token"], "code": recovery[n]}
        done = await auth.call("POST", "/login/mfa", json=shown, headers={"X-Client-Address": at})
        assert done.status == 200, done.body
    guess = {"mfa_token": "invented", "code": "123456"}
    replies = [await auth.call("POST", "/login/mfa", json=guess, headers={"X-Client-Address": at}) for _ in range(30)]
    assert [reply.status for reply in replies] == [401] * 30


def test_a_reputation_may_come_from_elsewhere() -> None:
    class Bought:
        """A service that knows one bad address."""

        def standing(self, address: str) -> Standing:
            return Standing.DENIED if address == ELSEWHERE else Standing.UNKNOWN

    defence = Defence(account=BUDGET, address=BUDGET, known_for=MINUTE, reputation=Bought())
    assert [defence.is_denied(Client(address)) for address in (ELSEWHERE, HOME, None)] == [True, False, False]
