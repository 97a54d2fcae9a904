-- The right to be forgotten, for customers.

CREATE FUNCTION crm.request_erasure(customer_id text, mode text DEFAULT 'anonymize', reason text DEFAULT 'gdpr-request', actor text DEFAULT NULL)
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.expect_customer(customer_id);
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerDataDeletionRequested',
		jsonb_build_object('reason', reason, 'deletionType', mode), actor => actor);
	RETURN eventsource.request_erasure('customer-' || customer_id, mode, reason, actor);
END
$$;
COMMENT ON FUNCTION crm.request_erasure(text, text, text, text) IS
	'Records that a customer is to be forgotten: mode soft (can be reverted), anonymize, hard; reason gdpr-request or data-retention-policy. Opens a case with a deadline: see eventsource.erasure_requests. Errors: 55000 if it is requested, ZE002 deleted, 42704 no such customer, ZE007, ZE009.';

-- What begins before somebody is known is not about him in the log, and no less his: a
-- visit, where he searched for something.
CREATE FUNCTION crm.personal_visits(customer_id text) RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT v.stream
	  FROM (SELECT 'visit-' || s.session_id AS stream FROM crm.sessions s WHERE s.customer_id = personal_visits.customer_id) v
	 WHERE EXISTS (SELECT FROM eventsource.events e WHERE e.stream = v.stream AND e.subject = v.stream
				   AND e.type IN (SELECT t.event_type FROM crm.event_types t WHERE t.category = 'visit' AND t.personal_fields IS NOT NULL))
	 ORDER BY v.stream COLLATE "C"
$$;
COMMENT ON FUNCTION crm.personal_visits(text) IS
	'Private, for commands: visits of a customer with personal data from before it was known whose they are.';

CREATE FUNCTION crm.export_customer(customer_id text) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.export_subject('customer-' || customer_id) || jsonb_build_object('events_before_known', (
			SELECT coalesce(jsonb_agg(to_jsonb(e) - 'is_upcast' ORDER BY e.position), '[]')
			  FROM crm.journeys j
			  JOIN eventsource.events e ON e.position = j.event_position
			 WHERE j.customer_id = export_customer.customer_id AND e.subject IS DISTINCT FROM 'customer-' || export_customer.customer_id))
$$;
COMMENT ON FUNCTION crm.export_customer(text) IS
	'All that is held about a customer, as JSON: what eventsource.export_subject() says, and, as events_before_known, events of visits and carts from when nobody knew whose they were. Personal fields as the caller may see them. Goes through the whole log. Errors: 42501 without eventsource.grant_eraser.';

