"""Settings of auth: FLEET_AUTH_…"""

from pathlib import Path
from typing import Self

from fleet_chassis.settings import DatabaseSettings
from pydantic import Field, SecretStr, model_validator


class AuthSettings(DatabaseSettings):
    auth_field_keys_file: Path
    """The keys that seal TOTP secrets, API keys' secrets and the keys that sign tokens (sealing.py); 0600, made by the
    launcher or mounted from a secret, and rotated by `fleet auth rotate-field-keys`."""
    auth_email_verification: bool = True
    """Whether an address is confirmed by its owner before there is a user. The local stack turns it off."""
    auth_mail: SecretStr | None = None
    """Where mail goes: smtp://user:password@host:587 (STARTTLS), smtps://…, or file:/path, a line of JSON each."""
    auth_mail_from: str = "Tradefleet <no-reply@localhost>"
    auth_public_url: str = "http://localhost:8000"
    """The gateway, as a reader of a mail reaches it."""
    auth_password_min_length: int = Field(default=15, ge=8)
    """NIST SP 800-63B-4: 15 where the password is all there is; lower is the operator's decision, never below 8."""
    auth_access_token_s: int = Field(default=300, ge=1)
    auth_signing_key_days: int = Field(default=90, ge=1)
    """So old the key that signs is replaced; `fleet auth rotate-keys` does it at once."""
    auth_refresh_token_s: int = Field(default=7 * 86_400, ge=1)
    """A session that is not used for so long ends."""
    auth_session_s: int = Field(default=30 * 86_400, ge=1)
    """And so long after its login in any case (NIST SP 800-63B-4, 2.1.3)."""
    auth_argon2_time_cost: int = Field(default=2, ge=1)
    """With 19 MiB and one lane the parameters OWASP recommends: about 25 ms of one core."""
    auth_argon2_memory_kib: int = Field(default=19_456, ge=8)
    auth_argon2_parallelism: int = Field(default=1, ge=1)
    auth_password_threads: int = Field(default=2, ge=1)
    """One for each of two cores; hashing releases the interpreter's lock."""
    auth_password_queue: int = Field(default=64, ge=0)
    """At 25 ms each on two threads the last one waits 0.8 s; beyond, 503 is kinder."""
    auth_failed_logins: int = Field(default=10, ge=1)
    """Before one has to wait: at one account, of all strangers together and from each address of its owner."""
    auth_failed_logins_address: int = Field(default=30, ge=1)
    """The same from one address, at accounts whose owner was not there: many people may share one."""
    auth_failed_logins_wait_s: int = Field(default=60, ge=1)
    """The first wait; the next are twice as long each."""
    auth_failed_logins_longest_wait_s: int = Field(default=900, ge=1)
    """The longest, and in what time one failure is forgotten: about a hundred guesses a day (NIST SP 800-63B-4, 3.2.2)."""
    auth_known_address_days: int = Field(default=90, ge=1)
    """So long an address is its owner's after a login there: longer than a session lives."""
    auth_allowed_networks_file: Path | None = None
    """A network a line (networks.py): failures from there are counted by account only."""
    auth_denied_networks_file: Path | None = None
    """The same: nobody there registers, logs in or has a password set anew."""
    auth_idempotency_s: int = Field(default=86_400, ge=1)
    """How long an Idempotency-Key is remembered: longer than any client's retries."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.auth_email_verification and self.auth_mail is None:
            raise ValueError("auth_email_verification needs auth_mail")
        if self.auth_failed_logins_wait_s > self.auth_failed_logins_longest_wait_s:
            raise ValueError("auth_failed_logins_wait_s is longer than auth_failed_logins_longest_wait_s")
        return self
