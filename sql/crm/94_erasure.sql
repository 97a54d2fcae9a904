-- The right to be forgotten, for customers.

CREATE FUNCTION crm.request_erasure(customer_id text, mode text DEFAULT 'anonymize', reason text DEFAULT 'gdpr-request', actor text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerDataDeletionRequested', jsonb_build_object('reason', reason, 'deletionType', mode), actor => actor);
	RETURN eventsource.request_erasure('customer-' || customer_id, mode, reason, actor);
END
$$;
COMMENT ON FUNCTION crm.request_erasure(text, text, text, text) IS
	'Records that a customer is to be forgotten: mode soft (can be reverted), anonymize, hard; reason gdpr-request or data-retention-policy. Opens a case with a deadline: see eventsource.erasure_requests. Errors: 55000 if it is requested, ZE002 deleted or unknown, ZE007, ZE009.';

CREATE FUNCTION crm.erase_customer(customer_id text, mode text DEFAULT 'anonymize', reason text DEFAULT 'gdpr-request', actor text DEFAULT NULL) RETURNS TABLE (target text, affected bigint)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	stream CONSTANT text := 'customer-' || erase_customer.customer_id;
	known bigint;
BEGIN
	-- Before its messages, as everywhere.
	PERFORM eventsource.lock_stream(stream);
	PERFORM crm.revoke_consent(c.customer_id, c.purpose, c.channel, 'erased', actor => erase_customer.actor)
	   FROM (SELECT * FROM crm.consents k WHERE k.customer_id = erase_customer.customer_id AND k.status <> 'revoked' ORDER BY k.purpose, k.channel) c;
	SELECT count(*) INTO known FROM eventsource.subject_events(stream);
	PERFORM crm.remove_from_segment(m.customer_id, m.segment_id, 'erased', erase_customer.actor)
	   FROM (SELECT * FROM crm.segment_members s WHERE s.customer_id = erase_customer.customer_id ORDER BY s.segment_id) m;
	PERFORM crm.skip_message(m.message_id, 'erased', '{"refused": "erased"}')
	   FROM (SELECT * FROM crm.messages x WHERE x.customer_id = erase_customer.customer_id AND x.status = 'queued' ORDER BY x.message_id COLLATE "C") m;
	PERFORM eventsource.append(stream, 'CustomerDataDeleted', jsonb_build_object('deletionType', erase_customer.mode, 'eventsAnonymized', known,
		'completedAt', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), actor => erase_customer.actor);
	-- What was done in a visit before it was known whose it is, is about the visit: that goes, too.
	RETURN QUERY
	SELECT e.target, sum(e.affected)::bigint
	  FROM (SELECT stream AS subject
			 UNION ALL SELECT 'visit-' || v.session_id FROM crm.sessions v
						WHERE v.customer_id = erase_customer.customer_id AND EXISTS (SELECT FROM eventsource.subject_events('visit-' || v.session_id))) s
	 CROSS JOIN LATERAL eventsource.erase_subject(s.subject, erase_customer.mode, erase_customer.reason, erase_customer.actor) WITH ORDINALITY e (target, affected, n)
	 GROUP BY e.target
	 ORDER BY min(e.n);
END
$$;
COMMENT ON FUNCTION crm.erase_customer(text, text, text, text) IS
	'Forgets a customer, in this transaction: consents, segments and messages that wait go, personal fields of all events about the customer, and of visits before it was known whose they are, go as the mode says (see eventsource.erase_subject()), and nothing is recorded of the customer any more. What was bought stays, without a person. Integrations are told. One row for each target: how much was cleared. Errors: 42501 without the right to this mode (eventsource.grant_eraser), ZE002 unknown customer, ZE009 erased already.';
