-- How many signals of a deployment were accepted in its present minute, and which were judged lately. Its row is the lock.
CREATE TABLE signal_pace (
    deployment_id uuid        PRIMARY KEY,
    minute        timestamptz NOT NULL,
    accepted      integer     NOT NULL,
    recent        uuid[]      NOT NULL
);
