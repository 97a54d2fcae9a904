-- The queues of messages and the relay (docs/relay.md): what it sends of a message, and
-- what it says became of it.  Both decide and record as claim_messages() and its kin do,
-- with the same locks in the same order.

CREATE FUNCTION crm.render_message(payload jsonb, event_position bigint) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id CONSTANT text := payload->>'message_id';
	j record;
	m record;
	reason text;
BEGIN
	PERFORM crm.expect_new_snapshots();
	SELECT v.customer_id INTO m FROM crm.messages v WHERE v.message_id = id;
	PERFORM crm.expect_found(FOUND, format('message "%s"', id), 'messages');
	PERFORM eventsource.lock_stream('customer-' || m.customer_id);
	PERFORM eventsource.lock_stream('message-' || id);
	SELECT v.job_id, v.worker, v.attempt INTO j FROM eventsource.jobs v
	 WHERE v.stream = 'message-' || id AND v.lease_until IS NOT NULL AND v.event_position = render_message.event_position;
	IF NOT FOUND THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('message "%s" is lent to nobody', id),
			DETAIL = 'Whether it may be sent is asked when it is sent, and what may not is skipped then.',
			HINT = 'It is for eventsource-relay --render; can_contact() says what would be said now.';
	END IF;
	reason := crm.reason_not_to_send(id, j.job_id, j.attempt, j.worker);
	IF reason IS NOT NULL THEN
		RETURN jsonb_build_object('skip', reason);
	END IF;
	SELECT * INTO m FROM crm.messages v WHERE v.message_id = id;
	RETURN jsonb_strip_nulls(jsonb_build_object('to', crm.recipient(m.customer_id, m.channel),
		'subject', coalesce(m.content->>'subject', m.content->>'title'),
		'text', coalesce(m.content->>'text', m.content->>'body', m.content->>'message'),
		'message_id', id, 'customer_id', m.customer_id, 'channel', m.channel, 'message_class', m.message_class, 'topic', m.topic,
		'campaign_id', m.campaign_id, 'template_id', m.template_id, 'content', m.content));
END
$$;
COMMENT ON FUNCTION crm.render_message(jsonb, bigint) IS
	'For eventsource-relay --render: what a job of queue crm_<channel> sends, after asking again whether it may. to: address or number; subject (of content: subject or title) and text (text, body or message); and message_id, customer_id, channel, message_class, topic, campaign_id, template_id, content, for a function of yours that calls this one and adds text of templates. {"skip": reason} if it may not be sent (any more): then the message is skipped, or put off while it is quiet. payload, event_position: those of the job, which is lent to somebody. Errors: 42501 without the right to see personal data, 55000 if the job is lent to nobody, 42704 no such message, 0A000 in REPEATABLE READ.';

