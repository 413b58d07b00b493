"""Where Kafka is and as whom to speak to it: one URL.

`host:port[,host:port…]` is a broker that asks nobody who he is. Otherwise `kafka://user:password@host:port[,…]`, or
`kafkas://` over TLS (then without a user where the network says who may come), with `?mechanism=` SCRAM-SHA-512
(default), SCRAM-SHA-256 or PLAIN, and for TLS `?ca=` a file of certificates to trust instead of the system's.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

DEFAULT_MECHANISM = "SCRAM-SHA-512"
_MECHANISMS = (DEFAULT_MECHANISM, "SCRAM-SHA-256", "PLAIN")


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """A parsed Kafka URL; str() is the URL again."""

    servers: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    mechanism: str = DEFAULT_MECHANISM
    is_tls: bool = False
    ca: str | None = None

    @classmethod
    def parse(cls, url: str) -> KafkaAddress:
        """Raises ValueError, without the password in its text, for what is no such URL."""
        if "://" not in url:
            return cls(url)
        parts = urlsplit(url)
        place, _, servers = parts.netloc.rpartition("@")
        user, _, password = place.partition(":")
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        mechanism = options.pop("mechanism", DEFAULT_MECHANISM)
        ca = options.pop("ca", None)
        if parts.scheme not in ("kafka", "kafkas") or not servers or parts.path.strip("/") or options:
            raise ValueError(f"a Kafka URL is kafka[s]://user:password@host:port?mechanism=…&ca=…, was {servers!r}")
        if bool(user) != bool(password) or mechanism not in _MECHANISMS:
            raise ValueError(f"a Kafka URL has a user, his password and one of {_MECHANISMS}, was {mechanism!r}")
        return cls(servers, unquote(user) or None, unquote(password) or None, mechanism, parts.scheme == "kafkas", ca)

    def __str__(self) -> str:
        if self.user is None and not self.is_tls:
            return self.servers
        place = "" if self.user is None else f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@"
        options = {} if self.mechanism == DEFAULT_MECHANISM else {"mechanism": self.mechanism}
        options |= {"ca": self.ca} if self.ca else {}
        query = f"?{urlencode(options)}" if options else ""
        return f"{'kafkas' if self.is_tls else 'kafka'}://{place}{self.servers}{query}"

    def of(self, user: str, password: str) -> KafkaAddress:
        """The same brokers, as somebody else, who shows his password by SCRAM-SHA-512."""
        return replace(self, user=user, password=password, mechanism=DEFAULT_MECHANISM)

    @property
    def protocol(self) -> str:
        """Kafka's `security.protocol`."""
        return f"{'SASL_' if self.user else ''}{'SSL' if self.is_tls else 'PLAINTEXT'}"

    def for_aiokafka(self) -> dict[str, Any]:
        """The arguments of aiokafka's clients that say where and who."""
        return {
            "bootstrap_servers": self.servers.split(","),
            "security_protocol": self.protocol,
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.user,
            "sasl_plain_password": self.password,
            "ssl_context": ssl.create_default_context(cafile=self.ca) if self.is_tls else None,
        }
