"""The session that the command keeps between calls, so that a user logs in once: a refresh token for each gateway.

It lies in the state folder, readable by its owner alone, and each use replaces it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import typer
from fleet_launcher.control import description
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import SESSIONS, StateDir
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, CodeNeeded

from fleet_cli.console import err

# The longest that a log-in or a refresh of another call takes.
_LOCK_TIMEOUT_S = 15.0


@asynccontextmanager
async def logged_in(state: StateDir, email: str | None, password: str | None) -> AsyncIterator[FleetClient]:
    """A client with the kept session, or else with a new one, which is kept from then on.

    Without an email the kept user is meant; what is missing for a log-in is asked for.
    """
    url = description(state)["gateway_url"]
    async with FleetClient(url) as client:
        kept = _kept(state, url).get("email")
        if not await _resumed(state, url, client, email):
            if email is None and kept is not None:
                err.print(f"The session of {kept} has ended.")
            email = email or kept or typer.prompt("Email")
            password = password or typer.prompt(f"Password of {email}", hide_input=sys.stdin.isatty())
            try:
                await client.login(email, password)
            except CodeNeeded as needed:
                await client.login_with_code(needed.mfa_token, typer.prompt("Code"))
            with _locked(state):
                _keep(state, url, email, client)
        yield client


async def end_session(state: StateDir) -> str | None:
    """Ends the kept session, here and at the gateway; whose it was."""
    url = description(state)["gateway_url"]
    email = _kept(state, url).get("email")
    async with FleetClient(url) as client:
        if await _resumed(state, url, client, None):
            await client.logout()
    with _locked(state):
        _forget(state, url)
    return email


async def _resumed(state: StateDir, url: str, client: FleetClient, email: str | None) -> bool:
    """Whether the client goes on with the kept session, if that is the user's."""
    # A refresh token that is used twice ends its session: two calls must not take the same one.
    with _locked(state):
        kept = _kept(state, url)
        if not kept or (email or kept["email"]).casefold() != kept["email"].casefold():
            return False
        try:
            await client.resume(kept["refresh_token"])
        except ApiError as refused:
            if refused.status != 401:
                raise
            return False
        _keep(state, url, kept["email"], client)
    return True


def _kept(state: StateDir, url: str) -> dict[str, str]:
    kept = state.kept(SESSIONS).get(url)
    return kept if isinstance(kept, dict) else {}


def _keep(state: StateDir, url: str, email: str, client: FleetClient) -> None:
    state.keep(SESSIONS, state.kept(SESSIONS) | {url: {"email": email, "refresh_token": client.refresh_token}})


def _forget(state: StateDir, url: str) -> None:
    state.keep(SESSIONS, {other: kept for other, kept in state.kept(SESSIONS).items() if other != url})


@contextmanager
def _locked(state: StateDir) -> Iterator[None]:
    with state.locked("sessions.lock", _LOCK_TIMEOUT_S) as is_held:
        if not is_held:
            raise LaunchFailure("Another command holds the session", "Try again")
        yield
