-- The past of tracked tables and projections.

CREATE FUNCTION eventsource.as_of(
	target anyelement, at timestamptz, key text DEFAULT NULL, basis text DEFAULT 'recorded')
	RETURNS SETOF anyelement
	AS 'MODULE_PATHNAME', 'eventsource_as_of' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION eventsource.as_of(anyelement, timestamptz, text, text) IS
	'Rows of a tracked table or a projection as they were at a moment, inclusive, in the columns that the table has now: SELECT * FROM eventsource.as_of(NULL::schema.table, at). key: that row alone; text of its key column, as in the stream''s name (several columns of a projection: a JSON object). basis ''recorded'': as was believed then; ''occurred'': as it was then by what is known now (an event counts as no earlier than those before it). Errors: 42809 if the table is neither; 42501 without SELECT on it, or if row security applies.';

CREATE FUNCTION eventsource.row_history(target regclass, key text, basis text DEFAULT 'recorded')
	RETURNS TABLE (version bigint, event_position bigint, type text, actor text, reason text,
				   valid_from timestamptz, valid_to timestamptz, operation text, changed jsonb,
				   row_data jsonb, is_synthetic boolean)
	AS 'MODULE_PATHNAME', 'eventsource_row_history' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 20;
COMMENT ON FUNCTION eventsource.row_history(regclass, text, text) IS
	'One row of a tracked table, or of a projection with a row per stream, event by event in order of version: what the event did (operation: insert, update, delete), what it changed ({"column": {"old", "new"}}) and the row after it (NULL once deleted). valid_from, valid_to: by the basis, ''recorded'' or ''occurred''; valid_to is NULL for the last event. is_synthetic: made up from older data, so that what was before is not known. Events as corrected by what is known now. Errors: 42809, 42501.';

CREATE FUNCTION eventsource.attribute_periods(
	target regclass, column_name name, key text DEFAULT NULL, basis text DEFAULT 'recorded')
	RETURNS TABLE (row_key text, value text, valid_from timestamptz, valid_to timestamptz,
				   actor text, reason text, type text, version bigint, event_position bigint,
				   is_current boolean, begins_synthetic boolean)
	AS 'MODULE_PATHNAME', 'eventsource_attribute_periods' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION eventsource.attribute_periods(regclass, name, text, text) IS
	'Values of a column of a tracked table, or of a projection with a row per stream, one row per period: value as text, from when to when (by the basis, ''recorded'' or ''occurred''; valid_to NULL: it lasts), and actor, reason, type, version and event_position of the event that began it. Consecutive equal values are one period; a deleted row ends its period. begins_synthetic: the event was made up from older data, so there is no history before valid_from. key: of one row alone. Order by row_key, version. Errors: 42809, 42703, 42501.';

CREATE FUNCTION eventsource.replay(
	stream text, at timestamptz DEFAULT NULL, basis text DEFAULT 'recorded', target regclass DEFAULT NULL)
	RETURNS TABLE (stream_name text, version bigint, state text, row_data jsonb, events bigint)
	AS 'MODULE_PATHNAME', 'eventsource_replay' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION eventsource.replay(text, timestamptz, text, regclass) IS
	'Folds the events of a stream, up to a moment (NULL: all): its version, its state, and its row in the projection or tracked table target (NULL: in the table that the category tracks, if any). events: how many counted. No row if the stream did not exist by then. basis as in as_of. Errors: 42809, 42501, 22023 if target does not fold the stream''s category.';

-- Snapshots.

CREATE FUNCTION eventsource.set_snapshot_policy(category text, every integer) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_set_snapshot_policy' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.set_snapshot_policy(text, integer) IS
	'From now on a snapshot of each stream of the category is taken with every n-th of its events, in the transaction that appends it (0 or NULL: none): as_of by key and replay begin with it instead of the first event. Changes no result. Returns the version of the policy. Errors: 22023, 22004.';

CREATE FUNCTION eventsource.drop_snapshots(category text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_drop_snapshots' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.drop_snapshots(text) IS
	'Deletes the snapshots of a category (NULL: all); returns how many. Changes no result. Due when a function that the rules of a projection call was replaced by one that computes something else.';

CREATE VIEW eventsource.snapshots AS
SELECT s.name AS stream,
	   c.word AS category,
	   nullif(p.target, '') AS projection,
	   p.version,
	   p.position,
	   p.recorded_at,
	   p.occurred_at,
	   p.events,
	   t.word AS state,
	   CASE WHEN r.is_readable THEN (SELECT jsonb_object_agg(k.key, k.value -> 'new') FROM jsonb_each(p.row_data) k) END AS row_data
  FROM eventsource.snapshot p
  LEFT JOIN eventsource.stream s ON s.id = p.stream
  LEFT JOIN eventsource.word c ON c.id = (p.stream >> 40)::integer
  LEFT JOIN eventsource.word t ON t.id = p.state
  -- A row holds personal fields as they are, so it is for who may read the table.
  LEFT JOIN (SELECT o.projection, o.category,
					bool_and(has_table_privilege(o.target, 'SELECT') AND NOT row_security_active(o.target)) AS is_readable
			   FROM (SELECT d.name COLLATE "C" AS projection, NULL AS category, d.target FROM eventsource.projection_definitions() d
					 UNION ALL
					 SELECT '' AS projection, l.category, l.target FROM eventsource.list_tracked_tables() l) o
			  GROUP BY o.projection, o.category) r
	ON r.projection = p.target AND (r.category IS NULL OR r.category = c.word)
 WHERE eventsource.may_read_stream(p.stream);
COMMENT ON VIEW eventsource.snapshots IS
	'What streams had come to at some of their versions, as set_snapshot_policy has it taken. Used by as_of by key and replay where it says the same as a replay of all events would; nothing depends on it.';
COMMENT ON COLUMN eventsource.snapshots.stream IS 'Stream name.';
COMMENT ON COLUMN eventsource.snapshots.category IS 'Its category.';
COMMENT ON COLUMN eventsource.snapshots.projection IS 'Name of the projection whose row it is; NULL: the tracked table''s row, or the state alone.';
COMMENT ON COLUMN eventsource.snapshots.version IS 'Version of the stream at the snapshot.';
COMMENT ON COLUMN eventsource.snapshots.position IS 'Place in the log of that event.';
COMMENT ON COLUMN eventsource.snapshots.recorded_at IS 'When that event was recorded.';
COMMENT ON COLUMN eventsource.snapshots.occurred_at IS 'When it happened, but never before the events before it.';
COMMENT ON COLUMN eventsource.snapshots.events IS 'How many events it stands for.';
COMMENT ON COLUMN eventsource.snapshots.state IS 'State of the stream; NULL without a state machine.';
COMMENT ON COLUMN eventsource.snapshots.row_data IS
	'The row, without columns that are null, for who may read the table; NULL: there was none, or you may not.';
