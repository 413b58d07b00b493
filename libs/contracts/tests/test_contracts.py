"""The committed schemas are today's, every sample still reads, and a breaking change is found."""

import copy
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from fleet_contracts import MESSAGE_TYPES, TOPICS
from fleet_contracts.check import check, incompatibilities
from fleet_contracts.core_engine import Alert
from fleet_contracts.message import encode, schema, unindented
from fleet_contracts.partitioning import SLOTS, murmur2, partition, slot
from fleet_contracts.samples import sample
from fleet_contracts.topics import Reading
from fleet_contracts.trading import SubmitOrder
from fleet_contracts.vocabulary import Side
from hypothesis import example, given
from hypothesis import strategies as st


def test_committed_schemas_and_samples_are_todays() -> None:
    assert check() == []


def test_a_schema_is_the_same_on_every_python() -> None:
    """From 3.13 on docstrings have no indentation; a schema that was committed with it is no other one."""
    told = schema(SubmitOrder)["$defs"]["OrderClass"]["description"]
    assert told.splitlines()[2].startswith("`bracket`: ")
    assert unindented({"a": [{"description": told.replace("\n", "\n    ")}]}) == {"a": [{"description": told}]}


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


ARRAY = {"type": "array", "items": {"type": "string"}}
RETYPED = "changed its type or default"
Fields = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "breaks"),
    [
        (lambda fields: fields.pop("quantity"), "field quantity is gone"),
        (lambda fields: fields["quantity"].update(type="number"), f"field quantity {RETYPED}"),
        (lambda fields: fields.update(venue=ARRAY), f"field venue {RETYPED}"),
        (lambda fields: fields.update(legs=fields["legs"]["items"]), f"field legs {RETYPED}"),
        (lambda fields: fields["legs"].update(items={"type": "string"}), f"field legs {RETYPED}"),
        (lambda fields: fields.update(venue={"anyOf": [fields["venue"], {"type": "null"}]}), f"field venue {RETYPED}"),
        (lambda fields: fields.update(limit_price=fields["limit_price"]["anyOf"][0]), f"field limit_price {RETYPED}"),
        (lambda fields: fields["algo"]["anyOf"].append({"$ref": "#/$defs/Leg"}), f"field algo {RETYPED}"),
        (lambda fields: fields["post_only"].update(default=True), f"field post_only {RETYPED}"),
        (lambda fields: fields["algo"]["anyOf"].reverse(), None),
        (lambda fields: fields.update(colour={"type": "string", "default": "red"}), None),
    ],
)
def test_a_field_may_be_added_and_none_changed(change: Fields, breaks: str | None) -> None:
    new = copy.deepcopy(schema(SubmitOrder))
    change(new["$defs"]["SubmitOrder"]["properties"])
    assert incompatibilities(schema(SubmitOrder), new) == ([] if breaks is None else [f"SubmitOrder: {breaks}"])


def test_a_field_must_be_there_if_and_only_if_it_had_to_be_before() -> None:
    new = copy.deepcopy(schema(SubmitOrder))
    new["$defs"]["SubmitOrder"]["required"].remove("venue")
    assert incompatibilities(schema(SubmitOrder), new) == ["SubmitOrder: field venue became optional"]
    assert incompatibilities(new, schema(SubmitOrder)) == ["SubmitOrder: field venue became required"]


def test_an_enum_keeps_its_members_and_no_part_goes() -> None:
    new = copy.deepcopy(schema(SubmitOrder))
    new["$defs"]["Side"]["enum"].append("short")
    assert incompatibilities(schema(SubmitOrder), new) == ["Side: enum member short is new"]
    assert incompatibilities(new, schema(SubmitOrder)) == ["Side: enum member short is gone"]
    new = copy.deepcopy(schema(SubmitOrder))
    del new["$defs"]["Twap"]
    assert incompatibilities(schema(SubmitOrder), new) == ["Twap is gone"]


def test_a_reader_of_yesterday_refuses_what_the_check_refuses() -> None:
    """The rule is about what readers do, so here they do it."""
    sent = msgspec.json.decode(encode(sample(SubmitOrder)))
    for name, value in (("side", "short"), ("venue", None), ("algo", {"type": "vwap"}), ("venue", ["paper"])):
        with pytest.raises(msgspec.ValidationError, match=name):
            msgspec.convert(sent | {name: value}, SubmitOrder, strict=False)


def test_an_open_set_may_grow_and_not_shrink() -> None:
    old = schema(Alert)
    grown = copy.deepcopy(old)
    grown["$defs"]["AlertKind"]["enum"].append("disk_full")
    assert incompatibilities(old, grown) == []
    assert incompatibilities(grown, old) == ["AlertKind: enum member disk_full is gone"]


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
