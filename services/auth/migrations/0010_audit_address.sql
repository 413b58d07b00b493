-- Where the gateway saw who acted (of IPv6 the /64); NULL: on the command line, or a service by itself.

ALTER TABLE audit_log ADD COLUMN address text;
