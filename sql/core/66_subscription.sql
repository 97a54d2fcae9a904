-- Subscriptions: who follows the log, how far each has come, and what failed.

-- Progress, a row per partition of a subscription, written again and again: narrow
-- but for the error of an event that is failing. position: all up to here is done
-- with. delivered: the last event that is lent to consumer until lease_until (0:
-- none); scanned: where position will be then; lane: 0, or the parked event whose
-- lane is lent.
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
	lease_until  timestamptz NOT NULL,
	served_at    timestamptz NOT NULL,
	consumer     text        COLLATE "C",
	error        text,
	CONSTRAINT subscription_cursor_pkey PRIMARY KEY (subscription, partition)
) USING heap WITH (fillfactor = 50);

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

DO $$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['subscription_cursor', 'subscription_parked'] LOOP
		EXECUTE format('CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON eventsource.%I FOR EACH ROW EXECUTE FUNCTION eventsource.guard()', t);
		EXECUTE format('CREATE TRIGGER guard_statement BEFORE UPDATE OR DELETE OR TRUNCATE ON eventsource.%I FOR EACH STATEMENT EXECUTE FUNCTION eventsource.guard()', t);
		EXECUTE format('ALTER TABLE eventsource.%I ENABLE ALWAYS TRIGGER guard_row', t);
		EXECUTE format('ALTER TABLE eventsource.%I ENABLE ALWAYS TRIGGER guard_statement', t);
	END LOOP;
END
$$;

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
	'Starts over after a position (NULL: after the watermark), at most the watermark: leases, failures and parked events are forgotten. Waits for transactions that poll or acknowledge; recorded as an event. Errors: 42704 unknown, 42501 unless you have the rights of the owner, 22023.';

CREATE FUNCTION eventsource.poll(
	name text, max_count integer DEFAULT 100, consumer text DEFAULT NULL,
	lease interval DEFAULT '30 seconds', partition integer DEFAULT NULL)
	RETURNS SETOF eventsource.events
	AS 'MODULE_PATHNAME', 'eventsource_poll' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.poll(text, integer, text, interval, integer) IS
	'The next events of one partition (NULL: the least recently served one that has some and is free), in order of position, at most max_count. They are lent to the consumer (NULL: this session) until it acknowledges, or to the end of the lease: until then no other consumer gets events of the partition, and the same consumer gets these again. No rows: nothing to deliver, or others are at it. Errors: 42704 unknown subscription, 42501 unless you are its owner or a consumer, 22023.';

CREATE FUNCTION eventsource.ack(name text, event_position bigint, consumer text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_ack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.ack(text, bigint, text) IS
	'Acknowledges what poll delivered, up to and with this event; in the transaction of the consumer''s own writes it makes each count once. Errors: 55000 if it is no longer lent to the consumer (the lease went to another, or it was acknowledged), 22023 if it was not delivered, 42704, 42501.';

CREATE FUNCTION eventsource.nack(name text, event_position bigint, error text DEFAULT NULL, consumer text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_nack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.nack(text, bigint, text, text) IS
	'Says that this event failed, and why: gives back what was delivered and is not acknowledged, and counts an attempt. Also for a consumer whose transaction, with the poll in it, was rolled back. Errors: 55000 if the event is lent to another consumer or not waiting any more, P0002 no such event, 22023 if it was not delivered, 42704, 42501.';

CREATE FUNCTION eventsource.subscription_definitions()
	RETURNS TABLE (name text, version bigint, event_position bigint, definition jsonb)
	AS 'MODULE_PATHNAME', 'eventsource_subscription_definitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.subscription_definitions() IS
	'Private, for views: the current definition of each subscription.';
