-- Deliveries: what the relay (docs/relay.md), or any worker like it, says of a job.

CREATE FUNCTION eventsource.record_delivery(
	job_id bigint, outcome text, error_code text DEFAULT NULL, details jsonb DEFAULT NULL,
	worker text DEFAULT NULL, attempt integer DEFAULT NULL, message text DEFAULT NULL,
	retry_after interval DEFAULT NULL, queue text DEFAULT NULL, event_position bigint DEFAULT NULL,
	category text DEFAULT 'delivery')
	RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	recorded eventsource.appended;
BEGIN
	IF job_id IS NULL OR outcome IS NULL OR attempt IS NULL OR category IS NULL THEN
		RAISE null_value_not_allowed USING
			MESSAGE = 'job_id, outcome, attempt and category are needed',
			DETAIL = 'They say which stream tells of it, and which attempt.',
			HINT = 'Give what claim() returned.';
	END IF;
	IF outcome NOT IN ('sent', 'failed') OR (outcome = 'failed') <> (error_code IS NOT NULL)
		OR outcome = 'sent' AND retry_after IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'a delivery was sent, or failed with an error code',
			DETAIL = format('The outcome is %s, the error code %s.', quote_literal(left(outcome, 100)), quote_nullable(left(error_code, 100))),
			HINT = 'SELECT * FROM eventsource.error_codes';
	END IF;
	IF category LIKE '%-%' OR category LIKE '$%' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('%s is no category for deliveries', quote_literal(left(category, 100))),
			DETAIL = 'Streams are named after the category and the job.',
			HINT = 'Take a name without "-" that does not begin with "$".';
	END IF;
	IF jsonb_typeof(details) <> 'object' OR octet_length(details::text) > 8192 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'details are no JSON object, or more than 8192 bytes',
			DETAIL = 'They become part of an event.',
			HINT = 'Keep what the receiver answered elsewhere.';
	END IF;

	-- The event first: locks of streams come before those of jobs.
	SELECT a.* INTO recorded FROM eventsource.append(
		stream => category || '-' || job_id,
		type => CASE outcome WHEN 'sent' THEN 'MessageSent' ELSE 'MessageFailed' END,
		data => jsonb_strip_nulls(jsonb_build_object('job_id', job_id, 'attempt', attempt, 'queue', queue, 'error_code', error_code))
				|| jsonb_build_object('details', coalesce(details, '{}')),
		metadata => CASE WHEN event_position IS NOT NULL THEN jsonb_build_object('causation_id', event_position) END,
		idempotency_key => 'attempt-' || attempt) a;
	IF recorded.is_duplicate THEN
		RETURN 'recorded';
	END IF;
	IF outcome = 'sent' THEN
		PERFORM eventsource.complete(job_id => job_id, result => details, worker => worker, attempt => attempt);
		RETURN 'done';
	END IF;
	RETURN eventsource.fail(job_id => job_id, error_code => error_code, message => message,
							retry_at => clock_timestamp() + retry_after, worker => worker, attempt => attempt);
END
$$;
COMMENT ON FUNCTION eventsource.record_delivery(bigint, text, text, jsonb, text, integer, text, interval, text, bigint, text) IS
	'Appends what became of an attempt to deliver a job to the stream <category>-<job_id>, as MessageSent or MessageFailed, and completes the job, or has it fail, in the same transaction. outcome: sent, or failed with an error_code. details: an object of at most 8192 bytes, kept in the event. worker, attempt: as claim() was called, and what it returned. message: kept with the job, not in the event. retry_after: do not try again before (NULL: as the queue says). queue, event_position: as claim() returned them. An attempt is recorded once: called again with the same, it changes nothing and returns recorded. Else it returns the new state of the job. Errors: 55000 if the job is not lent to the worker any more, ZE008 if this attempt was recorded otherwise, 42501 without the right to append to the category or to work the queue, 22004, 22023.';
