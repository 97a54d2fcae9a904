-- Subscriptions: who follows the log, how far each has come, and what failed.

-- Progress, a row per partition of a subscription, written again and again: narrow
-- but for the error of an event that is failing. position: all up to here is done
-- with. delivered: the last event that is lent to consumer until lease_until (0:
-- none); scanned: where position will be then; lane: 0, or the parked event whose
-- lane is lent; is_begun: some of what was lent is done with.
CREATE TABLE eventsource.subscription_cursor (
	subscription text        COLLATE "C" NOT NULL,
	partition    integer     NOT NULL,
	position     bigint      NOT NULL,
	failing      bigint      NOT NULL,
	attempts     integer     NOT NULL,
	single_upto  bigint      NOT NULL,
	retry_at     timestamptz NOT NULL,
	lane         bigint      NOT NULL,
	delivered    bigint      NOT NULL,
	scanned      bigint      NOT NULL,
	is_begun     boolean     NOT NULL,
	lease_until  timestamptz NOT NULL,
	served_at    timestamptz NOT NULL,
	session      bigint      NOT NULL,
	consumer     text        COLLATE "C",
	error        text,
	CONSTRAINT subscription_cursor_pkey PRIMARY KEY (subscription, partition)
) USING heap WITH (fillfactor = 50, vacuum_truncate = false);

-- Events that failed too often. origin: the one that was parked first; position,
-- version: how far the lane behind it has come; is_holding: later events of its
-- stream are in the lane too; is_idle: poll need not look at it.
CREATE TABLE eventsource.subscription_parked (
	subscription text        COLLATE "C" NOT NULL,
	partition    integer     NOT NULL,
	is_idle      boolean     NOT NULL,
	origin       bigint      NOT NULL,
	is_parked    boolean     NOT NULL,
	is_holding   boolean     NOT NULL,
	position     bigint      NOT NULL,
	failing      bigint      NOT NULL,
	attempts     integer     NOT NULL,
	single_upto  bigint      NOT NULL,
	retry_at     timestamptz NOT NULL,
	stream       bigint      NOT NULL,
	version      bigint      NOT NULL,
	parked_at    timestamptz NOT NULL,
	error        text,
	CONSTRAINT subscription_parked_pkey PRIMARY KEY (subscription, partition, is_idle, origin)
) USING heap;

