-- Personal fields: who sees them.

CREATE FUNCTION eventsource.personal_data() RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN true;
COMMENT ON FUNCTION eventsource.personal_data() IS
	'Whoever may execute it sees personal fields: grant_personal_data() gives that right.';

CREATE FUNCTION eventsource.grant_personal_data(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.grant_reader(role);
	EXECUTE format('GRANT EXECUTE ON FUNCTION eventsource.personal_data() TO %s', role);
END
$$;
COMMENT ON FUNCTION eventsource.grant_personal_data(regrole) IS
	'Lets a role read, and see personal fields as they are; without this right they are masked: *** for a string, its network for an address (strategy mask_ip), left out if anything else. For the owner of the extension and superusers. Errors: 42501.';
