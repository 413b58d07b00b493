"""Where Kafka is and as whom to speak to it."""

import pytest
from fleet_bus.address import KafkaAddress


def test_a_plain_address_asks_for_nobody() -> None:
    address = KafkaAddress.parse("one:9092,two:9092")
    assert address.for_aiokafka()["bootstrap_servers"] == ["one:9092", "two:9092"]
    assert (address.protocol, address.user, str(address)) == ("PLAINTEXT", None, "one:9092,two:9092")


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("kafka://trading:s%3Ae%40c@one:9092,two:9092", "SASL_PLAINTEXT"),
        ("kafka://fleet:secret@one:9092?mechanism=PLAIN", "SASL_PLAINTEXT"),
        ("kafkas://trading:secret@one:9092?ca=%2Fetc%2Fkafka%2Fca.pem", "SASL_SSL"),
        ("kafkas://one:9092", "SSL"),
    ],
)
def test_a_url_is_read_and_written_again(url: str, protocol: str) -> None:
    assert (KafkaAddress.parse(url).protocol, str(KafkaAddress.parse(url))) == (protocol, url)


def test_another_user_of_the_same_brokers() -> None:
    other = KafkaAddress.parse("kafka://fleet:secret@one:9092,two:9092?mechanism=PLAIN").of("trading", "a:b@c/d")
    assert str(other) == "kafka://trading:a%3Ab%40c%2Fd@one:9092,two:9092"
    assert KafkaAddress.parse(str(other)) == other
    settings = other.for_aiokafka()
    assert settings["sasl_mechanism"] == "SCRAM-SHA-512" and settings["sasl_plain_password"] == "a:b@c/d"


@pytest.mark.parametrize(
    "url",
    [
        "http://one:9092",
        "kafka://trading:secret@",
        "kafka://trading@one:9092",
        "kafka://:secret@one:9092",
        "kafka://trading:secret@one:9092?mechanism=GSSAPI",
        "kafka://trading:secret@one:9092?mechansim=PLAIN",
        "kafka://trading:secret@one:9092/topic",
    ],
)
def test_what_is_no_such_url_is_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="a Kafka URL") as refused:
        KafkaAddress.parse(url)
    assert "secret" not in str(refused.value)


def test_nobody_sees_the_password_by_printing_an_address() -> None:
    assert "secret" not in repr(KafkaAddress.parse("kafka://trading:secret@one:9092"))
