"""`python -m fleet_auth.admin create-user …`, `… reset-mfa`, `… rotate-keys`, `… verify-audit`: what only an operator may do.

Works on auth's database with auth's own settings, whether auth runs or not; what is to be told to the fleet is sent
by auth when it runs. The password is asked for, read from stdin if that is not a terminal, or made with `--generate`.
"""

import argparse
import asyncio
import dataclasses
import getpass
import json
import secrets
import sys
from collections.abc import Sequence
from datetime import datetime

import msgspec
from asyncpg import CannotConnectNowError, PostgresConnectionError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fleet_bus import Bus
from fleet_chassis.clock import SystemClock
from fleet_chassis.database import DatabaseUnavailable
from fleet_chassis.ids import SystemIds
from fleet_contracts.audit import Change
from fleet_contracts.vocabulary import Role

from . import service
from .audit.service import Verdict, verify
from .domain import EmailTaken, User, UserUnknown, normalise_email
from .mfa import service as mfa
from .mfa.domain import NotEnabled
from .mfa.store import SecondFactors
from .notices.service import Notices
from .passwords import Passwords
from .resealing import RotationUnderWay, rotate_field_keys
from .sealing import Sealer
from .service import NewUser
from .settings import AuthSettings
from .signing import add_signing_key, lock_signing_keys
from .store import PostgresUnitOfWork, operators_database

GENERATED_BYTES = 18
_AWAY = (DatabaseUnavailable, ConnectionError, TimeoutError, PostgresConnectionError, CannotConnectNowError)


async def create_user(
    settings: AuthSettings, *, email: str, password: str, roles: Sequence[Role], name: str | None
) -> User:
    """A new user with these roles. Raises EmailTaken, PasswordRefused."""
    passwords = Passwords(settings)
    try:
        await passwords.check(password, shortest=settings.auth_password_min_length, email=email, name=name)
        async with operators_database(settings) as database:
            password_hash = await passwords.hash(password)
            async with Bus(settings, database).transaction() as tx:
                command = NewUser(email=email, password_hash=password_hash, display_name=name, roles=tuple(roles))
                uow = PostgresUnitOfWork(tx)
                user = await service.register(uow, command, ids=SystemIds())
                await uow.note(
                    "user.created",
                    str(user.user_id),
                    Change(name="roles", after=",".join(user.roles)),
                    actor=operator(),
                )
                return user
    finally:
        passwords.close()


async def reset_mfa(settings: AuthSettings, *, email: str) -> User:
    """Takes the second factor of a user away who has lost it: whoever asks for it has proved who he is to the operator.
    Raises UserUnknown, NotEnabled."""
    sealer = Sealer(settings.auth_field_keys_file, settings.private_key_file)
    async with (
        operators_database(settings) as database,
        Bus(settings, database).transaction() as tx,
    ):
        uow = PostgresUnitOfWork(tx)
        found = await uow.credentials(email)
        if found is None:
            raise UserUnknown
        notices = Notices(tx, are_sent=settings.auth_mail is not None)
        return await mfa.reset(uow, SecondFactors(tx, sealer), notices, found[0].user_id, by=operator())


async def rotate_keys(settings: AuthSettings, now: datetime) -> str:
    """A new key for access tokens; every replica signs with it within seconds, tokens of the one before live on. Its kid."""
    sealer = Sealer(settings.auth_field_keys_file, settings.private_key_file)
    async with (
        operators_database(settings) as database,
        database.transaction() as connection,
    ):
        await lock_signing_keys(connection)
        return await add_signing_key(connection, sealer, now, by=operator())


async def verify_audit(settings: AuthSettings, now: datetime) -> Verdict:
    """Whether the audit log and its digests are as they were written, by the public key that lies beside the database."""
    pem = msgspec.json.decode(settings.public_keys_file.read_bytes(), type=dict[str, str])[settings.service]
    key = load_pem_public_key(pem.encode("ascii"))
    assert isinstance(key, Ed25519PublicKey)
    async with (
        operators_database(settings) as database,
        database.connection() as connection,
    ):
        return await verify(connection, key, now)


