"""Field encryption: what opens, what does not, and how a new key takes over."""

import base64
import contextlib
import dataclasses
import json
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import jwt
import pyotp
import pytest
from fleet_auth.app import create_app
from fleet_auth.resealing import RotationUnderWay, rotate_field_keys
from fleet_auth.sealing import SIGNING_KEY, CannotUnseal, FieldKeys, Sealer, parse_field_keys
from fleet_auth.settings import AuthSettings
from fleet_testkit.databases import waiting_for_locks
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def sealer(auth_keys: Path) -> Sealer:
    return Sealer(auth_keys / "fields.json", auth_keys / "auth.pem")


@given(content=st.binary(max_size=200), row=st.text(max_size=40), other=st.text(max_size=40))
def test_a_sealed_value_opens_in_its_own_row_only(sealer: Sealer, content: bytes, row: str, other: str) -> None:
    sealed = sealer.seal(content, SIGNING_KEY.place(row))
    assert sealer.unseal(sealed, SIGNING_KEY.place(row)) == content
    assert sealer.seal(content, SIGNING_KEY.place(row)) != sealed
    if other != row:
        with pytest.raises(CannotUnseal):
            sealer.unseal(sealed, SIGNING_KEY.place(other))


@given(content=st.binary(min_size=1, max_size=40), data=st.data())
def test_what_was_changed_does_not_open(sealer: Sealer, content: bytes, data: st.DataObject) -> None:
    sealed = bytearray(sealer.seal(content, "a"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CannotUnseal):
        sealer.unseal(bytes(sealed), "a")


@pytest.mark.parametrize("sealed", [b"", b"\x04", b"\x04abcd", bytes(40)])
def test_what_never_was_sealed_does_not_open(sealer: Sealer, sealed: bytes) -> None:
    with pytest.raises(CannotUnseal):
        sealer.unseal(sealed, "a")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"current": "a", "keys": {}}', b'{"current": "a", "keys": {"a": "c2hvcnQ="}}']
)
def test_a_file_without_a_good_current_key_is_refused_and_not_quoted(content: bytes) -> None:
    with pytest.raises(ValueError) as refused:
        parse_field_keys(content)
    assert "c2hvcnQ" not in str(refused.value)


def test_a_replica_that_has_not_read_the_new_file_yet_opens_what_another_sealed(
    auth_keys: Path, tmp_path: Path
) -> None:
    file = tmp_path / "fields.json"
    shutil.copy(auth_keys / "fields.json", file)
    late = Sealer(file, auth_keys / "auth.pem")
    keys = json.loads(file.read_bytes())
    new = keys["keys"] | {"new": base64.b64encode(secrets.token_bytes(32)).decode()}
    file.write_text(json.dumps({"current": "new", "keys": new}))
    assert late.unseal(Sealer(file, auth_keys / "auth.pem").seal(b"told", "a"), "a") == b"told"


def test_a_file_that_is_broken_while_we_run_leaves_the_keys_that_were_read(auth_keys: Path, tmp_path: Path) -> None:
    file = tmp_path / "fields.json"
    shutil.copy(auth_keys / "fields.json", file)
    running = Sealer(file, auth_keys / "auth.pem")
    kept = running.seal(b"told", "a")
    file.write_text("{")
    with pytest.raises(CannotUnseal, match="is not in the file"):
        running.unseal(b"\x07unknown" + kept, "a")
    assert running.unseal(kept, "a") == b"told"


@pytest.fixture(scope="module")
def moved(auth_settings: AuthSettings, tmp_path_factory: pytest.TempPathFactory) -> AuthSettings:
    """With a file of field keys that is for these tests alone."""
    file = tmp_path_factory.mktemp("fields") / "fields.json"
    shutil.copy(auth_settings.auth_field_keys_file, file)
    file.chmod(0o600)
    return auth_settings.model_copy(update={"auth_field_keys_file": file})


