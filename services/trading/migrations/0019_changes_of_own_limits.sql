-- Of what an owner sets for his own account only the last changes are kept: they are read with the account, and he may make as
-- many as he likes. What admins and the platform set stays.
DROP TRIGGER risk_limits_are_append_only ON risk_limits;
CREATE TRIGGER risk_limits_are_append_only BEFORE UPDATE OR TRUNCATE ON risk_limits
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history();
CREATE TRIGGER risk_limits_of_admins_stay BEFORE DELETE ON risk_limits
    FOR EACH ROW WHEN (OLD.set_as <> 'owner') EXECUTE FUNCTION refuse_change_of_history();