def operator() -> str:
    """Who runs this, as the audit log names him."""
    return f"cli:{getpass.getuser()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fleet_auth.admin")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rotate-keys", help="Have a new key sign access tokens from now on.")
    commands.add_parser("verify-audit", help="Hold the audit log against its hashes and signatures.")
    rotate = commands.add_parser("rotate-field-keys", help="Seal everything anew under a new key.")
    rotate.add_argument("--keep-file", action="store_true", help="The new key is in the file already, as current.")
    reset = commands.add_parser("reset-mfa", help="Take the second factor of a user away who has lost it.")
    reset.add_argument("--email", required=True, type=normalise_email)
    command = commands.add_parser("create-user", help="Add a user.")
    command.add_argument("--email", required=True, type=normalise_email)
    command.add_argument("--role", action="append", choices=[role.value for role in Role], help="May be given again.")
    command.add_argument("--name", help="What to call the user.")
    command.add_argument("--generate", action="store_true", help="Make a password and print it, once.")
    return parser


def _read_password(generate: bool) -> str:
    if generate:
        return secrets.token_urlsafe(GENERATED_BYTES)
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Again: "):
        raise ValueError("the two passwords differ")
    return password


def _settings() -> AuthSettings:
    return AuthSettings()  # type: ignore[call-arg]  # from the environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was done as JSON; 1 with a line on stderr when it cannot be done."""
    try:
        return _run(_parser().parse_args(arguments))
    except _AWAY as error:
        sys.stderr.write(f"error: PostgreSQL does not answer: {error}\n  See `fleet status`\n")
        return 1


def _run(asked: argparse.Namespace) -> int:
    if asked.command == "verify-audit":
        verdict = asyncio.run(verify_audit(_settings(), SystemClock().now()))
        sys.stdout.write(json.dumps({"ok": not verdict.problems, **dataclasses.asdict(verdict)}) + "\n")
        return 1 if verdict.problems else 0
    if asked.command == "rotate-field-keys":
        try:
            resealed = asyncio.run(rotate_field_keys(_settings(), by=operator(), is_file_kept=asked.keep_file))
        except RotationUnderWay:
            sys.stderr.write("error: the field keys are being rotated already\n")
            return 1
        sys.stdout.write(json.dumps({"resealed": resealed.rows, "lost": resealed.lost}) + "\n")
        return 1 if resealed.lost else 0
    if asked.command == "reset-mfa":
        try:
            user = asyncio.run(reset_mfa(_settings(), email=asked.email))
        except (UserUnknown, NotEnabled) as error:
            reason = "no user has the address" if isinstance(error, UserUnknown) else "there is no second factor of"
            sys.stderr.write(f"error: {reason} {asked.email}\n")
            return 1
        told = {"user_id": str(user.user_id), "email": user.email, "is_password_short": user.is_password_short}
        sys.stdout.write(json.dumps(told) + "\n")
        return 0
    if asked.command == "rotate-keys":
        sys.stdout.write(json.dumps({"kid": asyncio.run(rotate_keys(_settings(), SystemClock().now()))}) + "\n")
        return 0
    try:
        settings = _settings()
        password = _read_password(asked.generate)
        roles = [Role(role) for role in asked.role or [Role.TRADER]]
        user = asyncio.run(create_user(settings, email=asked.email, password=password, roles=roles, name=asked.name))
    except (EmailTaken, ValueError) as error:
        reason = (
            f"a user with the address {asked.email} exists" if isinstance(error, EmailTaken) else f"password: {error}"
        )
        sys.stderr.write(f"error: {reason}\n")
        return 1
    made = {"user_id": str(user.user_id), "email": user.email, "roles": list(user.roles)}
    if asked.generate:
        made["password"] = password
    sys.stdout.write(json.dumps(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
