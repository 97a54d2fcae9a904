-- Sending.  Whether a message may go out is decided under the lock of its customer's
-- stream, when it is queued and again when it is handed to who sends it; so two
-- messages cannot pass one cap.  Jobs are in the queues crm_email, crm_sms and
-- crm_push.
--
-- Locks, in this order wherever more than one is taken: the customer's stream, the
-- message's, the job; several of a kind by name.

-- A snapshot from before the lock does not show what was sent meanwhile.
CREATE FUNCTION crm.expect_new_snapshots() RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF current_setting('transaction_isolation') = 'repeatable read' THEN
		RAISE feature_not_supported USING
			MESSAGE = 'whether a message may be sent cannot be decided in a REPEATABLE READ transaction',
			DETAIL = 'It would not see what others have sent since it began, and two messages could pass one cap.',
			HINT = 'Use READ COMMITTED, or SERIALIZABLE.';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_new_snapshots() IS 'Private, for commands that decide under a lock. Errors: 0A000 in REPEATABLE READ.';

CREATE FUNCTION crm.expect_job(message_id text, job_id bigint) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM eventsource.jobs j WHERE j.job_id = expect_job.job_id AND j.stream = 'message-' || expect_job.message_id) THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('job %s is not that of message "%s"', job_id, message_id),
			DETAIL = 'Another message would never be sent.',
			HINT = 'Give job_id and message_id of one row of claim_messages().';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_job(text, bigint) IS 'Private, for commands: a job is the one that sends this message. Errors: 55000.';

CREATE FUNCTION crm.send_message(customer_id text, channel text, template_id text DEFAULT NULL, message_class text DEFAULT 'marketing',
		topic text DEFAULT NULL,
		campaign_id text DEFAULT NULL, message_id text DEFAULT NULL, actor text DEFAULT NULL, content jsonb DEFAULT NULL, OUT id text,
		OUT is_queued boolean, OUT skip_reason text) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	d record;
	m record;
BEGIN
	PERFORM crm.expect_new_snapshots();
	id := coalesce(message_id, gen_random_uuid()::text);
	PERFORM eventsource.lock_stream('customer-' || customer_id);
	IF (SELECT s.version FROM eventsource.lock_stream('message-' || id) s) > 0 THEN
		-- It was asked for before: what was said then holds.
		SELECT v.status <> 'skipped' AS is_queued, v.skip_reason, v.customer_id, v.channel INTO m FROM crm.messages v WHERE v.message_id = id;
		IF (m.customer_id, m.channel) IS DISTINCT FROM (send_message.customer_id, send_message.channel) THEN
			RAISE unique_violation USING
				MESSAGE = format('message "%s" is another one', id),
				DETAIL = 'It is to another customer, or on another channel.',
				HINT = 'Give each message an id of its own.';
		END IF;
		is_queued := m.is_queued;
		skip_reason := m.skip_reason;
		RETURN;
	END IF;
	SELECT * INTO d FROM crm.can_contact(customer_id, channel, message_class, topic, clock_timestamp());
	-- What comes at a quiet hour waits in the queue.
	is_queued := d.allowed OR d.reasons = 'quiet-hours';
	skip_reason := CASE WHEN NOT is_queued THEN d.reason END;
	PERFORM eventsource.append('message-' || id, CASE WHEN is_queued THEN 'MessageQueued' ELSE 'MessageSkipped' END,
		jsonb_strip_nulls(jsonb_build_object('customerId', customer_id, 'channel', channel, 'messageClass', message_class, 'topic', topic,
			'campaignId', campaign_id, 'templateId', template_id, 'content', nullif(content, '{}'), 'reason', skip_reason))
				|| jsonb_build_object('decision', d.decision),
		actor => actor, occurred_at => clock_timestamp());
END
$$;
COMMENT ON FUNCTION crm.send_message(text, text, text, text, text, text, text, text, jsonb) IS
	'Has a message sent to a customer, or records why it may not be; see can_contact(). message_id: asked for again with the same, it is what it was; content: for who sends it, a personal field. Returns the message, whether it is queued, and why not. What is queued is a job of queue crm_<channel>; see claim_messages(). Errors: ZE007 unknown channel or class, ZE009 who is erased, 23505 if message_id is a message to another customer or on another channel, 0A000 in REPEATABLE READ.';

