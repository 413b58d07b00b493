"""What an operator sees of the bus; labels are subscriptions and topics, never keys."""

from prometheus_client import Counter, Gauge, Histogram

OUTBOX_SENT = Counter("fleet_outbox_sent_total", "Outbox rows sent to Kafka and deleted.")
OUTBOX_FAILED = Gauge("fleet_outbox_failed", "Outbox rows that Kafka refuses for good.")
OUTBOX_AGE_SECONDS = Gauge(
    "fleet_outbox_age_seconds", "How long the oldest outbox row that the relay still has to send has been waiting."
)
HANDLED = Counter("fleet_bus_handled_total", "Records applied.", ["subscription"])
DUPLICATES = Counter(
    "fleet_bus_duplicates_total", "Records dropped because they were applied before.", ["subscription"]
)
PARKED = Counter("fleet_bus_parked_total", "Records set aside.", ["subscription", "kind"])
BATCH_SECONDS = Histogram(
    "fleet_bus_batch_seconds",
    "From the poll of a batch to its commit.",
    ["subscription"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
AGE_SECONDS = Gauge(
    "fleet_bus_age_seconds",
    "Age of the oldest record of the batch last applied; 0 when nothing waits.",
    ["subscription"],
)
LAG = Gauge("fleet_bus_lag_records", "Records ahead of the subscription, as of its last poll.", ["subscription"])
SNAPSHOT_STALL = Gauge(
    "fleet_bus_snapshot_stall_seconds", "How long the last snapshot of a journal held up everything else.", ["journal"]
)
