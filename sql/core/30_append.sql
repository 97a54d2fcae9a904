-- Writing.

CREATE TYPE eventsource.appended AS (
	"position"   bigint,
	stream       text,
	version      bigint,
	state        text,
	is_duplicate boolean
);
COMMENT ON TYPE eventsource.appended IS
	'What an append returns: position in the log, stream, version in the stream, state after the event (NULL without a machine), and whether the event was there already under the same idempotency key.';

CREATE FUNCTION eventsource.append(
	stream text, type text, data jsonb DEFAULT '{}', reason text DEFAULT NULL,
	actor text DEFAULT NULL, metadata jsonb DEFAULT NULL, expected_version bigint DEFAULT NULL,
	occurred_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL,
	schema_version integer DEFAULT NULL)
	RETURNS eventsource.appended
	AS 'MODULE_PATHNAME', 'eventsource_append' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.append(text, text, jsonb, text, text, jsonb, bigint, timestamptz, text, integer) IS
	'Appends one event to a stream ("category-key"). expected_version: NULL any, 0 the stream must not exist, n its current version (else 40001). The same idempotency_key with the same content returns the first result with is_duplicate; with other content ZE008. Refusals: ZE002 to ZE007. Call it as SELECT * FROM eventsource.append(...).';

CREATE FUNCTION eventsource.append_events(events jsonb)
	RETURNS SETOF eventsource.appended
	AS 'MODULE_PATHNAME', 'eventsource_append_events' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.append_events(jsonb) IS
	'Appends an array of events, objects with the arguments of append() as keys, to any streams: all or nothing. Locks are taken in one order, so that batches do not deadlock. One row per event, in order.';

CREATE FUNCTION eventsource.lock_stream(stream text, OUT version bigint, OUT state text)
	AS 'MODULE_PATHNAME', 'eventsource_lock_stream' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.lock_stream(text) IS
	'Locks a stream until the end of the transaction and returns its version (0 if it does not exist) and state: read, decide, append.';
