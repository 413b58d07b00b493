"""Keys made once per state folder: an Ed25519 pair for each service and for the `fleet` command, and auth's field key."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import StateDir, write_private

COMMAND_KEY = "cli"


def ensure_keys(state: StateDir, names: Iterable[str]) -> None:
    """keys/<name>.pem (0600) for each name, and keys/public.json with the public keys of them all."""
    public: dict[str, str] = {}
    for name in (*names, COMMAND_KEY):
        file = state.private_key(name)
        if file.exists():
            try:
                key = serialization.load_pem_private_key(file.read_bytes(), password=None)
            except ValueError as error:
                raise LaunchFailure(
                    f"{file} is torn", "Delete it: another is made, for nothing is kept by it"
                ) from error
        else:
            key = Ed25519PrivateKey.generate()
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write_private(file, pem.decode())
        public[name] = (
            key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
    write_private(state.public_keys, json.dumps(public, indent=1), mode=0o644)


def ensure_field_keys(state: StateDir) -> None:
    """The file of the keys under which auth seals single fields (0600), with a first key in it."""
    if not state.field_keys.exists():
        write_private(state.field_keys, new_field_keys())


def new_field_keys() -> str:
    """The content of such a file, with one random key."""
    key_id, key = secrets.token_hex(4), base64.b64encode(secrets.token_bytes(32)).decode()
    return json.dumps({"current": key_id, "keys": {key_id: key}})
