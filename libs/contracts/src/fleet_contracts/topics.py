"""The topics: one owner each, who alone writes; who reads them and how. CONTRACTS in code."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from . import audit, auth, core_engine, data, exchange_connector, execution, matching_engine, strategy, trading, venue
from .message import Message


class Reading(StrEnum):
    """`work`: shared out among replicas, sequences kept. `table`: all of a compacted topic in memory. `live`: every process."""

    WORK = "work"
    TABLE = "table"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Reader:
    service: str
    reading: Reading


@dataclass(frozen=True, slots=True)
class Topic:
    """`key` says what the record key is. `direct`: produced without an outbox, so gaps in its sequence are normal.

    A topic's number of partitions never changes; `retention` None keeps records for ever."""

    name: str
    owner: str
    key: str
    messages: tuple[type[Message], ...]
    readers: tuple[Reader, ...]
    compacted: bool = False
    direct: bool = False
    retention: timedelta | None = timedelta(days=7)
    partitions: int = 4

    @property
    def is_gapless(self) -> bool:
        """Whether a jump in a key's sequence means that a record was lost."""
        return not (self.compacted or self.direct)

    @property
    def is_journal(self) -> bool:
        """Kept until its reader's snapshots stand in for its records, and trimmed by that reader."""
        return self.retention is None and not self.compacted


def _work(*services: str) -> tuple[Reader, ...]:
    return tuple(Reader(name, Reading.WORK) for name in services)


def _table(*services: str) -> tuple[Reader, ...]:
    return tuple(Reader(name, Reading.TABLE) for name in services)


def _live(*services: str) -> tuple[Reader, ...]:
    return tuple(Reader(name, Reading.LIVE) for name in services)


