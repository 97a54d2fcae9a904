-- Personal fields: who sees them.

CREATE FUNCTION eventsource.personal_data() RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN true;
COMMENT ON FUNCTION eventsource.personal_data() IS
	'Whoever may execute it sees personal fields: grant_personal_data() gives that right.';

CREATE FUNCTION eventsource.grant_personal_data(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.expect_granter(role);
	IF NOT has_function_privilege(role, 'eventsource.sees_personal_data()', 'EXECUTE') THEN
		PERFORM eventsource.grant_reader(role);
	END IF;
	EXECUTE format('GRANT EXECUTE ON FUNCTION eventsource.personal_data() TO %s', role);
END
$$;
COMMENT ON FUNCTION eventsource.grant_personal_data(regrole) IS
	'Lets a role see personal fields of what it may read as they are; one that reads nothing yet reads every category then. Without this right they are masked: *** for a string, its network for an address (strategy mask_ip), left out if it is no string, or its strategy is null. For the owner of the extension and superusers. Errors: 42501.';

CREATE FUNCTION eventsource.sees_personal_data() RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_sees_personal_data' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.sees_personal_data() IS
	'True if the current user sees personal fields as they are: see grant_personal_data().';

CREATE FUNCTION eventsource.personal_columns(target regclass) RETURNS TABLE (column_name name, data_type regtype)
	AS 'MODULE_PATHNAME', 'eventsource_personal_columns' LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 5;
COMMENT ON FUNCTION eventsource.personal_columns(regclass) IS
	'Columns of a projection that its rules make of personal fields, directly or by way of other such columns, by what is registered now. Errors: 42809 if the table is no projection.';

CREATE FUNCTION eventsource.create_masked_view(target regclass, view_name text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text[] := parse_ident(view_name);
	home name := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target);
	columns text := (
		SELECT string_agg(
				CASE WHEN p.column_name IS NULL THEN format('t.%I', a.attname)
					 ELSE format('CASE WHEN t.%1$I IS NULL OR eventsource.sees_personal_data() THEN t.%1$I ELSE %2$L::%3$s END AS %1$I', a.attname,
						CASE WHEN y.typcategory = 'S' AND y.typtype = 'b' THEN '***' END, format_type(a.atttypid, a.atttypmod)) END,
				', ' ORDER BY a.attnum)
		  FROM pg_attribute a
		  JOIN pg_type y ON y.oid = a.atttypid
		  LEFT JOIN eventsource.personal_columns(target) p ON p.column_name = a.attname
		 WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped);
BEGIN
	IF cardinality(name) > 2 THEN
		RAISE invalid_name USING
			MESSAGE = format('"%s" is not the name of a view', view_name),
			DETAIL = 'It has more than two parts.',
			HINT = 'Name it as in ''schema.view''; without a schema it is made beside the table.';
	END IF;
	EXECUTE format('CREATE OR REPLACE VIEW %I.%I WITH (security_barrier = true) AS SELECT %s FROM %s t',
				   CASE cardinality(name) WHEN 2 THEN name[1] ELSE home END, name[cardinality(name)], columns, target);
END
$$;
COMMENT ON FUNCTION eventsource.create_masked_view(regclass, text) IS
	'Makes (or makes anew) a view of a projection that shows its personal columns masked to who may not see personal data: *** for text, NULL for other types and where nothing is. view_name: without a schema, beside the table. Grant SELECT on the view, and not on the table; who reads it needs the rights of a reader (grant_reader). The view is yours, and has your rights on the table. Errors: 42809 if the table is no projection.';
