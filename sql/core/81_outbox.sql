-- The outside: events as rows that Debezium's outbox event router knows, as
-- CloudEvents, and as messages in the WAL for who decodes it.

CREATE FUNCTION eventsource.event_id(event_position bigint) RETURNS uuid
	AS 'MODULE_PATHNAME', 'eventsource_event_id' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.event_id(bigint) IS
	'Id of the event at a position, the same for ever and in every copy of the log: a UUID of version 8 whose first half is that of the log''s id and whose second half is the position, so that ids of a log sort as its events do. Whether there is such an event is not looked up. Errors: 22023 for what is no position, 55000 before the log''s first event.';

CREATE FUNCTION eventsource.event_position(id uuid) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_event_position' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.event_position(uuid) IS
	'Position of the event with this id (event_id turned round); NULL if it is none of this log. Whether there is such an event is not looked up. Errors: 55000 before the log''s first event.';

CREATE FUNCTION eventsource.to_cloudevent(event eventsource.events) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'eventsource_to_cloudevent' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.to_cloudevent(eventsource.events) IS
	'An event (a row of eventsource.events, or of the reading functions) as a CloudEvent 1.0 in JSON: id (event_id), source (urn:uuid:, the log''s id, # and the category), type, subject, time (occurred_at, left out where RFC 3339 has no form for it), data as the row has it, dataschema where a schema is registered for its version, and the extensions stream, streamversion, sequence (position with leading zeros), partitionkey (stream), recordedtime, actor, reason, fromstate, tostate, schemaversion, correlationid, causationid, issynthetic. Characters that CloudEvents excludes from attributes become U+FFFD. Errors: 22004 for a row that is no event.';

-- Category by the stream, not by the event: so a category is found by its streams, and
-- they by the index that every segment has.
CREATE VIEW eventsource.outbox AS
SELECT eventsource.event_id(e.position) AS id,
	   c.word AS aggregatetype,
	   substr(s.name, length(c.word) + 2) AS aggregateid,
	   t.word AS type,
	   CASE WHEN eventsource.has_upcaster(e.stream, e.type, e.schema_version, e.flags) OR octet_length(e.extra) > 8
			THEN eventsource.read_data(e.position, e.stream, e.version, e.type, e.schema_version, e.flags, e.data,
									   e.metadata, e.actor, e.recorded_by, e.recorded_at, e.extra)
			ELSE e.data END AS payload,
	   e.position,
	   s.name AS stream,
	   e.version,
	   CASE e.subject WHEN '' THEN s.name ELSE e.subject END AS subject,
	   e.schema_version::integer AS schema_version,
	   e.metadata,
	   a.word AS actor,
	   r.word AS reason,
	   eventsource.occurred_at(e.recorded_at, e.extra) AS occurred_at,
	   e.recorded_at
  FROM eventsource.event e
  LEFT JOIN eventsource.stream s ON s.id = e.stream
  LEFT JOIN eventsource.word c ON c.id = (s.id >> 40)::integer
  LEFT JOIN eventsource.word t ON t.id = e.type
  LEFT JOIN eventsource.word a ON a.id = e.actor
  LEFT JOIN eventsource.word r ON r.id = e.reason
 WHERE eventsource.may_read_stream(e.stream) AND c.word <> '$config';
COMMENT ON VIEW eventsource.outbox IS
	'The events that you may read, but for definitions, with the columns that Debezium''s outbox event router looks for by default; order by position. Conditions on position, stream and aggregatetype reach indexes; one on type does where segments have been given an index of it. Who polls it must stop at the watermark: poll() and read_all() do.';
COMMENT ON COLUMN eventsource.outbox.id IS 'The event''s id: see event_id. To find one: WHERE position = eventsource.event_position(id).';
COMMENT ON COLUMN eventsource.outbox.aggregatetype IS 'Category of its stream.';
COMMENT ON COLUMN eventsource.outbox.aggregateid IS 'Key of its stream: what stands after the category and a hyphen.';
COMMENT ON COLUMN eventsource.outbox.type IS 'Event type.';
COMMENT ON COLUMN eventsource.outbox.payload IS
	'Its data; personal fields masked for who may not see them; as upcasters make it where there are some.';
COMMENT ON COLUMN eventsource.outbox.position IS 'Place in the log, growing, with gaps.';
COMMENT ON COLUMN eventsource.outbox.stream IS 'Stream name: category-key.';
COMMENT ON COLUMN eventsource.outbox.version IS 'Place in the stream: 1, 2, 3 ...';
COMMENT ON COLUMN eventsource.outbox.subject IS 'Whom the event is about.';
COMMENT ON COLUMN eventsource.outbox.schema_version IS 'Version of the type''s schema that data was written under.';
COMMENT ON COLUMN eventsource.outbox.metadata IS 'correlation_id, causation_id and what the caller added.';
COMMENT ON COLUMN eventsource.outbox.actor IS 'Who did it, as the application says.';
COMMENT ON COLUMN eventsource.outbox.reason IS 'Reason code: why.';
COMMENT ON COLUMN eventsource.outbox.occurred_at IS 'When it happened, as the caller says.';
COMMENT ON COLUMN eventsource.outbox.recorded_at IS 'When it was appended.';

-- Publications: each event once, in order, as a logical message.