EXCHANGE_CONNECTOR_MARKET_DATA = Topic(
    "exchange-connector.market-data",
    "exchange-connector",
    "symbol",
    (exchange_connector.Quote, exchange_connector.Trade),
    _work("data") + _live("execution", "gateway"),
    direct=True,
)
EXCHANGE_CONNECTOR_BARS = Topic(
    "exchange-connector.bars",
    "exchange-connector",
    "symbol; `step` for MarketStepEnded",
    (exchange_connector.VenueBarClosed, exchange_connector.VenueBarsBackfilled, exchange_connector.MarketStepEnded),
    _work("data"),
)
EXCHANGE_CONNECTOR_STATUS = Topic(
    "exchange-connector.status",
    "exchange-connector",
    "venue",
    (exchange_connector.VenueStatus,),
    _work("execution") + _table("data", "core-engine"),
    compacted=True,
    retention=None,
)
EXCHANGE_CONNECTOR_INSTRUMENTS = Topic(
    "exchange-connector.instruments",
    "exchange-connector",
    "symbol, venue",
    (exchange_connector.VenueInstrument,),
    _work("data"),
    compacted=True,
    retention=None,
)
MATCHING_ENGINE_MARKET_DATA = Topic(
    "matching-engine.market-data",
    "matching-engine",
    "symbol",
    (matching_engine.BookDelta, matching_engine.BookSnapshot, exchange_connector.Trade),
    _work("data") + _live("gateway"),
    direct=True,
)
MATCHING_ENGINE_STATUS = Topic(
    "matching-engine.status",
    "matching-engine",
    "venue",
    (exchange_connector.VenueStatus,),
    _work("execution") + _table("core-engine"),
    compacted=True,
    retention=None,
)
MATCHING_ENGINE_INSTRUMENTS = Topic(
    "matching-engine.instruments",
    "matching-engine",
    "symbol, venue",
    (exchange_connector.VenueInstrument,),
    _work("data"),
    compacted=True,
    retention=None,
)
DATA_INSTRUMENTS = Topic(
    "data.instruments",
    "data",
    "symbol",
    (data.InstrumentDefined,),
    _table("trading", "core-engine", "strategy", "execution", "matching-engine", "gateway"),
    compacted=True,
    retention=None,
)
DATA_QUOTES = Topic(
    "data.quotes",
    "data",
    "symbol",
    (data.BestQuote,),
    _table("trading", "core-engine", "matching-engine", "gateway"),
    compacted=True,
    retention=None,
)
DATA_BARS = Topic(
    "data.bars",
    "data",
    "symbol; `step` for MarketStepEnded",
    (data.BarClosed, data.BarsBackfilled, exchange_connector.MarketStepEnded),
    _work("core-engine") + _live("gateway"),
)
CORE_ENGINE_MARKET = Topic(
    "core-engine.market",
    "core-engine",
    "symbol; `step` for MarketStepEnded",
    (data.BarClosed, data.BarsBackfilled, core_engine.BarWithheld, exchange_connector.MarketStepEnded),
    _live("strategy"),
)
CORE_ENGINE_STATE = Topic(
    "core-engine.state",
    "core-engine",
    "scope and target; `heartbeat`",
    (core_engine.TradingStateChanged, core_engine.Heartbeat),
    _table("trading", "execution", "exchange-connector", "matching-engine"),
    compacted=True,
    retention=None,
)
CORE_ENGINE_ALERTS = Topic(
    "core-engine.alerts",
    "core-engine",
    "`quotes:<symbol>`, `account:<account_id>`",
    (core_engine.Alert,),
    _table("gateway"),
    compacted=True,
    retention=None,
)
CORE_ENGINE_ORDER_REQUESTS = Topic(
    "core-engine.order-requests",
    "core-engine",
    "account; `step` for MarketStepEnded, in a replay",
    (core_engine.OrderRequested, core_engine.CancelRequested, exchange_connector.MarketStepEnded),
    _work("trading"),
)
CORE_ENGINE_SIGNAL_OUTCOMES = Topic(
    "core-engine.signal-outcomes",
    "core-engine",
    "deployment",
    (core_engine.SignalAccepted, core_engine.SignalDropped),
    _live("strategy"),
)
STRATEGY_SIGNALS = Topic(
    "strategy.signals",
    "strategy",
    "account",
    (strategy.SignalRaised,),
    _work("core-engine"),
)
STRATEGY_DEPLOYMENTS = Topic(
    "strategy.deployments",
    "strategy",
    "deployment",
    (strategy.Deployment,),
    _table("core-engine"),
    compacted=True,
    retention=None,
)
TRADING_ACCOUNTS = Topic(
    "trading.accounts",
    "trading",
    "account",
    (trading.Account,),
    _table("core-engine", "execution", "gateway"),
    compacted=True,
    retention=None,
)
TRADING_GRANTS = Topic(
    "trading.grants",
    "trading",
    "deployment",
    (trading.Grant,),
    _table("core-engine"),
    compacted=True,
    retention=None,
)
TRADING_CANCEL_AFTER = Topic(
    "trading.cancel-after",
    "trading",
    "account",
    (trading.CancelAfterSet,),
    _table("execution", "exchange-connector", "matching-engine"),
    compacted=True,
    retention=None,
)
TRADING_ORDER_COMMANDS = Topic(
    "trading.order-commands",
    "trading",
    "account",
    (trading.SubmitOrder, trading.ReplaceOrder, trading.CancelOrder, trading.QueryOrder),
    _work("execution"),
)
TRADING_ACTIVITY = Topic(
    "trading.activity",
    "trading",
    "account",
    (trading.AccountChanged,),
    _live("gateway", "strategy"),
)
TRADING_RISK_BREACHES = Topic(
    "trading.risk-breaches",
    "trading",
    "account",
    (trading.AccountBreached,),
    _work("core-engine"),
)
EXECUTION_REPORTS = Topic(
    "execution.reports",
    "execution",
    "account",
    (execution.OrderReports,),
    _work("trading"),
)
AUTH_USERS = Topic(
    "auth.users",
    "auth",
    "user",
    (auth.User,),
    _work("trading"),
    compacted=True,
    retention=None,
)
AUTH_SESSIONS = Topic(
    "auth.sessions",
    "auth",
    "session or API key",
    (auth.SessionRevoked,),
    _table("gateway"),
    compacted=True,
    retention=None,
)


