-- For the tables of JSON Schema cases: asserts that all good instances of a row match
-- its schema and no bad one does, and that the list of failures says the same.
CREATE FUNCTION pg_temp.judge(c) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	wrong text[];
BEGIN
	IF NOT eventsource.jsonschema_is_valid($1.schema) THEN
		RETURN fail(concat_ws(' ', $1.keyword || ':', $1.what, '(the schema is refused)'));
	END IF;
	SELECT array_agg(instance::text ORDER BY n) INTO wrong
	  FROM (SELECT i.n, instance, true AS expected FROM jsonb_array_elements($1.good) WITH ORDINALITY AS i(instance, n)
			UNION ALL
			SELECT i.n + 1000, instance, false FROM jsonb_array_elements($1.bad) WITH ORDINALITY AS i(instance, n)) i
	 WHERE eventsource.jsonb_matches_schema($1.schema, instance) <> expected
		OR (cardinality(eventsource.jsonschema_validation_errors($1.schema, instance)) = 0) <> expected;
	RETURN is(wrong, NULL, concat_ws(' ', $1.keyword || ':', nullif($1.what, '')));
END
$$;
