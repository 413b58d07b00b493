-- What administrators and operators did. Rows are added and never changed; each holds the hash of itself and of the row
-- before, and every day the last hash is signed.

CREATE TABLE audit_log (
    -- Without a gap.
    number bigint PRIMARY KEY,
    -- Of the message that told it: told twice, it is kept once.
    event_id uuid NOT NULL UNIQUE,
    service text NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    changes jsonb NOT NULL,
    reason text,
    request_id text,
    acted_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- SHA-256 over the hash of the row before and all of the above (fleet_auth.audit.domain).
    hash bytea NOT NULL
);
CREATE INDEX audit_log_actor ON audit_log (actor, number);
CREATE INDEX audit_log_target ON audit_log (target, number);

CREATE TABLE audit_digests (
    -- UTC. The digest of a day tells how far the log went when it was signed, just after the day.
    day date PRIMARY KEY,
    last_number bigint NOT NULL,
    -- A JWS, signed with auth's own key, whose public half is not in this database.
    token text NOT NULL
);

CREATE FUNCTION refuse_to_change_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', tg_table_name USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_history();
CREATE TRIGGER audit_digests_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_digests
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_history();
