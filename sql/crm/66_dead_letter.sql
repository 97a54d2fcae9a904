-- Messages that were given up: seen, sent again, or put away with a reason, and both
-- are events.

CREATE FUNCTION crm.put_dead_letter_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('dead_letters', 'Messages that were given up, for somebody to look at, one row each.', jsonb_build_object(
			'message_id', 'The message.',
			'customer_id', 'To whom.',
			'channel', 'email, sms or push.',
			'message_class', 'transactional, marketing or urgent-marketing.',
			'campaign_id', 'Campaign that sent it; NULL: none.',
			'template_id', 'Template of its text.',
			'error_type', 'Code of the last failure; LEASE_EXPIRED: who had it last was not heard of any more, and may have sent it.',
			'is_retryable', 'True if that code says that another attempt may help.',
			'failure_count', 'Failed attempts.',
			'queued_at', 'When it was to be sent.',
			'failed_at', 'When it was given up.'), $view$
		SELECT m.message_id, m.customer_id, m.channel, m.message_class, m.campaign_id, m.template_id, m.error_type,
			   coalesce((SELECT c.is_retryable FROM eventsource.error_codes c WHERE c.code = m.error_type), true) AS is_retryable,
			   m.failures AS failure_count, m.queued_at, m.failed_at
		  FROM crm.message m
		 WHERE m.status = 'failed' AND eventsource.may_read_category('message')
		 UNION ALL
		-- Whose job was given up without a word: who had it was not heard of any more.
		SELECT m.message_id, m.customer_id, m.channel, m.message_class, m.campaign_id, m.template_id, j.error_code, true,
			   m.failures, m.queued_at, j.discarded_at
		  FROM eventsource.dead_letters j
		  JOIN crm.message m ON m.message_id = substr(j.stream, 9) COLLATE "default"
		 WHERE j.queue IN ('crm_email', 'crm_sms', 'crm_push') AND j.error_code = 'LEASE_EXPIRED' AND starts_with(j.stream, 'message-')
		   AND m.status = 'queued' AND eventsource.may_read_category('message')
		   AND NOT EXISTS (SELECT FROM eventsource.jobs q WHERE q.stream = j.stream AND q.job_id > j.job_id) $view$);
END
$$;
COMMENT ON FUNCTION crm.put_dead_letter_views() IS 'Private, for install(): the view of messages that were given up.';

CREATE FUNCTION crm.expect_given_up(message_id text, status text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF status = 'queued' THEN
		PERFORM eventsource.append('message-' || d.message_id, 'MessageFailed', jsonb_build_object('customerId', d.customer_id, 'channel', d.channel,
				'errorType', d.error_type, 'retryable', false), occurred_at => clock_timestamp())
		   FROM crm.dead_letters d WHERE d.message_id = expect_given_up.message_id;
		status := CASE WHEN FOUND THEN 'failed' ELSE status END;
	END IF;
	IF status IS DISTINCT FROM 'failed' THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('message "%s" is not given up', message_id),
			DETAIL = CASE WHEN status IS NULL THEN 'There is no such message.' ELSE format('It is %s.', status) END,
			HINT = 'The view crm.dead_letters lists messages that are.';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_given_up(text, text) IS
	'Private, for commands about messages that were given up; says so first of one whose job was, when its last lease ended. Errors: 55000 if this one was not.';

CREATE FUNCTION crm.redrive_message(message_id text, actor text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	m record;
	d record;
BEGIN
	PERFORM crm.expect_new_snapshots();
	SELECT v.customer_id INTO m FROM crm.messages v WHERE v.message_id = redrive_message.message_id;
	IF m.customer_id IS NOT NULL THEN
		PERFORM eventsource.lock_stream('customer-' || m.customer_id), eventsource.lock_stream('message-' || message_id);
	END IF;
	SELECT v.* INTO m FROM crm.messages v WHERE v.message_id = redrive_message.message_id;
	PERFORM crm.expect_given_up(message_id, m.status);
	SELECT * INTO d FROM crm.can_contact(m.customer_id, m.channel, m.message_class, m.topic, clock_timestamp(), message_id);
	IF d.allowed OR d.reasons = 'quiet-hours' THEN
		-- It is a job again by the reaction that made it one.
		PERFORM eventsource.append('message-' || message_id, 'MessageQueued', jsonb_build_object('customerId', m.customer_id, 'channel', m.channel,
					'messageClass', m.message_class, 'decision', d.decision), actor => actor, occurred_at => clock_timestamp());
		RETURN 'queued';
	END IF;
	PERFORM crm.skip_message(message_id, d.reason, d.decision);
	RETURN d.reason;
END
$$;
COMMENT ON FUNCTION crm.redrive_message(text, text) IS
	'Has a message that was given up sent again, if it may be sent now: with as many attempts as before, and the same message_id. Returns queued, or why it may not be, and then it is skipped. Errors: 55000 if it is not given up.';

CREATE FUNCTION crm.discard_message(message_id text, reason text, actor text DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
	result eventsource.appended;
BEGIN
	SELECT v.customer_id, v.channel, v.status INTO m FROM crm.messages v WHERE v.message_id = discard_message.message_id;
	PERFORM crm.expect_given_up(message_id, m.status);
	SELECT * INTO result
	  FROM eventsource.append('message-' || message_id, 'MessageSkipped',
		jsonb_build_object('customerId', m.customer_id, 'channel', m.channel, 'reason', reason),
		actor => actor, occurred_at => clock_timestamp());
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.discard_message(text, text, text) IS
	'Says that a message which was given up is not to be sent any more, and why (a word or two, nothing personal). Errors: 55000 if it is not given up, ZE007 no reason.';
