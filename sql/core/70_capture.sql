-- Tables under capture: their changes become events.

CREATE FUNCTION eventsource.capture() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eventsource_capture' LANGUAGE C;
COMMENT ON FUNCTION eventsource.capture() IS
	'Trigger of tracked tables: turns INSERT, UPDATE, DELETE and TRUNCATE into events. track_table() puts it on a table; it does nothing for a table that no definition names.';

CREATE FUNCTION eventsource.track_table(
	target regclass, category text, key text DEFAULT NULL,
	state_column name DEFAULT NULL, state_machine text DEFAULT NULL, states jsonb DEFAULT NULL,
	event_types jsonb DEFAULT NULL, reason_column name DEFAULT NULL, actor_column name DEFAULT NULL,
	columns name[] DEFAULT NULL, ignore name[] DEFAULT NULL, on_violation text DEFAULT 'refuse',
	pii jsonb DEFAULT NULL, subject text DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_track_table' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.track_table(regclass, text, text, name, text, jsonb, jsonb, name, name, name[], name[], text, jsonb, text) IS
	'Puts a table under event sourcing: from now on each change of a row is an event of the stream category-key. Returns the version of the definition; a second call changes it. key: the column, or ''a, b'', that tells rows apart (default: the primary key). state_column, state_machine: changes of that column are transitions of that machine; states: {"word of the table": "STATE"}; event_types: {"column": "event type"} and {"OLD->NEW": "event type"}. reason_column, actor_column: say why and who, else the settings eventsource.reason and eventsource.actor do. columns, ignore: what is captured (default: all). on_violation: ''refuse'' (the change fails) or ''record''. pii: personal columns, as {"email": "hash"}, with the strategies of register_event_type(); a column that is not text can have the strategy null alone, an address mask_ip, too; left out, it stays as it was. subject: whom a row is about, a column or an expression over row (default: as the category says, else the stream). For the table''s owner with the rights of an admin. Errors: ZE011, with all problems listed; 42501.';

CREATE FUNCTION eventsource.untrack_table(target regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_untrack_table' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.untrack_table(regclass) IS
	'Ends the capture of a table; what was captured stays. track_table() takes it up again. For the table''s owner with the rights of an admin. Errors: 42809, 42501.';

CREATE FUNCTION eventsource.list_tracked_tables()
	RETURNS TABLE (target regclass, category text, key name[], state_column name, state_machine text,
				   reason_column name, actor_column name, columns name[], on_violation text,
				   owner name, tracked_since timestamptz, personal_columns name[])
	AS 'MODULE_PATHNAME', 'eventsource_list_tracked_tables' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.list_tracked_tables() IS
	'Private, for the view tracked_tables.';

CREATE VIEW eventsource.tracked_tables AS
SELECT t.target, t.category, t.key, t.state_column, t.state_machine, t.reason_column, t.actor_column,
	   t.columns, t.on_violation, t.owner, t.tracked_since, t.personal_columns
  FROM eventsource.list_tracked_tables() t;
COMMENT ON VIEW eventsource.tracked_tables IS 'Tables whose changes become events, as they are now.';
COMMENT ON COLUMN eventsource.tracked_tables.target IS 'The table.';
COMMENT ON COLUMN eventsource.tracked_tables.category IS 'Category of its streams: a row is the stream category-key.';
COMMENT ON COLUMN eventsource.tracked_tables.key IS 'Columns that make the key.';
COMMENT ON COLUMN eventsource.tracked_tables.state_column IS 'Column that holds the state; NULL: none.';
COMMENT ON COLUMN eventsource.tracked_tables.state_machine IS 'State machine that the category follows; NULL: none.';
COMMENT ON COLUMN eventsource.tracked_tables.reason_column IS 'Column that says why; NULL: none.';
COMMENT ON COLUMN eventsource.tracked_tables.actor_column IS 'Column that says who; NULL: none.';
COMMENT ON COLUMN eventsource.tracked_tables.columns IS 'Columns that are captured.';
COMMENT ON COLUMN eventsource.tracked_tables.on_violation IS 'refuse: a change that the machine forbids fails; record: it is recorded.';
COMMENT ON COLUMN eventsource.tracked_tables.owner IS 'Owner of the table.';
COMMENT ON COLUMN eventsource.tracked_tables.tracked_since IS 'When track_table() was called first, or again after untrack_table().';
COMMENT ON COLUMN eventsource.tracked_tables.personal_columns IS 'Columns whose values are personal in events from now on.';

CREATE VIEW eventsource.violations AS
SELECT e.position, e.stream, e.category, e.key, e.version, e.type, e.from_state, e.to_state,
	   e.metadata #>> '{violation,sqlstate}' AS sqlstate,
	   e.metadata #>> '{violation,message}' AS message,
	   e.data, e.actor, e.recorded_by, e.reason, e.occurred_at, e.recorded_at
  FROM eventsource.events e
  JOIN eventsource.event x ON x.position = e.position
 WHERE (x.flags & 8) <> 0;
COMMENT ON VIEW eventsource.violations IS
	'Changes of tracked tables that their state machine forbids, recorded because on_violation says so. Order by position.';
COMMENT ON COLUMN eventsource.violations.position IS 'Place of the event in the log.';
COMMENT ON COLUMN eventsource.violations.stream IS 'Stream name.';
COMMENT ON COLUMN eventsource.violations.category IS 'Category of the stream.';
COMMENT ON COLUMN eventsource.violations.key IS 'Key of the row.';
COMMENT ON COLUMN eventsource.violations.version IS 'Place of the event in the stream.';
COMMENT ON COLUMN eventsource.violations.type IS 'Event type.';
COMMENT ON COLUMN eventsource.violations.from_state IS 'State before.';
COMMENT ON COLUMN eventsource.violations.to_state IS 'State that was entered all the same.';
COMMENT ON COLUMN eventsource.violations.sqlstate IS 'Error that would have been raised.';
COMMENT ON COLUMN eventsource.violations.message IS 'Its message.';
COMMENT ON COLUMN eventsource.violations.data IS 'What was changed.';
COMMENT ON COLUMN eventsource.violations.actor IS 'Who did it.';
COMMENT ON COLUMN eventsource.violations.recorded_by IS 'Database role of the session.';
COMMENT ON COLUMN eventsource.violations.reason IS 'Reason code.';
COMMENT ON COLUMN eventsource.violations.occurred_at IS 'When it happened.';
COMMENT ON COLUMN eventsource.violations.recorded_at IS 'When it was recorded.';
