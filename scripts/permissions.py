"""docs/permissions.md: every route of every service with the permission it takes; fails if one takes none.

python scripts/permissions.py [--write]
"""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fastapi import FastAPI
from fleet_auth.domain import SCOPES
from fleet_chassis.permissions import RoutePermission, permissions_of
from fleet_chassis.settings import DatabaseSettings
from fleet_launcher.services import SERVICES, Service

TABLE = Path(__file__).resolve().parents[1] / "docs" / "permissions.md"
HEAD = """# Permissions

Written by `python scripts/permissions.py --write` from the routes themselves: what is listed here is the dependency
that enforces it (`fleet_chassis.permissions`). `make lint` fails when a route declares nothing, or this page is old.
`any user`: everybody who is logged in, about what is his own; `by login`: no API key may. What a caller may do with
which object (another's is 404) is judged in the service. `services: …` are `/internal` routes, never forwarded, and the
routes of auth for people who are not logged in yet.

"""


def routes() -> Iterator[tuple[str, RoutePermission]]:
    """Service and route, in the order of the fleet; the gateway has no routes but others'."""
    with TemporaryDirectory() as folder:
        for service in SERVICES:
            if service.has_database:
                for found in sorted(permissions_of(application(service, Path(folder)))):
                    yield service.name, found


def application(service: Service, folder: Path) -> FastAPI:
    """The service as it is put together, not running: nothing is connected to."""
    key = Ed25519PrivateKey.generate()
    private, public, instances = (folder / name for name in ("private.pem", "public.json", "instances.json"))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public.write_text(json.dumps({service.name: pem.decode()}))
    instances.write_text('{"instances": []}')
    given: dict[str, Any] = {
        "service": service.name,
        "port": 0,
        "kafka_url": "127.0.0.1:9",
        "private_key_file": private,
        "public_keys_file": public,
        "instances": instances,
        "database_url": "postgresql://127.0.0.1:9/none",
        "redis_url": "redis://127.0.0.1:9/0",
        "auth_mail": "file:none",
        "auth_field_keys_file": folder / "field-keys.json",
    }
    module = importlib.import_module(f"{service.package}.settings")
    kinds = (kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, DatabaseSettings))
    settings = next(kind for kind in kinds if kind is not DatabaseSettings)(**given)
    app: FastAPI = importlib.import_module(f"{service.package}.app").create_app(settings)
    return app


def page() -> str:
    roles = [f"| {role} | {', '.join(scopes)} |" for role, scopes in SCOPES.items()]
    rows = [
        f"| {service} | {route.method} | `{route.path}` | {route.permission or '**none**'} |"
        for service, route in routes()
    ]
    table = [
        "| role | scopes |",
        "|---|---|",
        *roles,
        "",
        "| service | method | path | takes |",
        "|---|---|---|---|",
        *rows,
    ]
    return HEAD + "\n".join(table) + "\n"


def main() -> int:
    now = page()
    if "--write" in sys.argv[1:]:
        TABLE.write_text(now)
    bare = [row for row in now.splitlines() if row.endswith("| **none** |")]
    for row in bare:
        sys.stderr.write(f"no permission is declared: {row}\n")
    if not TABLE.exists() or TABLE.read_text() != now:
        sys.stderr.write(f"{TABLE.name} is old: python scripts/permissions.py --write\n")
        return 1
    return 1 if bare else 0


if __name__ == "__main__":
    sys.exit(main())