async def test_a_new_key_takes_over_and_the_one_before_goes_with_the_next(moved: AuthSettings) -> None:
    """start → rotate → rotate → start: the same key signs, sealed under the last field key; the first is gone"""
    file = moved.auth_field_keys_file
    first = _keys(file)
    before = await _signing_key(moved)
    for _ in range(2):
        assert (await rotate_field_keys(moved, by="a test")).rows == 1
    last = _keys(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (len(last.keys), first.current in last.keys) == (2, False)
    assert await _signing_key(moved) == before
    assert (await rotate_field_keys(moved, by="a test", is_file_kept=True)).rows == 0
    _, sealed = await _sealed(moved)
    assert Sealer(file, moved.private_key_file).is_current(sealed)
    assert last.keys[last.current] not in sealed


async def test_a_rotation_that_is_killed_loses_nothing_and_another_is_refused_meanwhile(
    moved: AuthSettings, start_admin: Any
) -> None:
    """the new key is in the file, a row is to be sealed under it → another is refused → kill -9 → again: all is sealed anew"""
    assert await _signing_key(moved)
    file, before = moved.auth_field_keys_file, await _opened(moved)
    first = _keys(file)
    async with _held_row(moved) as is_waited_for:
        process = await start_admin(moved, "rotate-field-keys")
        await eventually(is_waited_for, timeout_s=30)
        assert _keys(file).current not in first.keys
        with pytest.raises(RotationUnderWay):
            await rotate_field_keys(moved, by="a test")
        process.kill()
        await process.wait()
    assert set(first.keys) < set(_keys(file).keys)
    assert await _opened(moved) == before
    assert await eventually(lambda: _rotated(moved)) == 1
    assert len(_keys(file).keys) == 2
    assert await _opened(moved) == before


async def test_second_factors_and_api_keys_outlive_the_key_they_were_sealed_under(
    auth: Any, moved: AuthSettings
) -> None:
    """a factor and a key are made → rotate → rotate: the first field key is gone → both are still good"""
    file = moved.auth_field_keys_file
    first = _keys(file).current
    async with served(create_app(moved, clock=auth.clock)) as url:
        other = dataclasses.replace(auth, url=url, settings=moved)
        user = await other.registered()
        claims = jwt.decode((await other.logged_in(user))["access_token"], options={"verify_signature": False})
        caller = {name: claims[name] for name in ("sub", "sid", "roles", "scopes")}
        totp = pyotp.TOTP((await other.call("POST", "/mfa/totp", user=caller)).body["secret"])
        code = {"code": totp.at(auth.clock.now())}
        assert (await other.call("POST", "/mfa/totp/verify", json=code, user=caller)).status == 200
        fresh = caller | {"mfa_at": int(auth.clock.now().timestamp())}
        body = {"name": "bot", "scopes": ["read"]}
        made = (await other.call("POST", "/api-keys", json=body, user=fresh)).body
        for _ in range(2):
            assert (await rotate_field_keys(moved, by="a test")).rows >= 3
        assert first not in _keys(file).keys
    async with served(create_app(moved, clock=auth.clock)) as url:
        other = dataclasses.replace(auth, url=url, settings=moved)
        auth.clock.advance(seconds=30)
        code = {"code": totp.at(auth.clock.now())}
        assert (await other.call("POST", "/mfa/step-up", json=code, user=caller)).status == 200
        told = await other.call("POST", "/lookup", json={"key": made["key"]}, prefix="/internal/api-keys")
        assert (told.status, told.body["secret"]) == (200, made["secret"])


async def _rotated(settings: AuthSettings) -> int | None:
    """None while PostgreSQL has not seen yet that the one before is gone."""
    try:
        return (await rotate_field_keys(settings, by="a test")).rows
    except RotationUnderWay:
        return None


@contextlib.asynccontextmanager
async def _held_row(settings: AuthSettings) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Nobody gets at the sealed signing key meanwhile; tells whether somebody waits for it."""
    connection = await asyncpg.connect(
        settings.database_url.get_secret_value(),
        server_settings={"idle_in_transaction_session_timeout": "0", "transaction_timeout": "0"},
    )

    async def is_waited_for() -> bool:
        return bool(await waiting_for_locks(connection))

    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM signing_keys FOR UPDATE")
            yield is_waited_for
    finally:
        await connection.close()


def _keys(file: Path) -> FieldKeys:
    return parse_field_keys(file.read_bytes())


async def _signing_key(settings: AuthSettings) -> Any:
    """The id of the key that auth signs with once it was started."""
    app = create_app(settings)
    async with served(app):
        return app.state.auth.keys.current.kid


async def _sealed(settings: AuthSettings) -> tuple[str, bytes]:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        row = await connection.fetchrow("SELECT kid, encrypted_private_key FROM signing_keys")
    finally:
        await connection.close()
    assert row is not None
    return row["kid"], row["encrypted_private_key"]


async def _opened(settings: AuthSettings) -> bytes:
    kid, sealed = await _sealed(settings)
    return Sealer(settings.auth_field_keys_file, settings.private_key_file).unseal(sealed, SIGNING_KEY.place(kid))