COMMENT ON TABLE eventsource.subscription_cursor IS 'Private: progress of subscriptions. Read the view eventsource.subscription_partitions.';
COMMENT ON TABLE eventsource.subscription_parked IS 'Private: events that failed too often. Read the view eventsource.parked_events.';
SELECT pg_catalog.pg_extension_config_dump('eventsource.subscription_cursor', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.subscription_parked', '');

CREATE FUNCTION eventsource.create_subscription(
	name text, category text[] DEFAULT NULL, filter text DEFAULT NULL, from_position bigint DEFAULT 0,
	partitions integer DEFAULT 1, max_attempts integer DEFAULT 5, retry_delay interval DEFAULT '0',
	on_poison text DEFAULT 'hold', consumers regrole DEFAULT NULL, max_lag interval DEFAULT '1 minute')
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_create_subscription' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.create_subscription(text, text[], text, bigint, integer, integer, interval, text, regrole, interval) IS
	'Defines who gets which events, in order, each until it is acknowledged. category: NULL for all. filter: expression over event, with your rights. from_position: after which it begins (0: with the first event, NULL: with the next). partitions: in so many parts, by stream, can consumers share the work. An event that failed max_attempts times is parked, retry_delay after each failure at the earliest; on_poison: hold (later events of its stream wait) or pass. consumers: the role whose members may poll, besides yours. max_lag: what eventsource.health() allows. Again for the same name: a new version that goes on where it is; partitions stay. Returns the version of the definition. Errors: ZE011 lists every problem; 42501 unless you have the rights of the owner; 55000 for other partitions.';

CREATE FUNCTION eventsource.drop_subscription(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_drop_subscription' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.drop_subscription(text) IS
	'Ends a subscription and forgets its progress and its parked events. Waits for transactions that poll or acknowledge. Errors: 42704 unknown, 42501 unless you have the rights of the owner.';

CREATE FUNCTION eventsource.reset_subscription(name text, event_position bigint DEFAULT 0) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_reset_subscription' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.reset_subscription(text, bigint) IS
	'Starts over after a position (NULL: after the watermark), at most the last one drawn: leases, failures and parked events are forgotten. Waits for transactions that poll or acknowledge; recorded as an event. Errors: 42704 unknown, 42501 unless you have the rights of the owner, 22023.';

CREATE FUNCTION eventsource.poll(
	name text, max_count integer DEFAULT 100, consumer text DEFAULT NULL,
	lease interval DEFAULT '30 seconds', partition integer DEFAULT NULL)
	RETURNS SETOF eventsource.events
	AS 'MODULE_PATHNAME', 'eventsource_poll' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.poll(text, integer, text, interval, integer) IS
	'The next events of one partition (NULL: the least recently served one that has some and is free), in order of position, at most max_count. They are lent to the consumer (NULL: this session) until it acknowledges, or to the end of the lease: until then no other consumer gets events of the partition, and the same consumer gets these again (those of them that it did not acknowledge; events that were redriven meanwhile come first then). An event that the filter fails on ends the batch before it, and is an error when it is next. No rows: nothing to deliver, or others are at it, or were after this statement began. Errors: 40001 if another consumer was at it after the snapshot of this transaction (REPEATABLE READ), 42704 unknown subscription, 42501 unless you are its owner or a consumer, 22023.';

CREATE FUNCTION eventsource.ack(name text, event_position bigint, consumer text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_ack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.ack(text, bigint, text) IS
	'Acknowledges what poll delivered, up to and with this event; in the transaction of the consumer''s own writes it makes each count once. Errors: 55000 if it is no longer lent to the consumer (the lease went to another, or it was acknowledged), 22023 if it was not delivered, 42704, 42501.';

CREATE FUNCTION eventsource.nack(name text, event_position bigint, error text DEFAULT NULL, consumer text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_nack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.nack(text, bigint, text, text) IS
	'Says that this event failed, and why: gives back what was delivered and is not acknowledged, and counts an attempt. Also for a consumer whose transaction, with the poll in it, was rolled back. Errors: 55000 if the event is lent to another consumer or not waiting any more, P0002 no such event, 22023 if it was not delivered, 42704, 42501.';

CREATE FUNCTION eventsource.redrive(subscription text, event_position bigint) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_redrive' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.redrive(text, bigint) IS
	'Has poll deliver a parked event again, with as many attempts as before, and then, where it held its stream, the events that wait behind it, in order and before newer ones. Recorded as an event. Errors: 55000 if it is not parked, P0002 no such event, 42704, 42501.';

CREATE FUNCTION eventsource.discard(subscription text, event_position bigint, reason text) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_discard' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.discard(text, bigint, text) IS
	'Gives up a parked event: where it held its stream, poll goes on with the events that wait behind it. Recorded as an event, with the reason. Errors: 55000 if it is not parked, P0002 no such event, 22004 without a reason, 22023 with an empty one, 42704, 42501.';

CREATE FUNCTION eventsource.wait_for_events(
	name text, timeout interval DEFAULT '10 seconds', consumer text DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_wait_for_events' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.wait_for_events(text, interval, text) IS
	'True as soon as poll has something to do for the consumer (NULL: this session), false if that is not so within timeout (at least once it looks); of a partition one session is told, and then nobody for 10 to 50 ms (the longer, the more is appended; unless hundreds wait, or this is the last look), so that under load it takes many at a time. Costs appenders nothing measurable. Its statement keeps its snapshot meanwhile. Errors: that of the filter, where poll would raise it; 42704 unknown subscription, 42501 unless you are its owner or a consumer, 25006 on a standby.';

CREATE FUNCTION eventsource.subscription_definitions()
	RETURNS TABLE (name text, version bigint, event_position bigint, definition jsonb)
	AS 'MODULE_PATHNAME', 'eventsource_subscription_definitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.subscription_definitions() IS
	'Private, for views: the current definition of each subscription.';

CREATE FUNCTION eventsource.subscription_pending(name text, partition integer,
	OUT event_position bigint, OUT recorded_at timestamptz, OUT error text)
	AS 'MODULE_PATHNAME', 'eventsource_subscription_pending' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.subscription_pending(text, integer) IS
	'Private, for views: the first event that a partition of a subscription has not dealt with.';

CREATE FUNCTION eventsource.may_read_subscription(name text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_may_read_subscription' LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	SUPPORT eventsource.may_read_support;
COMMENT ON FUNCTION eventsource.may_read_subscription(text) IS
	'Private, for views: may the current user read the categories of this subscription?';

CREATE VIEW eventsource.subscription_partitions AS
SELECT c.subscription,
	   c.partition,
	   c.position,
	   p.event_position AS pending_position,
	   p.recorded_at AS pending_since,
	   c.consumer,
	   CASE WHEN c.delivered <> 0 THEN c.delivered END AS lent_upto,
	   CASE WHEN c.delivered <> 0 THEN c.lease_until END AS lease_until,
	   CASE WHEN isfinite(c.served_at) THEN c.served_at END AS served_at,
	   CASE WHEN c.failing <> 0 THEN c.failing END AS failing_position,
	   c.attempts,
	   CASE WHEN isfinite(c.retry_at) THEN c.retry_at END AS retry_at,
	   coalesce(c.error, p.error) AS error
  FROM eventsource.subscription_cursor c
 CROSS JOIN LATERAL eventsource.subscription_pending(c.subscription, c.partition) p
 WHERE eventsource.may_read_subscription(c.subscription);
COMMENT ON VIEW eventsource.subscription_partitions IS
	'How far each partition of each subscription has come, who is at it, and what fails there.';
COMMENT ON COLUMN eventsource.subscription_partitions.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN eventsource.subscription_partitions.partition IS 'Number of the partition, from 0; a stream is always in the same one.';
COMMENT ON COLUMN eventsource.subscription_partitions.position IS 'Everything up to here is dealt with, but what is parked or waits behind that.';
COMMENT ON COLUMN eventsource.subscription_partitions.pending_position IS 'Its next event; NULL if it has none.';
COMMENT ON COLUMN eventsource.subscription_partitions.pending_since IS 'When that was recorded.';
COMMENT ON COLUMN eventsource.subscription_partitions.consumer IS 'Who has been lent events; NULL: nobody.';
COMMENT ON COLUMN eventsource.subscription_partitions.lent_upto IS 'The last of those events.';
COMMENT ON COLUMN eventsource.subscription_partitions.lease_until IS 'When another consumer may take over.';
COMMENT ON COLUMN eventsource.subscription_partitions.served_at IS 'When events were lent last; NULL: never.';
COMMENT ON COLUMN eventsource.subscription_partitions.failing_position IS 'The event that failed last and is not dealt with; NULL: none.';
COMMENT ON COLUMN eventsource.subscription_partitions.attempts IS 'How often that failed.';
COMMENT ON COLUMN eventsource.subscription_partitions.retry_at IS 'Nothing is delivered before; NULL: at once.';
COMMENT ON COLUMN eventsource.subscription_partitions.error IS 'What was said about it, or how the filter fails on the next event.';

CREATE VIEW eventsource.parked_events AS
SELECT p.subscription,
	   p.partition,
	   CASE WHEN p.is_parked THEN 'parked' ELSE 'redriven' END AS state,
	   p.is_holding AS is_stream_held,
	   p.attempts,
	   p.error,
	   p.parked_at,
	   e.position, e.stream, e.category, e.key, e.subject, e.version, e.type, e.schema_version,
	   e.data, e.metadata, e.actor, e.recorded_by, e.reason, e.from_state, e.to_state, e.is_synthetic,
	   e.occurred_at, e.recorded_at
  FROM eventsource.subscription_parked p
  JOIN eventsource.events e ON e.position = CASE p.failing WHEN 0 THEN p.origin ELSE p.failing END
 WHERE eventsource.may_read_stream(p.stream);
COMMENT ON VIEW eventsource.parked_events IS
	'The dead letters: events that failed max_attempts times, with the columns of eventsource.events. See redrive and discard.';
COMMENT ON COLUMN eventsource.parked_events.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN eventsource.parked_events.partition IS 'Its partition.';
COMMENT ON COLUMN eventsource.parked_events.state IS 'parked, or redriven: on its way again, with what waits behind it.';
COMMENT ON COLUMN eventsource.parked_events.is_stream_held IS 'True if the later events of its stream wait for it.';
COMMENT ON COLUMN eventsource.parked_events.attempts IS 'How often it failed, since it was redriven last.';
COMMENT ON COLUMN eventsource.parked_events.error IS 'What was said last.';
COMMENT ON COLUMN eventsource.parked_events.parked_at IS 'When it was parked last.';

CREATE VIEW eventsource.subscriptions AS
SELECT d.name,
	   CASE WHEN d.definition ? 'category' THEN ARRAY(SELECT jsonb_array_elements_text(d.definition -> 'category')) END AS category,
	   d.definition ->> 'filter' AS filter,
	   c.position,
	   w.watermark,
	   CASE WHEN c.pending_since IS NULL AND c.error IS NULL THEN 0 ELSE greatest(w.watermark - c.position, 0) END AS lag,
	   coalesce(greatest(extract(epoch FROM clock_timestamp() - c.pending_since), 0), 0)::double precision AS lag_seconds,
	   (SELECT count(*) FROM eventsource.subscription_parked p WHERE p.subscription = d.name AND p.is_parked) AS parked,
	   (d.definition ->> 'max_lag')::bigint * interval '1 microsecond' AS max_lag,
	   (d.definition ->> 'partitions')::integer AS partitions,
	   (d.definition ->> 'max_attempts')::integer AS max_attempts,
	   (d.definition ->> 'retry_delay')::bigint * interval '1 microsecond' AS retry_delay,
	   d.definition ->> 'on_poison' AS on_poison,
	   d.definition ->> 'consumers' AS consumers,
	   d.definition ->> 'owner' AS owner,
	   d.version,
	   e.recorded_at AS defined_at,
	   c.error
  FROM eventsource.subscription_definitions() d
 CROSS JOIN (SELECT eventsource.watermark() AS watermark) w
 CROSS JOIN LATERAL (
		SELECT min(s.position) AS position, min(p.recorded_at) AS pending_since, max(coalesce(p.error, s.error)) AS error
		  FROM eventsource.subscription_cursor s
		 CROSS JOIN LATERAL eventsource.subscription_pending(s.subscription, s.partition) p
		 WHERE s.subscription = d.name) c
  LEFT JOIN eventsource.event e ON e.position = d.event_position
 WHERE eventsource.may_read_subscription(d.name);
COMMENT ON VIEW eventsource.subscriptions IS
	'The subscriptions, one row each, as they are defined now, and how far they have come.';
COMMENT ON COLUMN eventsource.subscriptions.name IS 'Name.';
COMMENT ON COLUMN eventsource.subscriptions.category IS 'Categories whose events it gets; NULL: all.';
COMMENT ON COLUMN eventsource.subscriptions.filter IS 'Expression that holds for the events it gets; NULL: all.';
COMMENT ON COLUMN eventsource.subscriptions.position IS 'Everything up to here is dealt with, in the partition that is behind the others.';
COMMENT ON COLUMN eventsource.subscriptions.watermark IS 'Up to where the log is final.';
COMMENT ON COLUMN eventsource.subscriptions.lag IS 'Positions between the two; 0 if none of them is an event for it.';
COMMENT ON COLUMN eventsource.subscriptions.lag_seconds IS 'Age in seconds of the oldest event that it has not dealt with; 0 if there is none.';
COMMENT ON COLUMN eventsource.subscriptions.parked IS 'Parked events.';
COMMENT ON COLUMN eventsource.subscriptions.max_lag IS 'Lag that eventsource.health() allows.';
COMMENT ON COLUMN eventsource.subscriptions.partitions IS 'In so many parts can consumers share the work.';
COMMENT ON COLUMN eventsource.subscriptions.max_attempts IS 'How often an event may fail before it is parked.';
COMMENT ON COLUMN eventsource.subscriptions.retry_delay IS 'How long after a failure nothing is delivered.';
COMMENT ON COLUMN eventsource.subscriptions.on_poison IS 'What later events of a parked event''s stream do: hold or pass.';
COMMENT ON COLUMN eventsource.subscriptions.consumers IS 'Role whose members may poll, besides the owner; NULL: none.';
COMMENT ON COLUMN eventsource.subscriptions.owner IS 'Role that defined it, whose rights its filter has.';
COMMENT ON COLUMN eventsource.subscriptions.version IS 'Version of the definition; a dropped one counts too.';
COMMENT ON COLUMN eventsource.subscriptions.defined_at IS 'When this version was defined.';
COMMENT ON COLUMN eventsource.subscriptions.error IS 'An error of an event that is failing, or of the filter; NULL: none.';
