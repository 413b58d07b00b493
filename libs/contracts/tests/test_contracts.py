"""The committed schemas are today's, every sample still reads, and a breaking change is found."""

import copy
import random
from decimal import Decimal

import msgspec
import pytest
from fleet_contracts import MESSAGE_TYPES, TOPICS
from fleet_contracts.check import check, incompatibilities
from fleet_contracts.message import encode, schema
from fleet_contracts.partitioning import SLOTS, murmur2, partition, slot
from fleet_contracts.samples import sample
from fleet_contracts.topics import Reading
from fleet_contracts.trading import SubmitOrder
from fleet_contracts.vocabulary import Side
from hypothesis import example, given
from hypothesis import strategies as st


def test_committed_schemas_and_samples_are_todays() -> None:
    assert check() == []


@pytest.mark.parametrize("name", sorted(MESSAGE_TYPES))
def test_every_message_survives_the_wire(name: str) -> None:
    message = sample(MESSAGE_TYPES[name])
    assert msgspec.json.decode(encode(message), type=MESSAGE_TYPES[name]) == message


def test_decimals_travel_as_strings_and_unknown_members_are_refused() -> None:
    wire = encode(sample(SubmitOrder))
    assert b'"quantity":"101.25"' in wire
    with pytest.raises(msgspec.ValidationError, match="side"):
        msgspec.json.decode(wire.replace(b'"side":"buy"', b'"side":"short"'), type=SubmitOrder)
    more = msgspec.json.decode(wire)
    more["added_tomorrow"] = 1
    assert msgspec.convert(more, SubmitOrder, strict=False).side is Side.BUY


@given(st.decimals(allow_nan=False, allow_infinity=False, max_value=10**24, min_value=-(10**24)))
@example(Decimal("1.2E-7"))
@example(Decimal("0.00000000"))
def test_decimals_travel_without_an_exponent(amount: Decimal) -> None:
    order = msgspec.structs.replace(sample(SubmitOrder), client_order_id="1.2E-7", quantity=amount)
    wire = msgspec.json.decode(encode(order))
    assert (wire["client_order_id"], wire["quantity"]) == ("1.2E-7", format(amount, "f"))
    assert msgspec.json.decode(encode(order), type=SubmitOrder) == order


def _broken(change: str) -> dict[str, object]:
    new = copy.deepcopy(schema(SubmitOrder))
    body = new["$defs"]["SubmitOrder"]
    match change:
        case "removed":
            del body["properties"]["quantity"]
        case "retyped":
            body["properties"]["quantity"] = {"type": "number"}
        case "required":
            body["properties"]["colour"] = {"type": "string"}
            body["required"].append("colour")
        case "enum":
            new["$defs"]["Side"]["enum"].remove("sell")
        case "optional":
            body["properties"]["colour"] = {"type": "string", "default": "red"}
    return new


@pytest.mark.parametrize(
    ("change", "breaks"), [("removed", 1), ("retyped", 1), ("required", 1), ("enum", 1), ("optional", 0)]
)
def test_only_optional_additions_are_compatible(change: str, breaks: int) -> None:
    assert len(incompatibilities(schema(SubmitOrder), _broken(change))) == breaks


def test_topics_have_one_owner_and_tables_are_compacted() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    for topic in TOPICS:
        assert topic.compacted or all(reader.reading is not Reading.TABLE for reader in topic.readers), topic.name
        assert not topic.compacted or topic.retention is None, topic.name


def test_murmur2_is_kafkas() -> None:
    # Vectors of Apache Kafka's own UtilsTest.testMurmur2, as signed 32-bit integers.
    vectors = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    for data, expected in vectors.items():
        assert murmur2(data) == expected & 0xFFFFFFFF


def test_partition_follows_the_slot() -> None:
    for _ in range(200):
        key = str(random.random())
        assert 0 <= slot(key) < SLOTS
        assert partition(key, 4) == slot(key) % 4