CREATE FUNCTION crm.skip_message(message_id text, reason text, decision jsonb) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.append('message-' || m.message_id, 'MessageSkipped', jsonb_build_object('customerId', m.customer_id, 'channel', m.channel,
								'reason', skip_message.reason, 'decision', skip_message.decision), occurred_at => clock_timestamp())
	  FROM crm.messages m
	 WHERE m.message_id = skip_message.message_id
$$;
COMMENT ON FUNCTION crm.skip_message(text, text, jsonb) IS
	'Private, for commands: says that a message which was queued is not sent. Its job is cancelled by a reaction.';

CREATE FUNCTION crm.recheck_messages(customer_id text) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
	n integer := 0;
BEGIN
	PERFORM eventsource.lock_stream('customer-' || customer_id);
	FOR m IN SELECT q.message_id, d.reason, d.decision
			   FROM crm.messages q
			  CROSS JOIN LATERAL crm.can_contact(q.customer_id, q.channel, q.message_class, q.topic, clock_timestamp(), q.message_id) d
			  WHERE q.customer_id = recheck_messages.customer_id AND q.status = 'queued' AND NOT d.allowed AND d.reasons <> 'quiet-hours'
			  ORDER BY q.message_id COLLATE "C" LOOP
		-- Somebody may have sent it meanwhile.
		IF (SELECT s.state FROM eventsource.lock_stream('message-' || m.message_id) s) = 'queued' THEN
			PERFORM crm.skip_message(m.message_id, m.reason, m.decision);
			n := n + 1;
		END IF;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION crm.recheck_messages(text) IS
	'Decides anew on the messages to a customer that wait, and skips what may not be sent any more; returns how many. Commands that change consent, preferences or the account do so.';

-- The customer's stream and the message's are locked.
CREATE FUNCTION crm.reason_not_to_send(message_id text, job_id bigint, attempt integer, worker text) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
	d record;
BEGIN
	-- Who may send jobs to the queue names no message: a message has the job that its event has made.
	IF NOT EXISTS (SELECT FROM eventsource.jobs j
					WHERE j.job_id = reason_not_to_send.job_id AND j.event_position IS NOT NULL AND j.stream = 'message-' || message_id) THEN
		PERFORM eventsource.fail(job_id, 'BAD_REQUEST', NULL, NULL, worker, attempt);
		RETURN 'no-message';
	END IF;
	SELECT * INTO m FROM crm.messages v WHERE v.message_id = reason_not_to_send.message_id;
	SELECT * INTO d FROM crm.can_contact(m.customer_id, m.channel, m.message_class, m.topic, clock_timestamp(), m.message_id);
	IF m.status <> 'queued' THEN
		PERFORM eventsource.complete(job_id, jsonb_build_object('status', m.status), worker, attempt);
		IF m.status = 'failed' THEN
			-- Somebody has redriven the job, and means the message.
			PERFORM crm.redrive_message(m.message_id);
		END IF;
		RETURN m.status;
	ELSIF d.reasons = 'quiet-hours' THEN
		-- It costs an attempt, and who has none left is a dead letter.
		IF eventsource.fail(job_id, 'QUIET_HOURS', NULL, (
				SELECT crm.quiet_until(clock_timestamp(), max(p.timezone)) FROM crm.preferences p
				 WHERE p.customer_id = m.customer_id), worker, attempt) = 'discarded' THEN
			PERFORM eventsource.append('message-' || message_id, 'MessageFailed',
				jsonb_build_object('customerId', m.customer_id, 'channel', m.channel,
					'errorType', 'QUIET_HOURS', 'retryable', false, 'attempt', attempt), occurred_at => clock_timestamp());
		END IF;
	ELSIF NOT d.allowed THEN
		PERFORM crm.skip_message(m.message_id, d.reason, d.decision);
	END IF;
	RETURN d.reason;
