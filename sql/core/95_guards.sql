-- Every private table is guarded, whatever brought it. What C code writes passes
-- the guards by; but jobs are written by statements of ours, which the guard knows.
DO $$
DECLARE
	t name;
	own text;
BEGIN
	FOR t IN SELECT c.relname FROM pg_catalog.pg_class c
			  WHERE c.relnamespace = 'eventsource'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p') LOOP
		own := CASE WHEN t IN ('job', 'alert') THEN '''own''' ELSE '' END;
		EXECUTE format(
			'CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON eventsource.%I FOR EACH ROW EXECUTE FUNCTION eventsource.guard(%s)', t,
			own);
		EXECUTE format(
			'CREATE TRIGGER guard_statement BEFORE UPDATE OR DELETE OR TRUNCATE ON eventsource.%I FOR EACH STATEMENT EXECUTE FUNCTION eventsource.guard(%s)',
			t, own);
		EXECUTE format('ALTER TABLE eventsource.%I ENABLE ALWAYS TRIGGER guard_row', t);
		EXECUTE format('ALTER TABLE eventsource.%I ENABLE ALWAYS TRIGGER guard_statement', t);
	END LOOP;
END
$$;

-- Loads the library before the first DDL of a session, where it is not preloaded.
CREATE EVENT TRIGGER eventsource_guard_ddl ON ddl_command_start EXECUTE FUNCTION eventsource.guard_ddl();
CREATE EVENT TRIGGER eventsource_guard_partitions ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'CREATE FOREIGN TABLE', 'ALTER TABLE') EXECUTE FUNCTION eventsource.guard_ddl();
ALTER EVENT TRIGGER eventsource_guard_ddl ENABLE ALWAYS;
ALTER EVENT TRIGGER eventsource_guard_partitions ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER eventsource_guard_ddl IS 'Refuses DDL on the event log and on append-only tables.';
COMMENT ON EVENT TRIGGER eventsource_guard_partitions IS 'Guards new partitions of append-only tables.';