CREATE FUNCTION crm.record_delivery(job_id bigint, outcome text, error_code text DEFAULT NULL, details jsonb DEFAULT NULL,
		worker text DEFAULT NULL, attempt integer DEFAULT NULL, message text DEFAULT NULL, retry_after interval DEFAULT NULL,
		queue text DEFAULT NULL, event_position bigint DEFAULT NULL, category text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	j record;
	m record;
	status text;
	-- Only what a server says of a mailbox tells of an address: it may refuse us as well, or we what we cannot write.
	code CONSTANT text := CASE WHEN error_code = 'INVALID_RECIPIENT' AND coalesce(details->>'status', '') NOT IN ('550', '551', '553')
		THEN 'REJECTED' ELSE error_code END;
BEGIN
	PERFORM crm.expect_new_snapshots();
	IF (outcome IN ('sent', 'skipped', 'failed')) IS NOT TRUE OR (outcome = 'failed') <> (error_code IS NOT NULL) THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'a message was sent or skipped, or failed with an error code',
			DETAIL = format('The outcome is %L, the error code %L.', outcome, error_code),
			HINT = 'SELECT * FROM eventsource.error_codes';
	END IF;
	-- Joined, the view would be read whole; and its key has another collation than streams.
	SELECT v.message_id, v.customer_id, v.channel, v.message_class, v.topic INTO m FROM crm.messages v
	 WHERE v.message_id = (SELECT substr(q.stream, 9) COLLATE "default" FROM eventsource.jobs q
							WHERE q.job_id = record_delivery.job_id AND starts_with(q.stream, 'message-'));
	IF NOT FOUND AND outcome = 'failed' THEN
		-- What is no message ends as other jobs do: it would keep the relay busy with asking again.
		RETURN eventsource.fail(job_id, error_code, NULL, clock_timestamp() + retry_after, worker, attempt);
	END IF;
	PERFORM crm.expect_found(FOUND, format('message of job %s', job_id), 'messages');
	PERFORM eventsource.lock_stream('customer-' || m.customer_id);
	SELECT s.state INTO status FROM eventsource.lock_stream('message-' || m.message_id) s;
	SELECT q.state, q.lease_until, q.worker, q.attempt, q.error_code INTO j FROM eventsource.jobs q WHERE q.job_id = record_delivery.job_id;
	-- It was said before, and the answer was lost on its way; or render_message() saw to it.
	IF j.lease_until IS NULL AND j.attempt = attempt AND (CASE outcome
			WHEN 'sent' THEN j.state = 'done' WHEN 'failed' THEN j.error_code IS NOT DISTINCT FROM code
			ELSE j.state = 'done' OR status <> 'queued' OR j.error_code IS NOT DISTINCT FROM 'QUIET_HOURS' END) THEN
		RETURN 'recorded';
	-- Who is late, and comes before the next, is as good as in time.
	ELSIF j.lease_until IS NULL OR (j.worker, j.attempt) IS DISTINCT FROM (worker, attempt) THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('job %s is not lent to this worker any more', job_id),
			DETAIL = format('It is %s, attempt %s; message "%s" may have been skipped meanwhile.', j.state, j.attempt, m.message_id),
			HINT = 'Whoever has it now says what becomes of it.';
	ELSIF outcome = 'sent' AND status IN ('sent', 'delivered', 'bounced') THEN
		-- Somebody has said the same meanwhile, without the job.
		PERFORM eventsource.complete(job_id, jsonb_strip_nulls(jsonb_build_object('status', status, 'provider_message_id', details->>'id')),
			worker, attempt);
		RETURN 'done';
	ELSIF status <> 'queued' THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('message "%s" is %s', m.message_id, status),
			DETAIL = format('Somebody has said so without job %s, for which it is %s.', job_id, outcome),
			HINT = 'The job ends when it is lent again; one that is failed is queued again by redrive_message().';
	END IF;
	CASE outcome
		WHEN 'sent' THEN
			PERFORM crm.complete_message(m.message_id, job_id, details->>'id', worker, attempt);
		WHEN 'failed' THEN
			PERFORM crm.fail_message(m.message_id, job_id, code, left(message, 2000), worker, attempt,
				retry_at => clock_timestamp() + retry_after);
		ELSE
			PERFORM crm.skip_message(m.message_id, left(coalesce(nullif(details->>'reason', ''), 'not-rendered'), 100), d.decision)
			   FROM crm.can_contact(m.customer_id, m.channel, m.message_class, m.topic, clock_timestamp(), m.message_id) d;
	END CASE;
	RETURN (SELECT q.state FROM eventsource.jobs q WHERE q.job_id = record_delivery.job_id);
END
$$;
COMMENT ON FUNCTION crm.record_delivery(bigint, text, text, jsonb, text, integer, text, interval, text, bigint, text) IS
	'For eventsource-relay --record: says what became of a message that it was lent, as complete_message() and fail_message() do; skipped: it is not to be sent, for the reason in details (100 characters of it). The arguments are those of eventsource.record_delivery(), but that worker and attempt are needed. The id in details becomes the message''s provider_message_id, and its reason that of what is skipped; status, target and duration_ms are kept nowhere. INVALID_RECIPIENT says that the address takes no mail if the status in details is 550, 551 or 553, else it is REJECTED. message goes into the event, where it is personal, and not to the job. queue, event_position, category: not used, there is no stream of its own. Returns the new state of the job; an attempt is recorded once: called again it changes nothing and returns recorded. Errors: 55000 if the job is not lent to this worker any more, or if somebody has said meanwhile, without the job, that something else became of the message; 42704 if it sends no message (but such a job may fail), 22023 another outcome.';
