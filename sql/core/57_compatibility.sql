-- Compatibility of JSON Schemas: whether one takes all that another one takes.

CREATE FUNCTION eventsource.schema_compatibility(older jsonb, newer jsonb, compatibility text DEFAULT 'backward') RETURNS text[]
	AS 'MODULE_PATHNAME', 'eventsource_schema_compatibility' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION eventsource.schema_compatibility(jsonb, jsonb, text) IS
	'Why a newer JSON Schema is not compatible with an older one: a line per problem, with its JSON pointer (backward: into the newer schema, forward: into the older), keyword and reason; none if it is. compatibility: backward (the newer takes all that the older takes), forward (the reverse), full (both), none; *_transitive are the same for two schemas. What cannot be shown to be compatible is a problem. A field that a schema does not name and says nothing of (additionalProperties absent or true) is taken not to be there. Errors: ZE011 (no schema), 22023 (no such compatibility).';
