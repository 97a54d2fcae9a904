-- Deliveries: what the relay (docs/relay.md), or any worker like it, says of a job.

CREATE FUNCTION eventsource.record_delivery(
	job_id bigint, outcome text, error_code text DEFAULT NULL, details jsonb DEFAULT NULL,
	worker text DEFAULT NULL, attempt integer DEFAULT NULL, message text DEFAULT NULL,
	retry_after interval DEFAULT NULL, queue text DEFAULT NULL, event_position bigint DEFAULT NULL,
	category text DEFAULT 'delivery')
	RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'eventsource_record_delivery';
COMMENT ON FUNCTION eventsource.record_delivery(bigint, text, text, jsonb, text, integer, text, interval, text, bigint, text) IS
	'Appends what became of an attempt to deliver a job to the stream <category>-<job_id>, as MessageSent, MessageSkipped or MessageFailed, and completes the job, or has it fail, in the same transaction. outcome: sent, skipped (nothing was sent, and is not to be), or failed with an error_code. details: an object of at most 8192 bytes, kept in the event. worker, attempt: as claim() was called, and what it returned. message: kept with the job, not in the event. retry_after: do not try again before (NULL: as the queue says). queue, event_position: as claim() returned them. An attempt is recorded once: called again with the same, it changes nothing and returns recorded. Else it returns the new state of the job. Errors: 55000 if the job is not lent to the worker any more, ZE008 if this attempt was recorded otherwise, 42501 without the right to append to the category or to work the queue, 22004, 22023.';
