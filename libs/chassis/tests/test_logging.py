"""Logs are JSON, and hold no secret, whatever is put into them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fleet_chassis.logging import REDACTED, redact
from fleet_chassis.settings import ServiceSettings
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

SECRET = "hunter2-very-secret"
PEM = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJzZWNyZXQifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "field",
    [
        *("password", "new_password", "secret", "access_token", "Authorization", "api_key", "X-API-Key", "signature"),
        *("Cookie", "set-cookie", "private_key", "totp_secret", "otp", "mfa_token", "credentials", "recovery_codes"),
    ],
)
def test_fields_named_like_secrets_are_taken_out(field: str) -> None:
    assert SECRET not in str(redact({"a": [{field: SECRET}], field: {"deep": SECRET}}))


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"connecting to postgresql://trading:{SECRET}@127.0.0.1/trading",
        f"redis://:{SECRET}@127.0.0.1",
        f"GET /ws?ticket={SECRET}&x=1",
        f"token={SECRET}",
        f"Failing row contains (1, $argon2id$v=19$m=19456,t=2,p=1$c2FsdA${SECRET}, null)",
        PEM,
        PEM[:-30],
    ],
)
def test_secrets_inside_texts_are_taken_out(text: str) -> None:
    assert SECRET not in redact(text)
    assert SECRET not in str(redact({"error": ValueError(text)}))


def test_tokens_are_taken_out_wherever_they_are() -> None:
    assert redact(f"got {TOKEN} from x") == f"got {REDACTED} from x"
    assert TOKEN not in str(redact({"list": [TOKEN, (TOKEN,), {TOKEN}]}))
    assert redact({"user": "u1", "order_id": "o1", "count": 3}) == {"user": "u1", "order_id": "o1", "count": 3}
    assert SECRET not in str(redact({"x": SecretStr(SECRET)}))


values = st.recursive(
    st.text() | st.integers() | st.binary() | st.none(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=10,
)


@given(values)
def test_anything_can_be_logged(value: Any) -> None:
    json.dumps(redact({"value": value}))


def test_printed_settings_tell_nothing_of_kafkas_password(trading_settings: ServiceSettings) -> None:
    url = f"kafka://trading:{SECRET}@127.0.0.1:1"
    settings = trading_settings.model_copy(update={"kafka_url": url})
    assert SECRET not in f"{settings!r} {settings}"
    assert SECRET not in redact(f"no answer from {url}")


SCRIPT = f"""
import logging, sys
from fleet_chassis.logging import configure_logging, get_logger
configure_logging("info", service="trading", ordinal=1)
log = get_logger("fleet_trading")
log.info("order_submitted", order_id="o1", password={SECRET!r})
log.debug("unheard")
logging.getLogger("aiokafka").warning("broker %s said %s", "b", {TOKEN!r})
logging.getLogger("aiokafka").info("unheard")
try:
    raise ValueError("password=" + sys.argv[1])  # Python 3.13 shows this line in the traceback
except ValueError:
    log.exception("failed")
log.info("odd", value=object(), data=b"\\xff", secret_bytes=b"{SECRET}")
"""


def test_every_line_is_json_and_libraries_are_heard() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, SECRET], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["order_submitted", f"broker b said {REDACTED}", "failed", "odd"]
    assert SECRET not in done.stdout
    assert TOKEN not in done.stdout
    first = lines[0]
    assert (first["service"], first["ordinal"], first["level"], first["order_id"]) == ("trading", 1, "info", "o1")
    assert first["at"].endswith("Z")
    assert "ValueError" in lines[2]["exception"]
    assert lines[1]["source"] == "aiokafka"


ON_A_FULL_DISK = """
import sys
from fleet_chassis.logging import configure_logging, get_logger
configure_logging("info", service="trading", ordinal=0)
for _ in range(10):
    get_logger(__name__).error("background_task_died", text="x" * 4096)
sys.stderr.write("went on")
"""


def test_a_line_that_cannot_be_written_stops_nobody() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", ON_A_FULL_DISK], stdout=full, stderr=subprocess.PIPE, check=False)
    assert b"went on" in done.stderr
