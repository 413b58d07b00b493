-- Who has restricted a target besides the one who releases his own part: the newest change of somebody else.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX trading_state_changes_target ON trading_state_changes (scope, target, version);
