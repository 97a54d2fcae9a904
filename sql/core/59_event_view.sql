-- Views of the events of one type, typed by its schema.

CREATE FUNCTION eventsource.event_field(data jsonb, property text, "like" anyelement) RETURNS anyelement
	AS 'MODULE_PATHNAME', 'eventsource_event_field' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.event_field(jsonb, text, anyelement) IS
	'Private, for views that create_event_view makes: a property of data as the type of the third argument (text, bigint, numeric, boolean, timestamptz, date, timetz, uuid, inet or jsonb; what that is does not matter, NULL::date will do). NULL where there is none, or it is not of that type: it never fails over a value.';

CREATE FUNCTION eventsource.create_event_view(
	type text, view_name text, category text DEFAULT NULL, version integer DEFAULT NULL) RETURNS regclass
	AS 'MODULE_PATHNAME', 'eventsource_create_event_view' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.create_event_view(text, text, text, integer) IS
	'Makes a view with one row per event of a registered type, from the schema of its latest version (or of that version): the columns of an event, then one per property, with its description as comment. Strings are text (by format: timestamptz, date, timetz, uuid, inet), integers bigint, numbers numeric, booleans boolean, all else and what may be several of them jsonb; a property called like a column before it gets data_ in front. A value that is not of the type of its column is NULL there; the column data has it. category: only events of this one, by its own registration if it has one. view_name may have a schema. The view is the caller''s, and shows each who reads it the events that he may see. Made again, it keeps its columns and gets new ones at the end. Returns the view. Errors: ZE006 (type or version is not registered), 55000 (it has no schema), 42P07 (the name is taken), 42P16 (a column of the view would vanish or change its type).';