def audit_topic(owner: str) -> Topic:
    """Who did what in this service that only administrators and operators may."""
    return Topic(f"{owner}.audit", owner, "what was acted on", (audit.AdminActed,), _work("auth"))


CORE_ENGINE_AUDIT = audit_topic("core-engine")
TRADING_AUDIT = audit_topic("trading")
EXCHANGE_CONNECTOR_AUDIT = audit_topic("exchange-connector")
MATCHING_ENGINE_AUDIT = audit_topic("matching-engine")
EXECUTION_AUDIT = audit_topic("execution")
AUDIT_TOPICS = (
    CORE_ENGINE_AUDIT,
    TRADING_AUDIT,
    EXCHANGE_CONNECTOR_AUDIT,
    MATCHING_ENGINE_AUDIT,
    EXECUTION_AUDIT,
    *(audit_topic(owner) for owner in ("auth", "data", "strategy")),
)
"""Of every service with a database: what one could not handle is skipped there by hand. Other acts in auth it keeps itself."""


def venue_commands(
    name: str, *, served_by: str = "exchange-connector", retention: timedelta | None = timedelta(days=7)
) -> Topic:
    """The commands to one venue; the service that serves it reads them."""
    return Topic(
        f"venue.{name}.commands",
        "execution",
        "symbol",
        (
            venue.PlaceVenueOrder,
            venue.ReplaceVenueOrder,
            venue.CancelVenueOrder,
            venue.QueryVenueOrders,
            venue.QueryVenueOpenOrders,
        ),
        _work(served_by),
        retention=retention,
    )


def venue_reports(name: str, *, served_by: str = "exchange-connector") -> Topic:
    """What one venue reports; the service that serves it writes them."""
    return Topic(
        f"venue.{name}.reports", served_by, "symbol", (venue.VenueReports, venue.VenueOpenOrders), _work("execution")
    )


VENUE_PAPER_COMMANDS = venue_commands("paper")
VENUE_PAPER_REPORTS = venue_reports("paper")
# The journal of the internal venue's books: kept until two snapshots stand in for its records.
VENUE_INTERNAL_COMMANDS = venue_commands("internal", served_by="matching-engine", retention=None)
VENUE_INTERNAL_REPORTS = venue_reports("internal", served_by="matching-engine")
VENUES = ("paper", "internal")
"""Those that the fleet has of itself."""

TOPICS: tuple[Topic, ...] = (
    EXCHANGE_CONNECTOR_MARKET_DATA,
    EXCHANGE_CONNECTOR_BARS,
    EXCHANGE_CONNECTOR_STATUS,
    EXCHANGE_CONNECTOR_INSTRUMENTS,
    MATCHING_ENGINE_MARKET_DATA,
    MATCHING_ENGINE_STATUS,
    MATCHING_ENGINE_INSTRUMENTS,
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    DATA_BARS,
    CORE_ENGINE_MARKET,
    CORE_ENGINE_STATE,
    CORE_ENGINE_ALERTS,
    CORE_ENGINE_ORDER_REQUESTS,
    CORE_ENGINE_SIGNAL_OUTCOMES,
    STRATEGY_SIGNALS,
    STRATEGY_DEPLOYMENTS,
    TRADING_ACCOUNTS,
    TRADING_GRANTS,
    TRADING_CANCEL_AFTER,
    TRADING_ORDER_COMMANDS,
    TRADING_ACTIVITY,
    TRADING_RISK_BREACHES,
    EXECUTION_REPORTS,
    AUTH_USERS,
    AUTH_SESSIONS,
    *AUDIT_TOPICS,
    VENUE_PAPER_COMMANDS,
    VENUE_PAPER_REPORTS,
    VENUE_INTERNAL_COMMANDS,
    VENUE_INTERNAL_REPORTS,
)

MESSAGE_TYPES: dict[str, type[Message]] = {
    message.type_name(): message for topic in TOPICS for message in topic.messages
}
