-- Upcasters: data of older schema versions, read as data of newer ones.

CREATE FUNCTION eventsource.create_upcaster(
	type text, from_version integer, to_version integer, expression text, category text DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_create_upcaster' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.create_upcaster(text, integer, integer, text, text) IS
	'Lets events of a type that are stored at schema version from_version be read as of to_version, the next one that is registered (the next number where the type is not registered). category as in the registration. expression: deterministic, parallel safe SQL over event (not its position, hash, subject, reason and states), yields the data as a jsonb object; it has your rights. Steps form a chain; the same from_version again replaces the step, or does nothing if it says the same. What is stored, hashed and dumped never changes. It is tried on a sample of events first, and the output of the last step must match its schema. Projections with rules for the type are folded anew in the same transaction. Returns the version of the definition. Errors: ZE011 lists every problem; nothing is changed then.';

CREATE FUNCTION eventsource.drop_upcaster(type text, from_version integer, category text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_drop_upcaster' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.drop_upcaster(text, integer, text) IS
	'Ends an upcaster: the first or the last of its chain. Events of that version are read as stored again; projections with rules for the type are folded anew. Errors: 42704 if there is none, ZE011 if it stands in the midst of the chain.';

CREATE FUNCTION eventsource.verify_upcasters(type text DEFAULT NULL, category text DEFAULT NULL)
	RETURNS TABLE (event_type text, from_version integer, event_position bigint, problem text)
	AS 'MODULE_PATHNAME', 'eventsource_verify_upcasters' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION eventsource.verify_upcasters(text, text) IS
	'Reads every event (of a type; in a category) that upcasters are for, as corrected: one row per event for which an upcaster fails, or whose data then does not match the schema of the version that its chain ends at; none when all is well. from_version: the version it is stored at. Errors: 42704 if there is no such type or category.';

CREATE FUNCTION eventsource.stored_data(event_position bigint) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'eventsource_stored_data' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.stored_data(bigint) IS
	'Data of the event at this position as it is stored, not upcast: what correct_event() wants anew. NULL if there is no such event.';

CREATE FUNCTION eventsource.upcaster_list()
	RETURNS TABLE (type text, category text, from_version integer, to_version integer, expression text, owner text,
				   version bigint, event_position bigint)
	AS 'MODULE_PATHNAME', 'eventsource_upcaster_list' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION eventsource.upcaster_list() IS
	'Private, for the view upcasters: the upcasters in force.';

CREATE VIEW eventsource.upcasters AS
SELECT u.type, u.category, u.from_version, u.to_version, u.expression, u.owner,
	   max(u.to_version) OVER (PARTITION BY u.type, u.category) AS reaches_version,
	   coalesce(t.version, max(u.to_version) OVER (PARTITION BY u.type, u.category))
	   <= max(u.to_version) OVER (PARTITION BY u.type, u.category) AS is_complete,
	   u.version, u.event_position AS position
  FROM eventsource.upcaster_list() u
  LEFT JOIN eventsource.event_types t ON t.type = u.type AND t.category IS NOT DISTINCT FROM u.category;
COMMENT ON VIEW eventsource.upcasters IS
	'The upcasters in force, one row per step of a chain; order by type, category, from_version.';
COMMENT ON COLUMN eventsource.upcasters.type IS 'Event type whose data it upcasts.';
COMMENT ON COLUMN eventsource.upcasters.category IS 'Category whose events are meant; NULL: all that have no registration of this type of their own.';
COMMENT ON COLUMN eventsource.upcasters.from_version IS 'Schema version of the data it takes.';
COMMENT ON COLUMN eventsource.upcasters.to_version IS 'Schema version of the data it makes.';
COMMENT ON COLUMN eventsource.upcasters.expression IS 'SQL expression over event that makes it.';
COMMENT ON COLUMN eventsource.upcasters.owner IS 'Role that defined it, whose rights the expression has.';
COMMENT ON COLUMN eventsource.upcasters.reaches_version IS 'Where its chain ends.';
COMMENT ON COLUMN eventsource.upcasters.is_complete IS 'True if that is the latest registered version; always where the type is not registered.';
COMMENT ON COLUMN eventsource.upcasters.version IS 'Version of its definition: how often it was defined.';
COMMENT ON COLUMN eventsource.upcasters.position IS 'Place of the definition in the log.';
