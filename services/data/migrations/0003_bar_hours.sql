-- The hours that 1m bars make, of which longer candles are made: 500 days are 12,000 of these rows and 720,000 bars, whose
-- sorting took seconds, on the connections that quotes wait for.
CREATE TABLE bar_hours (
    listing_id integer     NOT NULL,
    open_at    timestamptz NOT NULL,
    open       numeric     NOT NULL,
    high       numeric     NOT NULL,
    low        numeric     NOT NULL,
    close      numeric     NOT NULL,
    volume     numeric     NOT NULL,
    trades     bigint,
    PRIMARY KEY (listing_id, open_at)
);

-- Bars are only ever added. Whoever adds them holds their series, so that no two make the same hour at once.
CREATE FUNCTION keep_bar_hours() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bar_hours (listing_id, open_at, open, high, low, close, volume, trades)
    SELECT touched.listing_id, touched.hour, made.*
    FROM (
        SELECT DISTINCT listing_id, date_trunc('hour', open_at, 'UTC') AS hour FROM added WHERE timeframe_minutes = 1
    ) AS touched
    CROSS JOIN LATERAL (
        SELECT (array_agg(open ORDER BY open_at))[1], max(high), min(low), (array_agg(close ORDER BY open_at DESC))[1],
               sum(volume), CASE WHEN count(trades) = count(*) THEN sum(trades) END
        FROM bars
        WHERE listing_id = touched.listing_id AND timeframe_minutes = 1
        AND open_at >= touched.hour AND open_at < touched.hour + interval '1 hour'
    ) AS made
    ORDER BY touched.listing_id, touched.hour
    ON CONFLICT (listing_id, open_at) DO UPDATE
    SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
        volume = excluded.volume, trades = excluded.trades;
    RETURN NULL;
END
$$;
CREATE TRIGGER bar_hours_kept AFTER INSERT ON bars REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION keep_bar_hours();

INSERT INTO bar_hours (listing_id, open_at, open, high, low, close, volume, trades)
SELECT listing_id, date_trunc('hour', open_at, 'UTC'), (array_agg(open ORDER BY open_at))[1], max(high), min(low),
       (array_agg(close ORDER BY open_at DESC))[1], sum(volume), CASE WHEN count(trades) = count(*) THEN sum(trades) END
FROM bars WHERE timeframe_minutes = 1 GROUP BY 1, 2;
