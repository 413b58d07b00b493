-- Every change of a limit, with who and when; the last one of a (scope, target, set_as, name) holds, and NULL took it away.
-- `set_as`: an account has limits of its owner beside those of admins, and the tightest of all holds.
CREATE TABLE risk_limits (
    change_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope text NOT NULL,
    -- A role, symbol, strategy or account; empty for the system.
    target text NOT NULL,
    set_as text NOT NULL,
    name text NOT NULL,
    value numeric,
    -- NULL: came with the platform.
    changed_by uuid,
    changed_at timestamptz NOT NULL
);
CREATE INDEX risk_limits_last ON risk_limits (scope, target, set_as, name, change_no DESC);

CREATE FUNCTION refuse_change_of_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of limits is append only';
END
$$;
CREATE TRIGGER risk_limits_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON risk_limits
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history();

-- Raised with each change of a limit that is not one account's, and of a user's roles. It is read with the lock of the
-- accounts, so a process knows before it decides that its copy of the limits is old. Limits of one account raise that
-- account's version instead.
CREATE TABLE risk_version (
    version bigint NOT NULL
);
INSERT INTO risk_version (version) VALUES (1);

INSERT INTO risk_limits (scope, target, set_as, name, value, changed_by, changed_at)
VALUES ('system', '', 'admin', 'price_collar', 1, NULL, '1970-01-01T00:00:00Z');

-- What limits must know of the account's past, as one value; NULL while no limit asks for it.
ALTER TABLE accounts ADD COLUMN risk jsonb;
