-- Strategies, their deployments, the bars that deployments see, the signals they raise, and what became of them.

CREATE TABLE strategies (
    strategy_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    name text NOT NULL,
    builtin text NOT NULL,
    version integer NOT NULL,
    is_deleted boolean NOT NULL,
    -- What the creating request said, so that the same Idempotency-Key with another body is told apart.
    body_hash text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX strategies_of_user ON strategies (user_id, created_at DESC, strategy_id DESC) WHERE NOT is_deleted;

CREATE TABLE deployments (
    deployment_id uuid PRIMARY KEY,
    -- The order of creation: deployments of one account run in it.
    number bigint GENERATED ALWAYS AS IDENTITY,
    strategy_id uuid NOT NULL REFERENCES strategies (strategy_id),
    strategy_version integer NOT NULL,
    builtin text NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    symbols text[] NOT NULL,
    timeframe text NOT NULL,
    parameters jsonb NOT NULL,
    mode text NOT NULL,
    max_order_notional numeric,
    expires_at timestamptz,
    state text NOT NULL,
    reason_code text,
    reason_detail text,
    version integer NOT NULL,
    -- Market time of the last step that was run, or that had passed when the deployment was made or resumed.
    last_step_at timestamptz,
    -- What the strategy remembers, written in the transaction of the step; NULL before the first.
    snapshot jsonb,
    body_hash text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX deployments_of_user ON deployments (user_id, created_at DESC, deployment_id DESC);
CREATE INDEX deployments_of_strategy ON deployments (strategy_id);
CREATE INDEX deployments_active ON deployments (timeframe) WHERE state = 'active';

CREATE TABLE bars (
    symbol text NOT NULL,
    timeframe text NOT NULL,
    close_at timestamptz NOT NULL,
    open_at timestamptz NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    PRIMARY KEY (symbol, timeframe, close_at)
);

-- Bars that core-engine held back: a step does not wait for them.
CREATE TABLE withheld_bars (
    symbol text NOT NULL,
    timeframe text NOT NULL,
    close_at timestamptz NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (symbol, timeframe, close_at)
);

-- Steps that have ended and that some deployment has not run yet, for want of a bar.
CREATE TABLE pending_steps (
    timeframe text NOT NULL,
    market_at timestamptz NOT NULL,
    symbols text[] NOT NULL,
    PRIMARY KEY (timeframe, market_at)
);

CREATE TABLE signals (
    signal_id uuid PRIMARY KEY,
    deployment_id uuid NOT NULL REFERENCES deployments (deployment_id),
    market_at timestamptz NOT NULL,
    number integer NOT NULL,
    action text NOT NULL,
    symbol text NOT NULL,
    side text,
    order_type text,
    quantity numeric,
    limit_price numeric,
    time_in_force text,
    target_signal_id uuid,
    -- accepted or dropped, by core-engine; NULL until it has said.
    outcome text,
    outcome_reason text,
    raised_at timestamptz NOT NULL
);
CREATE INDEX signals_of_deployment ON signals (deployment_id, market_at DESC, number DESC);

-- The orders that came of a deployment's signals, as trading last told them.
CREATE TABLE deployment_orders (
    order_id uuid PRIMARY KEY,
    deployment_id uuid NOT NULL,
    signal_id uuid NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL,
    order_type text NOT NULL,
    quantity numeric NOT NULL,
    filled_quantity numeric NOT NULL,
    limit_price numeric,
    status text NOT NULL,
    is_open boolean NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX deployment_orders_open ON deployment_orders (deployment_id) WHERE is_open;
CREATE INDEX deployment_orders_signal ON deployment_orders (signal_id);

-- What a deployment's own fills have left it with: the sum over its orders.
CREATE TABLE deployment_positions (
    deployment_id uuid NOT NULL,
    symbol text NOT NULL,
    quantity numeric NOT NULL,
    PRIMARY KEY (deployment_id, symbol)
);