-- Leaves everything that waits, and then the customers.
CREATE FUNCTION crm.close_customer(customer_id text, mode text, actor text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	stream CONSTANT text := 'customer-' || customer_id;
	known CONSTANT bigint := (SELECT count(*) FROM eventsource.subject_events('customer-' || customer_id));
BEGIN
	PERFORM crm.remove_from_segment(m.customer_id, m.segment_id, 'erased', actor)
	   FROM (SELECT * FROM crm.segment_members s WHERE s.customer_id = close_customer.customer_id ORDER BY s.segment_id COLLATE "C") m;
	PERFORM crm.skip_message(m.message_id, 'erased', '{"refused": "erased"}')
	   FROM (SELECT * FROM crm.messages x WHERE x.customer_id = close_customer.customer_id AND x.status = 'queued'
			  ORDER BY x.message_id COLLATE "C") m;
	PERFORM eventsource.append('campaign_run-' || r.run_id, 'CampaignRunEnded',
		jsonb_build_object('customerId', customer_id, 'campaignId', r.campaign_id, 'reason', 'erased'), actor => actor)
	   FROM (SELECT * FROM crm.campaign_runs x WHERE x.customer_id = close_customer.customer_id AND x.is_active ORDER BY x.run_id COLLATE "C") r;
	PERFORM crm.revoke_consent(k.customer_id, k.purpose, k.channel, 'erased', actor => actor)
	   FROM (SELECT * FROM crm.consents x WHERE x.customer_id = close_customer.customer_id AND x.expires_at IS NOT NULL ORDER BY x.purpose,
		x.channel) k;
	PERFORM eventsource.append(stream, 'CustomerDataDeleted', jsonb_build_object('deletionType', mode, 'eventsAnonymized', known,
		'completedAt', crm.json_time(clock_timestamp())), actor => actor);
END
$$;
COMMENT ON FUNCTION crm.close_customer(text, text, text) IS
	'Private, for erase_customer(): consents, segments, campaigns and messages that wait end, and the customer is deleted.';

CREATE FUNCTION crm.erase_customer(customer_id text, mode text DEFAULT 'anonymize', reason text DEFAULT 'gdpr-request', actor text DEFAULT NULL)
	RETURNS TABLE (target text, affected bigint)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	id CONSTANT text := erase_customer.customer_id;
	subjects text[] := ARRAY['customer-' || id];
	modes CONSTANT text[] := '{soft,anonymize,hard}';
	was text;
BEGIN
	PERFORM crm.expect_customer(id);
	PERFORM eventsource.lock_stream(subjects[1]);
	SELECT e.mode INTO was FROM eventsource.erased_subjects e WHERE e.subject = subjects[1];
	-- A stronger mode may follow; and so may any, when a soft one was reverted.
	IF was IS NULL AND NOT EXISTS (SELECT FROM crm.customers c WHERE c.customer_id = id AND c.status = 'deleted')
	   OR array_position(modes, was) >= array_position(modes, erase_customer.mode) THEN
		PERFORM crm.close_customer(id, erase_customer.mode, erase_customer.actor);
	END IF;
	subjects := subjects || ARRAY(SELECT v FROM crm.personal_visits(id) v
		WHERE NOT EXISTS (SELECT FROM eventsource.erased_subjects e WHERE e.subject = v
							 AND array_position(modes, e.mode) >= array_position(modes, erase_customer.mode)));
	RETURN QUERY SELECT e.target, sum(e.affected)::bigint
				   FROM unnest(subjects) s (subject)
				  CROSS JOIN LATERAL eventsource.erase_subject(s.subject, erase_customer.mode, erase_customer.reason,
					erase_customer.actor) WITH ORDINALITY e (target, affected, n)
				  GROUP BY e.target ORDER BY min(e.n);
END
$$;
COMMENT ON FUNCTION crm.erase_customer(text, text, text, text) IS
	'Forgets a customer, in this transaction: consents, segments, campaigns and messages that wait end, personal fields of all events about the customer go as the mode says (see eventsource.erase_subject()), those of visits too that began before it was known whose they are, and nothing is recorded of the customer any more. soft and anonymize: what was bought stays, without a person; hard: nothing stays but that something happened. A stronger mode may follow a weaker one. Integrations are told. One row for each target: how much was cleared. Errors: 42501 without the right to this mode (eventsource.grant_eraser), 42704 no such customer, ZE009 erased so already, ZE007 unknown mode.';

CREATE FUNCTION crm.revert_erasure(customer_id text, reason text, actor text DEFAULT NULL) RETURNS TABLE (target text, affected bigint)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT r.target, sum(r.affected)::bigint
	  FROM (SELECT 'customer-' || revert_erasure.customer_id
			 UNION ALL SELECT v FROM crm.personal_visits(revert_erasure.customer_id) v
						WHERE EXISTS (SELECT FROM eventsource.erased_subjects e WHERE e.subject = v AND e.mode = 'soft')) s (subject)
	 CROSS JOIN LATERAL eventsource.revert_erasure(s.subject, revert_erasure.reason, revert_erasure.actor) WITH ORDINALITY r (target, affected, n)
	 GROUP BY r.target ORDER BY min(r.n)
$$;
COMMENT ON FUNCTION crm.revert_erasure(text, text, text) IS
	'What erase_customer() has hidden in mode soft can be seen again, by who may see it. The account stays deleted: consents, segments and campaigns are not given back. One row for each target: how much was restored. Errors: 55000 if the customer is not erased softly, 42501, 23505 customer_email_is_taken if the address is somebody else''s meanwhile.';
