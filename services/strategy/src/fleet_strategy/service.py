"""The use cases of the API and of trading's activity."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from .domain import (
    Deployment,
    DeploymentOrder,
    OtherBody,
    Strategy,
    StrategyInUse,
    TooManyDeployments,
)
from .ports import Activity, Catalogue


async def create_strategy(uow: Catalogue, strategy: Strategy) -> tuple[Strategy, bool]:
    """The strategy, and whether it was there before. Raises OtherBody."""
    stored = await uow.add_strategy(strategy)
    if stored.body_hash != strategy.body_hash:
        raise OtherBody
    return stored, stored is not strategy


async def rename_strategy(uow: Catalogue, strategy_id: UUID, user_id: UUID, name: str) -> Strategy:
    renamed = replace(await uow.strategy(strategy_id, user_id), name=name, updated_at=uow.now)
    await uow.rename_strategy(renamed)
    return renamed


async def delete_strategy(uow: Catalogue, strategy_id: UUID, user_id: UUID) -> None:
    """Raises StrategyInUse while a deployment of it is not stopped."""
    strategy = await uow.strategy(strategy_id, user_id)
    if await uow.has_deployments(strategy_id):
        raise StrategyInUse
    await uow.delete_strategy(strategy)


def repeated(deployment: Deployment, body_hash: str) -> Deployment:
    """The deployment as the answer to a request that was made before. Raises OtherBody."""
    if deployment.body_hash != body_hash:
        raise OtherBody
    return deployment


async def create_deployment(uow: Catalogue, deployment: Deployment, *, most: int) -> tuple[Deployment, bool]:
    """The deployment, and whether it was there before. Raises OtherBody, and TooManyDeployments where a new one is more than
    `most` of its user."""
    stored = await uow.add_deployment(deployment)
    if (stored.body_hash, stored.user_id) != (deployment.body_hash, deployment.user_id):
        raise OtherBody
    if stored is not deployment:
        return stored, True
    if await uow.count_deployments(deployment.user_id) > most:
        raise TooManyDeployments(most)
    uow.publish(deployment)
    return stored, False


async def change_deployment(
    uow: Catalogue, deployment_id: UUID, user_id: UUID, action: str, *, market_at: datetime | None
) -> Deployment:
    """`pause`, `resume` or `stop`; what is so already stays so. Raises DeploymentStopped."""
    before = await uow.deployment(deployment_id, user_id)
    if action == "pause":
        after = before.pause(now=uow.now)
    elif action == "resume":
        after = before.resume(now=uow.now, market_at=market_at)
    else:
        after = before.stop(now=uow.now)
    if after is not before:
        await uow.save_deployment(after)
        uow.publish(after)
    return after


def learn_order(uow: Activity, order: DeploymentOrder) -> None:
    """Takes what trading says of a deployment's order, if it is newer than what is known."""
    known = uow.order(order.order_id)
    if known is None or known.version < order.version:
        uow.save_order(order, moved=order.moved_since(known))
