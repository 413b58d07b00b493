-- An instrument at one venue, as the venue tells it; bars and trades belong to a listing.
CREATE TABLE listings (
    listing_id   integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol       text        NOT NULL,
    venue        text        NOT NULL,
    name         text        NOT NULL,
    asset_class  text        NOT NULL,
    base         text        NOT NULL,
    quote        text        NOT NULL,
    tick_size    numeric     NOT NULL,
    lot_size     numeric     NOT NULL,
    min_quantity numeric     NOT NULL,
    min_notional numeric     NOT NULL,
    maker_fee    numeric     NOT NULL,
    taker_fee    numeric     NOT NULL,
    calendar     text        NOT NULL,
    simulated    boolean     NOT NULL,
    UNIQUE (symbol, venue)
);

-- What the platform trades. Its row is the lock of its listings; version 0 is not defined yet.
CREATE TABLE instruments (
    symbol          text   PRIMARY KEY,
    reference_venue text,
    version         bigint NOT NULL DEFAULT 0
);

-- Tens of millions of rows, about 135 bytes each with the key, which every read goes through: a listing's bars of a
-- timeframe in a range of time. BRIN would add nothing, since uniqueness needs this btree anyway. close_at is stored
-- because a session's bar is shorter than its timeframe.
CREATE TABLE bars (
    listing_id        integer     NOT NULL,
    timeframe_minutes integer     NOT NULL,
    open_at           timestamptz NOT NULL,
    close_at          timestamptz NOT NULL,
    open              numeric     NOT NULL,
    high              numeric     NOT NULL,
    low               numeric     NOT NULL,
    close             numeric     NOT NULL,
    volume            numeric     NOT NULL,
    trades            integer,
    PRIMARY KEY (listing_id, timeframe_minutes, open_at)
);

-- How far the closed bars of each symbol and timeframe have been stored. Its row is the lock of the series.
CREATE TABLE bar_positions (
    symbol    text NOT NULL,
    timeframe text NOT NULL,
    close_at  timestamptz,
    PRIMARY KEY (symbol, timeframe)
);

-- Ends of steps that came before the last of their bars; passed on in the transaction of that bar.
CREATE TABLE pending_steps (
    timeframe text        NOT NULL,
    market_at timestamptz NOT NULL,
    step      bigint      NOT NULL,
    symbols   text[]      NOT NULL,
    replay_id uuid,
    PRIMARY KEY (timeframe, market_at, step)
);

-- The best quote and last price of the reference venue: the latest known, and when one was last published.
CREATE TABLE quotes (
    symbol    text PRIMARY KEY,
    bid       numeric,
    bid_size  numeric,
    ask       numeric,
    ask_size  numeric,
    last      numeric,
    market_at timestamptz,
    sent_at   timestamptz,
    is_sent   boolean NOT NULL DEFAULT true
);

-- The market's prints of the last while (FLEET_DATA_KEEP_TRADES_S), for the open bar and GET /trades.
CREATE TABLE public_trades (
    listing_id     integer     NOT NULL,
    venue_trade_id text        NOT NULL,
    market_at      timestamptz NOT NULL,
    price          numeric     NOT NULL,
    quantity       numeric     NOT NULL,
    aggressor      text,
    PRIMARY KEY (listing_id, venue_trade_id)
);
CREATE INDEX public_trades_by_time ON public_trades (listing_id, market_at, venue_trade_id);
