-- JSON Schema over jsonb: drafts 2020-12 and 07. Not IMMUTABLE where the setting
-- eventsource.assert_formats has a say.

CREATE FUNCTION eventsource.jsonb_matches_schema(schema jsonb, data jsonb) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_jsonb_matches_schema' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION eventsource.jsonb_matches_schema(jsonb, jsonb) IS
	'Does data match a JSON Schema? Draft 2020-12, or draft-07 where $schema says so; other schemas that it refers to must stand in it, under $defs with their $id. NULL if an argument is. Errors: ZE011 (DETAIL lists what is wrong with the schema).';

CREATE FUNCTION eventsource.jsonschema_is_valid(schema jsonb) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_jsonschema_is_valid' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION eventsource.jsonschema_is_valid(jsonb) IS
	'Is this a JSON Schema that jsonb_matches_schema would take: keywords of the right shape, references that lead somewhere, patterns that compile?';

CREATE FUNCTION eventsource.jsonschema_validation_errors(schema jsonb, data jsonb) RETURNS text[]
	AS 'MODULE_PATHNAME', 'eventsource_jsonschema_validation_errors' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION eventsource.jsonschema_validation_errors(jsonb, jsonb) IS
	'Why data does not match a JSON Schema: a line per failure, with its JSON pointer in data, what is expected there, and the keyword in parentheses; at most 100, none if it matches. Values of data are not shown. Errors: ZE011.';