END
$$;
COMMENT ON FUNCTION crm.reason_not_to_send(text, bigint, integer, text) IS
	'Private, for who sends messages: asks once more whether a message that is lent may be sent, NULL if so; what may not is skipped, or put off while it is quiet.';

CREATE FUNCTION crm.recipient(customer_id text, channel text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	address text;
BEGIN
	SELECT CASE channel WHEN 'email' THEN c.email WHEN 'sms' THEN c.phone END INTO address
	  FROM crm.customers c WHERE c.customer_id = recipient.customer_id;
	IF address = '***' THEN
		PERFORM crm.expect_personal_data('whom messages go to');
	END IF;
	RETURN address;
END
$$;
COMMENT ON FUNCTION crm.recipient(text, text) IS
	'Private, for who sends messages: address or number of a customer; NULL for push. Errors: 42501 without the right to see personal data.';

CREATE FUNCTION crm.claim_messages(channel text, max_messages integer DEFAULT 1, lease interval DEFAULT NULL, worker text DEFAULT NULL)
	RETURNS TABLE (job_id bigint, attempt integer, message_id text, customer_id text, recipient text, message_class text, topic text,
		campaign_id text, template_id text, content jsonb)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	queue CONSTANT text := 'crm_' || channel;
	jobs bigint[];
	customers text[];
	messages text[];
	j record;
	m record;
BEGIN
	PERFORM crm.expect_new_snapshots();
	-- What may be lent now, and given back at once: streams are locked before jobs.
	BEGIN
		SELECT array_agg(c.job_id), array_agg(DISTINCT c.subject) FILTER (WHERE c.subject IS NOT NULL),
			   array_agg(DISTINCT 'message-' || (c.payload->>'message_id')) FILTER (WHERE c.payload->>'message_id' IS NOT NULL)
		  INTO jobs, customers, messages FROM eventsource.claim(queue, max_messages, lease, worker) c;
		RAISE EXCEPTION USING ERRCODE = 'CRM00';
	EXCEPTION WHEN SQLSTATE 'CRM00' THEN
		NULL;
	END;
	PERFORM eventsource.lock_stream(s) FROM (SELECT x FROM unnest(customers) x ORDER BY x COLLATE "C") c (s);
	PERFORM eventsource.lock_stream(s) FROM (SELECT x FROM unnest(messages) x ORDER BY x COLLATE "C") m (s);
	FOR j IN SELECT * FROM eventsource.claim(queue, max_messages, lease, worker, coalesce(jobs, '{}')) LOOP
		IF crm.reason_not_to_send(j.payload->>'message_id', j.job_id, j.attempt, worker) IS NULL THEN
			SELECT * INTO m FROM crm.messages v WHERE v.message_id = j.payload->>'message_id';
			job_id := j.job_id;
			attempt := j.attempt;
			message_id := m.message_id;
			customer_id := m.customer_id;
			message_class := m.message_class;
			topic := m.topic;
			campaign_id := m.campaign_id;
			template_id := m.template_id;
			content := m.content;
			recipient := crm.recipient(m.customer_id, m.channel);
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.claim_messages(text, integer, interval, text) IS
	'Lends at most max_messages messages of a channel to who sends them, after asking again whether they may be sent; those that may not are skipped. It waits for who is at the customers of these messages. recipient: address or number. Send them with message_id as the provider''s idempotency key, then call complete_message() or fail_message() for each. For workers of queue crm_<channel> who write to the CRM; see eventsource.claim(). Errors: those of claim(), 42501 without the right to see personal data.';

CREATE FUNCTION crm.complete_message(message_id text, job_id bigint DEFAULT NULL, provider_message_id text DEFAULT NULL, worker text DEFAULT NULL,
		attempt integer DEFAULT NULL,
		actor text DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
	result eventsource.appended;
BEGIN
	SELECT v.customer_id, v.channel INTO m FROM crm.messages v WHERE v.message_id = complete_message.message_id;
	PERFORM crm.expect_found(FOUND, format('message "%s"', message_id), 'messages');
	IF job_id IS NOT NULL THEN
		PERFORM crm.expect_job(message_id, job_id);
	END IF;
	SELECT * INTO result
	  FROM eventsource.append('message-' || message_id, 'MessageSent', jsonb_strip_nulls(jsonb_build_object('customerId', m.customer_id,
			'channel', m.channel, 'messageId', provider_message_id)), actor => actor, occurred_at => clock_timestamp());
	IF job_id IS NOT NULL THEN
		PERFORM eventsource.complete(job_id, jsonb_strip_nulls(jsonb_build_object('provider_message_id', provider_message_id)), worker, attempt);
	END IF;
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.complete_message(text, bigint, text, text, integer, text) IS
	'Says that a message went out; job_id, attempt, worker: as claim_messages() was told and said. Errors: ZE002 sent or skipped already, 42704 no such message, 55000 if it is not lent to this worker (any more), or is the job of another message.';

CREATE FUNCTION crm.fail_message(message_id text, job_id bigint, error_code text, error_message text DEFAULT NULL, worker text DEFAULT NULL,
		attempt integer DEFAULT NULL,
		actor text DEFAULT NULL, retry_at timestamptz DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
	job_state text;
BEGIN
	PERFORM crm.expect_job(message_id, job_id);
	SELECT v.customer_id, v.channel INTO m FROM crm.messages v WHERE v.message_id = fail_message.message_id;
	PERFORM crm.expect_found(FOUND, format('message "%s"', message_id), 'messages');
	-- That the address takes no mail is an event of the customer.
	PERFORM eventsource.lock_stream('customer-' || m.customer_id);
	PERFORM eventsource.lock_stream('message-' || message_id);
	-- What the provider says may tell of a person: it goes into the event, where it is personal, and not to the job.
	job_state := eventsource.fail(job_id, error_code, NULL, retry_at, worker, attempt);
	PERFORM eventsource.append('message-' || message_id, 'MessageFailed',
		jsonb_strip_nulls(jsonb_build_object('customerId', m.customer_id, 'channel', m.channel,
			'errorType', error_code, 'errorMessage', error_message, 'retryable', job_state <> 'discarded', 'attempt', attempt)), actor => actor,
				occurred_at => clock_timestamp());
	RETURN CASE job_state WHEN 'discarded' THEN 'failed' ELSE 'queued' END;
END
$$;
COMMENT ON FUNCTION crm.fail_message(text, bigint, text, text, text, integer, text, timestamptz) IS
	'Says that a message could not be sent, with a code of eventsource.error_codes: it is tried again, if the code says that this may help and attempts are left, or given up, and a dead letter. retry_at: not before (NULL: as the queue says). INVALID_RECIPIENT by e-mail says that the address takes no mail. Returns queued or failed. Errors: 55000 if it is not lent to this worker (any more), or is the job of another message.';

CREATE FUNCTION crm.record_message_event(message_id text, event_type text, data jsonb DEFAULT '{}', actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
	result eventsource.appended;
BEGIN
	SELECT v.customer_id, v.channel, v.campaign_id INTO m FROM crm.messages v WHERE v.message_id = record_message_event.message_id;
	PERFORM crm.expect_found(FOUND, format('message "%s"', message_id), 'messages');
	PERFORM eventsource.lock_stream('customer-' || m.customer_id);
	SELECT * INTO result FROM eventsource.append('message-' || message_id, event_type,
			-- Whom it is about is not for a provider to say.
			data || jsonb_build_object('customerId', m.customer_id, 'channel', m.channel)
			|| CASE WHEN data ? 'pageUrl' THEN jsonb_build_object('pageUrl', regexp_replace(data->>'pageUrl', '[?#].*', '')) ELSE '{}' END
			|| CASE WHEN event_type IN ('MessageOpened', 'MessageClicked')
				AND m.campaign_id IS NOT NULL THEN jsonb_build_object('campaignId', m.campaign_id) ELSE '{}' END,
			actor => actor, occurred_at => occurred_at);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.record_message_event(text, text, jsonb, text, timestamptz) IS
	'Records what became of a message: MessageDelivered, MessageBounced ({"bounceType": "permanent" or "transient"}; a permanent one says that the address takes no mail), MessageOpened, MessageClicked; of a pageUrl the query is cut off. Errors: ZE002 not sent, ZE007 bad data, 42704 no such message.';
