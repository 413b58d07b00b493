"""Field encryption: what must not be read from the database alone is sealed with AES-256-GCM, under a key with a name.

The keys lie in a file, `{"current": "<key id>", "keys": {"<key id>": "<32 bytes, base64>"}}`, and nowhere in the database.
A sealed value begins with the id of its key, so that several may be alive while a new one takes over. What it is sealed
for (table, column, row) is bound to it: copied to another row or column it does not open.
"""

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fleet_chassis.files import WatchedFile

KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class SealedField:
    table: str
    row: str
    column: str

    def place(self, row: object) -> str:
        """What the value is sealed for."""
        return f"{self.table}.{self.column}/{row}"


SIGNING_KEY = SealedField("signing_keys", "kid", "encrypted_private_key")
TOTP_SECRET = SealedField("totp", "user_id", "secret")
API_KEY_SECRET = SealedField("api_keys", "api_key_id", "secret")


class CannotUnseal(Exception):
    """Sealed under a key that is not in the file, for another place, or changed since."""


class FieldKeys(msgspec.Struct, frozen=True):
    """What the file holds. `current` is what new values are sealed under."""

    current: str
    keys: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if self.current not in self.keys:
            raise ValueError(f"the current key must be one of the keys, was {self.current!r}")
        for key_id, key in self.keys.items():
            if len(key) != KEY_BYTES or not 0 < len(key_id.encode()) < 256:
                raise ValueError(f"a field key must have {KEY_BYTES} bytes and an id of 1 to 255, was {key_id!r}")


def parse_field_keys(content: bytes) -> FieldKeys:
    """Raises ValueError; never tells what it could not read."""
    try:
        return msgspec.json.decode(content, type=FieldKeys)
    except msgspec.MsgspecError:
        raise ValueError("the file of the field keys does not have its shape") from None


class Sealer:
    """Seals and opens fields of auth's tables; the file is read again when it changes."""

    def __init__(self, field_keys_file: Path, private_key_file: Path) -> None:
        self._keys = WatchedFile(field_keys_file, parse_field_keys)
        self._keys.get()
        self._fingerprint_key = _fingerprint_key(private_key_file)

    def seal(self, content: bytes, place: str) -> bytes:
        """`place`: where it is kept, table, column and row."""
        keys = self._keys.get()
        nonce, key_id = os.urandom(_NONCE_BYTES), keys.current.encode()
        sealed = AESGCM(keys.keys[keys.current]).encrypt(nonce, content, place.encode())
        return bytes([len(key_id)]) + key_id + nonce + sealed

    def unseal(self, sealed: bytes, place: str) -> bytes:
        """Raises CannotUnseal."""
        key_id, body = _parts(sealed)
        # Another replica may have read the new file a moment before us.
        key = self._keys.get().keys.get(key_id) or self._keys.get(at_once=True).keys.get(key_id)
        if key is None:
            raise CannotUnseal(f"the field key {key_id!r} of {place} is not in the file")
        try:
            return AESGCM(key).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError) as error:
            raise CannotUnseal(f"{place} was not sealed for this place, or changed since") from error

    def is_current(self, sealed: bytes) -> bool:
        """Whether it is sealed under the key that new values get."""
        return _parts(sealed)[0] == self._keys.get().current

    def fingerprint(self, content: bytes) -> bytes:
        """Tells two contents apart without telling what they are."""
        return hmac.digest(self._fingerprint_key, content, "sha256")


def _parts(sealed: bytes) -> tuple[str, bytes]:
    end = 1 + sealed[0] if sealed else 0
    return sealed[1:end].decode(errors="replace"), sealed[end:]


def own_key(private_key_file: Path) -> Ed25519PrivateKey:
    """That of the service, which lies beside the database and not in it."""
    key = load_pem_private_key(private_key_file.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"the private key must be Ed25519, was {type(key).__name__}")
    return key


def _fingerprint_key(private_key_file: Path) -> bytes:
    purpose = b"tradefleet auth request fingerprints"
    key = own_key(private_key_file).private_bytes_raw()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)