CREATE FUNCTION eventsource.start_publishing(
	category text[] DEFAULT NULL, filter text DEFAULT NULL, from_position bigint DEFAULT 0,
	prefix text DEFAULT 'eventsource') RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_start_publishing' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.start_publishing(text[], text, bigint, text) IS
	'Has events published for logical decoding: each committed one once, in order of position, as a transactional logical message with this prefix that holds its CloudEvent (see to_cloudevent), by publish() or the worker. category: of these alone (NULL: all, but for definitions). filter: expression over event, which cannot ask for personal fields. from_position: after which it begins (0: with the first event, NULL: with the next). It has your rights: categories that you may read when it runs, personal fields masked unless you may see them. Again for the same prefix: a new version that goes on where the old one stood, also if it was parked. A NOTICE tells where no replication slot is there yet. Returns the version of the definition. Errors: ZE011 lists every problem; 55000 unless wal_level is logical; 42501 unless you may read the categories, and have the rights of who started it before; 22023, 22004.';

CREATE FUNCTION eventsource.stop_publishing(prefix text DEFAULT 'eventsource') RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_stop_publishing' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.stop_publishing(text) IS
	'Ends a publication and forgets where it stood: started again, it begins where it is told to. What is in the WAL stays for who decodes it. Errors: 42704 if there is none of this prefix, 42501 unless you have the rights of who started it, 22004.';

CREATE FUNCTION eventsource.publish(max_events integer DEFAULT 1000, prefix text DEFAULT 'eventsource',
	OUT events bigint, OUT event_position bigint, OUT status text, OUT error text)
	AS 'MODULE_PATHNAME', 'eventsource_publish' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.publish(integer, text) IS
	'Publishes what is left below the watermark, at most max_events events (NULL: all), for the role that started the publication; messages and progress are one with this transaction. events: looked at, those that the filter left out included; event_position: up to where; status: current (nothing is left), behind (it stopped at max_events), parked (it failed at an event and stands still until start_publishing is called again), retry (a lost race: the next call tries again), busy (another session is at it). Errors: 42704 if there is no publication of this prefix, 55000 unless wal_level is logical, 25006 on a standby, 22023, 22004.';

CREATE FUNCTION eventsource.publication_definitions()
	RETURNS TABLE (name text, version bigint, event_position bigint, definition jsonb)
	AS 'MODULE_PATHNAME', 'eventsource_publication_definitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.publication_definitions() IS
	'Private, for views: the current definition of each publication.';

CREATE VIEW eventsource.publications AS
SELECT d.name AS prefix,
	   CASE WHEN d.definition ? 'category' THEN ARRAY(SELECT jsonb_array_elements_text(d.definition -> 'category')) END AS category,
	   d.definition ->> 'filter' AS filter,
	   d.version,
	   d.definition ->> 'owner' AS owner,
	   (SELECT e.recorded_at FROM eventsource.event e WHERE e.position = d.event_position) AS started_at,
	   f.position,
	   f.lag,
	   f.lag_seconds,
	   f.max_lag_seconds,
	   f.status,
	   f.failed_position,
	   f.failed_at,
	   f.sqlstate,
	   f.error,
	   f.detail
  FROM eventsource.publication_definitions() d
  LEFT JOIN eventsource.follower_states() f ON f.name = 'publication.' || d.name;
COMMENT ON VIEW eventsource.publications IS
	'The publications for logical decoding, one row each, as they are defined now, and how far they have come.';
COMMENT ON COLUMN eventsource.publications.prefix IS 'Prefix of its messages.';
COMMENT ON COLUMN eventsource.publications.category IS 'Categories whose events are published; NULL: all.';
COMMENT ON COLUMN eventsource.publications.filter IS 'Expression over event; NULL: every event.';
COMMENT ON COLUMN eventsource.publications.version IS 'Version of the definition; one that was stopped counts too.';
COMMENT ON COLUMN eventsource.publications.owner IS 'Role that started it, whose rights it has.';
COMMENT ON COLUMN eventsource.publications.started_at IS 'When this version was defined.';
COMMENT ON COLUMN eventsource.publications.position IS 'All events up to here are published.';
COMMENT ON COLUMN eventsource.publications.lag IS 'Positions from there to the watermark.';
COMMENT ON COLUMN eventsource.publications.lag_seconds IS 'For how long the first event after that position has been there; 0 if there is none.';
COMMENT ON COLUMN eventsource.publications.max_lag_seconds IS 'Above this it is behind: 60 seconds.';
COMMENT ON COLUMN eventsource.publications.status IS
	'current; behind (lag_seconds is above max_lag_seconds); parked (it failed and stands still until start_publishing is called again).';
COMMENT ON COLUMN eventsource.publications.failed_position IS 'Of a parked one: the event that it failed at; NULL: it could not even begin.';
COMMENT ON COLUMN eventsource.publications.failed_at IS 'Of a parked one: when it failed.';
COMMENT ON COLUMN eventsource.publications.sqlstate IS 'Of a parked one: SQLSTATE of the error.';
COMMENT ON COLUMN eventsource.publications.error IS 'Of a parked one: the error, for who has the rights of its owner.';
COMMENT ON COLUMN eventsource.publications.detail IS 'Of a parked one: DETAIL of the error, likewise.';
