-- What users read of the log.

CREATE FUNCTION eventsource.occurred_at(recorded_at timestamptz, extra bytea) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'eventsource_occurred_at' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.occurred_at(timestamptz, bytea) IS
	'Private, for views: business time of a row of the log.';

-- Upcasters (58_upcast.sql). While there is none, has_upcaster() is planned away.
CREATE FUNCTION eventsource.has_upcaster_support(request internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'eventsource_has_upcaster_support' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.has_upcaster_support(internal) IS
	'Private, for the planner: whether there is any upcaster.';

CREATE FUNCTION eventsource.has_upcaster(stream bigint, type integer, schema_version smallint, flags smallint)
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_has_upcaster' LANGUAGE C STABLE STRICT PARALLEL SAFE
	SUPPORT eventsource.has_upcaster_support;
COMMENT ON FUNCTION eventsource.has_upcaster(bigint, integer, smallint, smallint) IS
	'Private, for views: is data of this row of the log read through an upcaster?';

CREATE FUNCTION eventsource.read_data(
	event_position bigint, stream bigint, version bigint, type integer, schema_version smallint, flags smallint, data jsonb, metadata jsonb,
	actor integer, recorded_by integer, recorded_at timestamptz, extra bytea) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'eventsource_read_data' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION eventsource.read_data(bigint, bigint, bigint, integer, smallint, smallint, jsonb, jsonb, integer, integer, timestamptz, bytea) IS
	'Private, for views: data of a row of the log with its personal fields, as far as you may see them, and as its upcasters make it.';

CREATE VIEW eventsource.events AS
SELECT e.position,
	   s.name AS stream,
	   c.word AS category,
	   substr(s.name, length(c.word) + 2) AS key,
	   CASE e.subject WHEN '' THEN s.name ELSE e.subject END AS subject,
	   e.version,
	   t.word AS type,
	   e.schema_version::integer AS schema_version,
	   CASE WHEN eventsource.has_upcaster(e.stream, e.type, e.schema_version, e.flags) OR octet_length(e.extra) > 8
			THEN eventsource.read_data(e.position, e.stream, e.version, e.type, e.schema_version, e.flags, e.data,
									   e.metadata, e.actor, e.recorded_by, e.recorded_at, e.extra)
			ELSE e.data END AS data,
	   e.metadata,
	   a.word AS actor,
	   b.word AS recorded_by,
	   r.word AS reason,
	   f.word AS from_state,
	   o.word AS to_state,
	   (e.flags & 1) <> 0 AS is_synthetic,
	   eventsource.occurred_at(e.recorded_at, e.extra) AS occurred_at,
	   e.recorded_at,
	   e.hash,
	   i.key AS idempotency_key,
	   eventsource.has_upcaster(e.stream, e.type, e.schema_version, e.flags) AS is_upcast
  FROM eventsource.event e
  LEFT JOIN eventsource.stream s ON s.id = e.stream
  LEFT JOIN eventsource.word c ON c.id = (e.stream >> 40)::integer
  LEFT JOIN eventsource.word t ON t.id = e.type
  LEFT JOIN eventsource.word a ON a.id = e.actor
  LEFT JOIN eventsource.word b ON b.id = e.recorded_by
  LEFT JOIN eventsource.word r ON r.id = e.reason
  LEFT JOIN eventsource.word f ON f.id = e.from_state
  LEFT JOIN eventsource.word o ON o.id = e.to_state
  LEFT JOIN eventsource.idempotency i ON i.stream = e.stream AND i.version = e.version
 WHERE eventsource.may_read_stream(e.stream);

COMMENT ON VIEW eventsource.events IS
	'The log, one row per event; order by position (whole log) or version (one stream), never by a clock. INSERT and COPY into it append. UPDATE and DELETE are refused (ZE001).';
COMMENT ON COLUMN eventsource.events.position IS 'Place in the log, growing, with gaps.';
COMMENT ON COLUMN eventsource.events.stream IS 'Stream name: category-key.';
COMMENT ON COLUMN eventsource.events.category IS 'What stands before the first hyphen of the stream name.';
COMMENT ON COLUMN eventsource.events.key IS 'What stands after it.';
COMMENT ON COLUMN eventsource.events.subject IS 'Whom the event is about; the stream unless the category says otherwise.';
COMMENT ON COLUMN eventsource.events.version IS 'Place in the stream: 1, 2, 3 ... In an INSERT: expected version of the stream + 1.';
COMMENT ON COLUMN eventsource.events.type IS 'Event type: what happened; the trigger of a transition.';
COMMENT ON COLUMN eventsource.events.schema_version IS 'Version of the type''s schema that data was written under, whatever it was upcast to.';
COMMENT ON COLUMN eventsource.events.data IS
	'Payload; personal fields masked for who may not see them; where upcasters are for its version, as they make it.';
COMMENT ON COLUMN eventsource.events.metadata IS 'correlation_id, causation_id and what the caller adds.';
COMMENT ON COLUMN eventsource.events.actor IS 'Who did it, as the application says.';
COMMENT ON COLUMN eventsource.events.recorded_by IS
	'Database role of the session that appended, or that defined the handler that did; not to be forged.';
COMMENT ON COLUMN eventsource.events.reason IS 'Reason code: why.';
COMMENT ON COLUMN eventsource.events.from_state IS 'State of the stream before the event; NULL without a state machine, or at its start.';
COMMENT ON COLUMN eventsource.events.to_state IS 'State of the stream after the event; NULL without a state machine.';
COMMENT ON COLUMN eventsource.events.is_synthetic IS 'True if made up from older data rather than recorded when it happened.';
COMMENT ON COLUMN eventsource.events.occurred_at IS 'When it happened, as the caller says; default recorded_at.';
COMMENT ON COLUMN eventsource.events.recorded_at IS 'When it was appended; never decreasing within a stream.';
COMMENT ON COLUMN eventsource.events.hash IS 'Chain hash: SHA-256 over the event and the hash of the one before it in the stream.';
COMMENT ON COLUMN eventsource.events.idempotency_key IS 'Key under which a repeated append returns this event; NULL if none, or no longer kept.';
COMMENT ON COLUMN eventsource.events.is_upcast IS 'True if data is not as stored, but what upcasters make of it: derived, not recorded.';

CREATE FUNCTION eventsource.append_row() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eventsource_append_row' LANGUAGE C;
COMMENT ON FUNCTION eventsource.append_row() IS
	'Trigger of the view eventsource.events: an INSERT appends, UPDATE and DELETE are refused (ZE001).';

CREATE TRIGGER append_row INSTEAD OF INSERT OR UPDATE OR DELETE ON eventsource.events
	FOR EACH ROW EXECUTE FUNCTION eventsource.append_row();
CREATE TRIGGER append_statement AFTER INSERT ON eventsource.events
	FOR EACH STATEMENT EXECUTE FUNCTION eventsource.append_row();
CREATE TRIGGER refuse_statement BEFORE UPDATE OR DELETE ON eventsource.events
	FOR EACH STATEMENT EXECUTE FUNCTION eventsource.append_row();

-- A view's triggers cannot be made ALWAYS, so that under
-- session_replication_role = replica an INSERT would be lost without a word; the
-- default of a column that no INSERT may give is evaluated all the same.
CREATE FUNCTION eventsource.position_by_trigger() RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_position_by_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.position_by_trigger() IS
	'Private, default of events.position: NULL, or an error where the view''s triggers do not fire (session_replication_role = replica).';
ALTER VIEW eventsource.events ALTER COLUMN position SET DEFAULT eventsource.position_by_trigger();

CREATE FUNCTION eventsource.stream_head(stream_id bigint,
	OUT version bigint, OUT event_position bigint, OUT state text, OUT recorded_at timestamptz)
	AS 'MODULE_PATHNAME', 'eventsource_stream_head' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.stream_head(bigint) IS
	'Private, for views: last event of the stream with this id.';

CREATE VIEW eventsource.streams AS
SELECT s.name AS stream,
	   c.word AS category,
	   substr(s.name, length(c.word) + 2) AS key,
	   h.version,
	   h.state,
	   s.first_position,
	   h.event_position AS last_position,
	   h.recorded_at AS last_recorded_at
  FROM eventsource.stream s
  LEFT JOIN eventsource.word c ON c.id = (s.id >> 40)::integer
 CROSS JOIN LATERAL eventsource.stream_head(s.id) h
 WHERE eventsource.may_read_stream(s.id);
COMMENT ON VIEW eventsource.streams IS
	'One row per stream: its version, state and last event.';
COMMENT ON COLUMN eventsource.streams.stream IS 'Stream name.';
COMMENT ON COLUMN eventsource.streams.category IS 'Category of the stream.';
COMMENT ON COLUMN eventsource.streams.key IS 'Key of the stream within its category.';
COMMENT ON COLUMN eventsource.streams.version IS 'Version of its last event.';
COMMENT ON COLUMN eventsource.streams.state IS 'Current state; NULL without a state machine.';
COMMENT ON COLUMN eventsource.streams.first_position IS 'Position of its first event.';
COMMENT ON COLUMN eventsource.streams.last_position IS 'Position of its last event.';
COMMENT ON COLUMN eventsource.streams.last_recorded_at IS 'When its last event was recorded.';

-- Chains of causes: who follows from whom.
CREATE VIEW eventsource.correlations AS
SELECT e.metadata ->> 'correlation_id' AS correlation_id,
	   e.position, e.stream, e.version, e.type, e.actor, e.occurred_at,
	   e.metadata ->> 'causation_id' AS causation_id
  FROM eventsource.events e
 WHERE e.metadata ? 'correlation_id';
COMMENT ON VIEW eventsource.correlations IS
	'Events that belong together: those with a correlation_id in their metadata. Filter on it.';

CREATE VIEW eventsource.causations AS
SELECT c.position AS cause_position, c.stream AS cause_stream, c.type AS cause_type,
	   e.position AS effect_position, e.stream AS effect_stream, e.type AS effect_type,
	   e.metadata ->> 'correlation_id' AS correlation_id
  FROM eventsource.events e
  JOIN eventsource.events c
	ON c.position = CASE WHEN e.metadata ->> 'causation_id' ~ '^[0-9]{1,18}$'
						 THEN (e.metadata ->> 'causation_id')::bigint END;
COMMENT ON VIEW eventsource.causations IS
	'Cause and effect: events whose causation_id is the position of another event. Filter on cause_position to go forward, on effect_position to go back.';

-- Long work under way.
CREATE FUNCTION eventsource.progress_reports()
	RETURNS TABLE (pid integer, role oid, what text, done bigint, total bigint, started_at timestamptz)
	AS 'MODULE_PATHNAME', 'eventsource_progress_reports' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION eventsource.progress_reports() IS
	'Private, for views: long work that sessions of this database are at.';

CREATE VIEW eventsource.progress AS
SELECT p.pid,
	   pg_catalog.pg_get_userbyid(p.role) AS role,
	   p.what, p.done, p.total,
	   round(100.0 * p.done / nullif(p.total, 0), 1) AS percent,
	   p.started_at,
	   round(p.done / r.seconds, 1) AS rate,
	   p.started_at + make_interval(secs => (r.seconds * p.total / nullif(p.done, 0))::double precision) AS eta
  FROM eventsource.progress_reports() p,
	   LATERAL (SELECT greatest(extract(epoch FROM clock_timestamp() - p.started_at), 0.001) AS seconds) r;
COMMENT ON VIEW eventsource.progress IS
	'Long work of eventsource that sessions of this database are at now, one row each. The work itself is not yet committed. What it is and how far it has come is shown to members of the session''s role and of pg_read_all_stats; nothing is shown of sessions whose track_activities is off.';
COMMENT ON COLUMN eventsource.progress.pid IS 'Process of the session, as in pg_stat_activity.';
COMMENT ON COLUMN eventsource.progress.role IS 'Role that the session was opened by.';
COMMENT ON COLUMN eventsource.progress.what IS 'What is done, and to which table or category; NULL: not yours to see.';
COMMENT ON COLUMN eventsource.progress.done IS 'Units (rows or events) done so far, give or take a hundred.';
COMMENT ON COLUMN eventsource.progress.total IS 'Units there are in all; NULL while that is not known.';
COMMENT ON COLUMN eventsource.progress.percent IS 'Part that is done.';
COMMENT ON COLUMN eventsource.progress.started_at IS 'When it began.';
COMMENT ON COLUMN eventsource.progress.rate IS 'Units per second since then.';
COMMENT ON COLUMN eventsource.progress.eta IS 'When it will be done at that rate; NULL while nothing is done or the total is not known.';
