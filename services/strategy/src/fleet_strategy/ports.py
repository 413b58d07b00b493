"""What the use cases need of the world: units of work over the stores."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from fleet_sdk.bars import Bar
from fleet_sdk.orders import OpenOrder

from .domain import Deployment, DeploymentOrder, Signal, Step, Strategy, Told


class Catalogue(Protocol):
    """Strategies and deployments, in the transaction of one request."""

    @property
    def now(self) -> datetime: ...

    async def add_strategy(self, strategy: Strategy) -> Strategy:
        """The strategy as it is stored: this one, or the one that has its id already."""
        ...

    async def strategy(self, strategy_id: UUID, user_id: UUID) -> Strategy:
        """Under lock. Raises StrategyNotFound."""
        ...

    async def rename_strategy(self, strategy: Strategy) -> None: ...

    async def delete_strategy(self, strategy: Strategy) -> None: ...

    async def has_deployments(self, strategy_id: UUID) -> bool:
        """Whether any of its deployments is not stopped."""
        ...

    async def count_deployments(self, user_id: UUID) -> int:
        """Those of the user that are not stopped; until the end of the transaction nobody else counts them."""
        ...

    async def add_deployment(self, deployment: Deployment) -> Deployment:
        """The deployment as it is stored: this one, or the one that has its id already."""
        ...

    async def deployment(self, deployment_id: UUID, user_id: UUID) -> Deployment:
        """Under lock. Raises DeploymentNotFound."""
        ...

    async def save_deployment(self, deployment: Deployment) -> None: ...

    def publish(self, deployment: Deployment) -> None: ...


class Market(Protocol):
    """Bars, steps and the deployments that run them, in the transaction of one batch."""

    @property
    def now(self) -> datetime: ...

    @property
    def arrived(self) -> Mapping[str, datetime]:
        """The earliest close of the bars that came, by symbol."""
        ...

    def add_bars(self, timeframe: str, bars: Iterable[Bar]) -> None: ...

    def add_withheld(self, symbol: str, timeframe: str, close_at: datetime, reason: str) -> None: ...

    def add_step(self, step: Step) -> None: ...

    async def pending_steps(self) -> list[Step]:
        """Those of earlier batches and of this one, each once."""
        ...

    async def active_deployments(self, timeframes: Sequence[str]) -> list[Deployment]:
        """Under lock, ordered by (account, creation)."""
        ...

    async def bars_of(self, steps: Sequence[Step], symbols: Iterable[str]) -> dict[Step, list[Bar]]:
        """The bars of these symbols that belong to the steps, as far as they have come."""
        ...

    async def withheld(self, steps: Sequence[Step]) -> set[Told]:
        """Bars that the steps need not wait for."""
        ...

    async def history(self, timeframe: str, before: datetime, lookbacks: Mapping[str, int]) -> list[Bar]:
        """The last so many bars of each symbol that closed before this time."""
        ...

    async def snapshots(self, deployment_ids: Sequence[UUID]) -> dict[UUID, Mapping[str, Any] | None]: ...

    async def positions(self, deployment_ids: Sequence[UUID]) -> dict[UUID, dict[str, Decimal]]: ...

    async def open_orders(self, deployment_ids: Sequence[UUID]) -> dict[UUID, list[OpenOrder]]:
        """Orders that have not ended, and signals of the last day of which nothing has been heard yet."""
        ...

    def raise_signal(self, deployment: Deployment, signal: Signal) -> None: ...

    def save_run(self, deployment: Deployment, snapshot: Mapping[str, Any]) -> None: ...

    def save_failure(self, deployment: Deployment) -> None: ...

    def end_step(self, step: Step) -> None: ...

    def go_on(self) -> None:
        """Another transaction, at once, runs what is left."""
        ...


class Activity(Protocol):
    """The orders of deployments, locked before the first use case."""

    def order(self, order_id: UUID) -> DeploymentOrder | None: ...

    def save_order(self, order: DeploymentOrder, *, moved: Decimal) -> None:
        """`moved` is what it adds to the deployment's position in the symbol."""
        ...
