"""What a transaction writes goes out as one statement."""

from typing import Any

import pytest
from counting_service import NUMBERS, Service, number
from fleet_bus.failures import Conflict

ADD = "INSERT INTO effects (key, number) SELECT * FROM unnest($1::text[], $2::bigint[])"
CHANGE = "UPDATE effects SET number = $2 WHERE key = $1 RETURNING 1"


async def test_all_of_it_is_one_round_trip(make_service: Any) -> None:
    service: Service = await make_service("writer")
    asked: list[str] = []
    await service.send(("k", 1))
    async with service.bus.transaction() as tx:
        tx.connection.add_query_logger(lambda query: asked.append(query.query))
        tx.write(ADD, ["a", "b"], [1, 2])
        tx.write("DELETE FROM effects WHERE key = $1", "gone")
        tx.publish(NUMBERS, "k", number(2))
        tx.publish(NUMBERS, "k", number(3))
        tx.schedule("later", "a", 1, "wall", tx.now)
        tx.unschedule("later", "b", 1)
        assert asked == []
    assert len(asked) == 2, "the statement and COMMIT"
    async with service.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM effects") == 2
        assert await connection.fetchval("SELECT count(*) FROM due") == 1
        sequences = await connection.fetch("SELECT sequence FROM outbox ORDER BY id")
    assert [row["sequence"] for row in sequences] == [1, 2, 3]


async def test_a_row_that_is_not_as_expected_undoes_all(make_service: Any) -> None:
    service: Service = await make_service("writer")
    async with service.bus.transaction() as tx:
        tx.write(ADD, ["a"], [1])
    for key, expected, is_kept in (("a", 1, True), ("nobody", 1, False)):
        try:
            async with service.bus.transaction() as tx:
                tx.write(ADD, [key + "2"], [2])
                tx.write(CHANGE, key, 7, expects=expected)
        except Conflict:
            assert not is_kept
        else:
            assert is_kept
    assert sorted(await service.effects()) == [2, 7]


async def test_what_the_database_refuses_undoes_all(make_service: Any) -> None:
    service: Service = await make_service("writer")
    with pytest.raises(Exception, match="does not exist"):
        async with service.bus.transaction() as tx:
            tx.write(ADD, ["a"], [1])
            tx.write("DELETE FROM nowhere")
    assert await service.effects() == []
