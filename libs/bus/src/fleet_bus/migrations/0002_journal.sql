-- A log that is its reader's journal: who may extend it, what stands between its records, and where replay begins.

CREATE TABLE journal (
    topic text NOT NULL,
    partition integer NOT NULL,
    -- Raised by each takeover; whoever holds a lower one can claim nothing any more.
    epoch bigint NOT NULL,
    -- Records below it have been obeyed, or will be, by whoever owns the partition, between the same facts.
    claimed_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- What is no record and yet had its place: after the records below `after_offset`, in the order of `number`.
CREATE TABLE journal_facts (
    topic text NOT NULL,
    partition integer NOT NULL,
    after_offset bigint NOT NULL,
    number bigint NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (topic, partition, after_offset, number)
);

CREATE TABLE journal_snapshots (
    topic text NOT NULL,
    partition integer NOT NULL,
    -- The state after the records below `after_offset` and its facts up to `number`.
    after_offset bigint NOT NULL,
    number bigint NOT NULL,
    -- Of the owner who took it: two owners may take one at the same place.
    epoch bigint NOT NULL,
    chunks integer NOT NULL,
    taken_at timestamptz NOT NULL,
    PRIMARY KEY (topic, partition, after_offset, number, epoch)
);

CREATE TABLE journal_snapshot_chunks (
    topic text NOT NULL,
    partition integer NOT NULL,
    after_offset bigint NOT NULL,
    number bigint NOT NULL,
    epoch bigint NOT NULL,
    place integer NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (topic, partition, after_offset, number, epoch, place)
);
-- Compressing it would take longer than writing it.
ALTER TABLE journal_snapshot_chunks ALTER COLUMN content SET STORAGE EXTERNAL;
