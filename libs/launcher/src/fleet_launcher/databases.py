"""One database and one role per service; no role may connect to a database that is not its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

# Longer work is cut up, or runs under its own role; the bounds also end what a stopped process left open.
ROLE_SETTINGS: Mapping[str, str] = {
    "transaction_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "5s",
}


def quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def database_url(server_url: str, name: str, password: str) -> str:
    """The URL of a service's own database, as its own role."""
    parts = urlsplit(server_url)
    port = f":{parts.port}" if parts.port else ""
    place = f"{quote(name, safe='')}:{quote(password, safe='')}@{parts.hostname}{port}"
    return urlunsplit((parts.scheme, place, f"/{name}", parts.query, ""))


async def ensure_databases(server_url: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """Make what is missing, set every password and bound anew; the URL of each service's database."""
    connection = await asyncpg.connect(server_url)
    try:
        roles = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        databases = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        for statement in _statements(passwords, roles, databases):
            await connection.execute(statement)
    finally:
        await connection.close()
    return {name: database_url(server_url, name, password) for name, password in passwords.items()}


async def drop_databases(server_url: str, names: Iterable[str]) -> None:
    """For `fleet reset` on a server given by URL."""
    connection = await asyncpg.connect(server_url)
    try:
        for name in names:
            await connection.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")
            await connection.execute(f"DROP ROLE IF EXISTS {quoted(name)}")
    finally:
        await connection.close()


def _statements(passwords: Mapping[str, str], roles: set[str], databases: set[str]) -> list[str]:
    statements = []
    for name, password in passwords.items():
        role = quoted(name)
        verb = "ALTER" if name in roles else "CREATE"
        literal = password.replace("'", "''")
        statements.append(f"{verb} ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{literal}'")
        statements += [f"ALTER ROLE {role} SET {setting} = '{value}'" for setting, value in ROLE_SETTINGS.items()]
        if name not in databases:
            statements.append(f"CREATE DATABASE {role} OWNER {role}")
        # By default everybody may connect to everything.
        statements.append(f"REVOKE ALL ON DATABASE {role} FROM PUBLIC")
        statements.append(f"GRANT CONNECT ON DATABASE {role} TO {role}")
    statements.append("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    statements.append("REVOKE CONNECT ON DATABASE template1 FROM PUBLIC")
    return statements
