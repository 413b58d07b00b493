-- Which password of a user it is: what was found right under one is not right under the next.

ALTER TABLE users
    ADD COLUMN password_version bigint NOT NULL DEFAULT 1,
    -- Shorter than a password may be that is all there is: it counts beside a second factor only.
    ADD COLUMN is_password_short boolean NOT NULL DEFAULT false;
