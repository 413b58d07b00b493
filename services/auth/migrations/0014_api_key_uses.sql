-- Where a key was last used from (of IPv6 the /64), told by the gateway once a signature of it was found right.

ALTER TABLE api_keys ADD COLUMN last_used_address text;
