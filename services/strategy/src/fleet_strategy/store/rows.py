"""Rows of deployments as domain values, and columns for `unnest`."""

from collections.abc import Sequence
from dataclasses import fields

import asyncpg

from fleet_strategy.domain import Deployment, DeploymentState, Reason, Signal

DEPLOYMENT_COLUMNS = (
    "deployment_id, strategy_id, strategy_version, builtin, account_id, user_id, symbols, timeframe, parameters, mode,"
    " max_order_notional, expires_at, state, reason_code, reason_detail, version, last_step_at, body_hash, created_at,"
    " updated_at"
)


SIGNAL_COLUMNS = tuple(field.name for field in fields(Signal))


def deployment_of(row: asyncpg.Record) -> Deployment:
    code = row["reason_code"]
    return Deployment(
        deployment_id=row["deployment_id"],
        strategy_id=row["strategy_id"],
        strategy_version=row["strategy_version"],
        builtin=row["builtin"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        symbols=tuple(row["symbols"]),
        timeframe=row["timeframe"],
        parameters=row["parameters"],
        mode=row["mode"],
        max_order_notional=row["max_order_notional"],
        expires_at=row["expires_at"],
        state=DeploymentState(row["state"]),
        reason=None if code is None else Reason(code, row["reason_detail"]),
        version=row["version"],
        last_step_at=row["last_step_at"],
        body_hash=row["body_hash"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def by_column(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
