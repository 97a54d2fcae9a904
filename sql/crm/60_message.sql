-- Messages: what is to be sent, was sent, and was not, and why.  A message is a
-- stream; its decision says what allowed it, or forbade it.

-- What becomes of a message is told of the customer and the channel that it was for.
CREATE FUNCTION crm.message_machine() RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $fn$
	SELECT jsonb_build_object(
		'description', 'From the queue to the recipient',
		'initial', 'queued',
		'create', '{"MessageQueued": "queued", "MessageSent": "sent", "MessageSkipped": "skipped", "MessageFailed": "failed"}'::jsonb,
		'states', jsonb_build_object(
			'queued', jsonb_build_object('on', jsonb_build_object(
				'MessageSent', same || '{"target": "sent"}', 'MessageSkipped', same || '{"target": "skipped"}',
				'MessageFailed', jsonb_build_array(jsonb_build_object('target', 'failed',
					'guard', same->'guard' || '{"is_given_up": "coalesce(event.data->>''retryable'' = ''false'', true)"}'::jsonb), same))),
			'failed',
			jsonb_build_object('on', jsonb_build_object('MessageQueued', same || '{"target": "queued"}', 'MessageSkipped', same
				|| '{"target": "skipped"}')),
			'sent',
			jsonb_build_object('on', jsonb_build_object('MessageDelivered', same || '{"target": "delivered"}', 'MessageBounced', same
				|| '{"target": "bounced"}')),
			'delivered', jsonb_build_object('on', jsonb_build_object('MessageBounced', same || '{"target": "bounced"}')),
			'bounced', '{"type": "final"}'::jsonb,
			'skipped', '{"type": "final"}'::jsonb),
		'on', jsonb_build_object('MessageOpened', seen, 'MessageClicked', seen))
	  FROM (VALUES ('{"guard": [{"same_customer": "event.data->>''customerId'' = row.customer_id"},
		{"same_channel": "event.data->>''channel'' = row.channel"}]}'::jsonb,
					'{"guard": [{"message_was_sent": "row.sent_at IS NOT NULL"}, {"same_customer": "event.data->>''customerId'' = row.customer_id"},
								{"same_channel": "event.data->>''channel'' = row.channel"}]}'::jsonb)) g (same, seen)
$fn$;
COMMENT ON FUNCTION crm.message_machine() IS 'Private, for install(): the life of a message.';

CREATE FUNCTION crm.make_messages() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('message', $table$
		message_id          text PRIMARY KEY,
		customer_id         text,
		channel             text,
		message_class       text NOT NULL DEFAULT 'marketing',
		topic               text,
		campaign_id         text,
		template_id         text,
		status              text,
		content             jsonb,
		decision            jsonb,
		queued_at           timestamptz,
		sent_at             timestamptz,
		delivered_at        timestamptz,
		opened_at           timestamptz,
		clicked_at          timestamptz,
		bounced_at          timestamptz,
		bounce_type         text,
		failed_at           timestamptz,
		failures            integer NOT NULL DEFAULT 0,
		error_type          text,
		skipped_at          timestamptz,
		skip_reason         text,
		provider_message_id text,
		version             bigint
	$table$);
	COMMENT ON TABLE crm.message IS 'Private: messages as they are now, a projection. Read the view messages.';
	CREATE INDEX IF NOT EXISTS message_customer_idx ON crm.message (customer_id, channel, queued_at);
	CREATE INDEX IF NOT EXISTS message_campaign_idx ON crm.message (campaign_id) WHERE campaign_id IS NOT NULL;
	CREATE INDEX IF NOT EXISTS message_failed_idx ON crm.message (failed_at) WHERE status = 'failed';

	-- Two that queue a message for one customer write one row: to a SERIALIZABLE transaction, which does
	-- not see what one that is not has queued meanwhile, that is a serialization failure.
	PERFORM crm.put_table('message_count', $table$
		customer_id text PRIMARY KEY,
		queued      bigint NOT NULL DEFAULT 0
	$table$);
	COMMENT ON TABLE crm.message_count IS 'Private: how many messages were queued for each customer, a projection.';

	PERFORM crm.put_table('contact_rule', $table$
		rule_id    text PRIMARY KEY,
		change     text,
		rule       jsonb,
		changed_at timestamptz,
		changed_by text
	$table$);
	COMMENT ON TABLE crm.contact_rule IS
		'Private: caps and channel rules that were changed, a projection. Read the views frequency_caps and channel_rules.';
	PERFORM crm.put_check('crm.contact_rule', 'rule_is_readable',
		$check$ change <> 'FrequencyCapChanged' OR coalesce((rule->>'window')::interval > '0', true)
			AND coalesce((rule->>'max')::integer >= 0, true) $check$);
END
$$;
COMMENT ON FUNCTION crm.make_messages() IS 'Private, for install(): tables of messages.';

CREATE FUNCTION crm.put_messages() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	about CONSTANT text := $rule$ customer_id = event.data->>'customerId', channel = event.data->>'channel',
		message_class = coalesce(event.data->>'messageClass', row.message_class),
		topic = coalesce(event.data->>'topic', row.topic), campaign_id = coalesce(event.data->>'campaignId', row.campaign_id),
		template_id = coalesce(event.data->>'templateId', row.template_id), content = coalesce(nullif(event.data->'content', 'null'), row.content),
		decision = coalesce(nullif(event.data->'decision', 'null'), row.decision) $rule$;
	always CONSTANT text := $rule$ status = event.to_state, version = event.version $rule$;
	rule CONSTANT text := $rule$ change = event.type, rule = event.data, changed_at = event.occurred_at, changed_by = event.actor $rule$;
BEGIN
	RETURN crm.put_projection('crm.message', 'message', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (VALUES
				('*', NULL),
				('MessageQueued', about || $rule$, queued_at = event.occurred_at, failed_at = NULL $rule$),
				('MessageSent', about || $rule$, sent_at = event.occurred_at, provider_message_id = event.data->>'messageId', failed_at = NULL,
					queued_at = coalesce(row.queued_at, event.occurred_at) $rule$),
				('MessageSkipped', about || $rule$, skipped_at = event.occurred_at, skip_reason = event.data->>'reason' $rule$),
				('MessageFailed', $rule$ customer_id = event.data->>'customerId', channel = event.data->>'channel', failures = row.failures + 1,
					error_type = event.data->>'errorType',
					failed_at = CASE WHEN event.to_state = 'failed' THEN event.occurred_at END $rule$),
				('MessageDelivered', $rule$ delivered_at = event.occurred_at $rule$),
				('MessageBounced', $rule$ bounced_at = event.occurred_at, bounce_type = event.data->>'bounceType' $rule$),
				('MessageOpened', $rule$ opened_at = coalesce(row.opened_at, event.occurred_at) $rule$),
				('MessageClicked', $rule$ clicked_at = coalesce(row.clicked_at, event.occurred_at) $rule$)
			) rule (type, set)))
		+ crm.put_projection('crm.message_count', 'message', jsonb_build_object('MessageQueued', 'queued = row.queued + 1'),
			$key$ {"customer_id": "event.data->>'customerId'"} $key$)
		+ crm.put_projection('crm.contact_rule', 'crm_rule', jsonb_build_object('FrequencyCapChanged', rule, 'ChannelRuleChanged', rule))
		+ crm.put_state_machine('crm_message', crm.message_machine());
END
$$;
COMMENT ON FUNCTION crm.put_messages() IS 'Private, for install(): tables, projections and state machine of messages.';

-- What the documents say of channels: the rules, and how often.
CREATE FUNCTION crm.channel_rule_defaults()
	RETURNS TABLE (channel text, message_class text, is_allowed boolean, is_consent_needed boolean, is_optional boolean,
		needs_preference text, is_topic_needed boolean, is_capped boolean)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('email', 'transactional',    true,  false, false, NULL,               false, false),
		('email', 'marketing',        true,  true,  true,  NULL,               false, true),
		('email', 'urgent-marketing', true,  true,  true,  NULL,               false, true),
		('sms',   'transactional',    true,  false, true,  NULL,               false, false),
		('sms',   'marketing',        false, true,  true,  NULL,               false, true),
		('sms',   'urgent-marketing', true,  true,  true,  'smsForPromotions', false, true),
		('push',  'transactional',    true,  false, true,  NULL,               false, false),
		('push',  'marketing',        true,  true,  true,  NULL,               true,  true),
		('push',  'urgent-marketing', true,  true,  true,  NULL,               true,  true)
$sql$;
COMMENT ON FUNCTION crm.channel_rule_defaults() IS 'Private: what channels may be used for, unless set_channel_rule() has changed it.';

CREATE FUNCTION crm.frequency_cap_defaults()
	RETURNS TABLE (cap_id text, channel text, message_class text, frequency text, period interval, max_messages integer)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('email-daily',  'email', NULL::text, 'daily',    '24 hours'::interval, 1),
		('email-weekly', 'email', NULL,       'weekly',   '168 hours',          1),
		('email-never',  'email', NULL,       'never',    NULL,                 0),
		('push-hourly',  'push',  NULL,       NULL,       '1 hour',             1)
$sql$;
COMMENT ON FUNCTION crm.frequency_cap_defaults() IS 'Private: how often messages may be sent, unless set_frequency_cap() has changed it.';

CREATE FUNCTION crm.put_message_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('channel_rules', 'What each channel may be used for, one row per channel and class of messages.', jsonb_build_object(
			'channel', 'email, sms or push.',
			'message_class', 'transactional, marketing or urgent-marketing.',
			'is_allowed', 'May such messages be sent on it at all?',
			'is_consent_needed', 'Is consent to marketing on it needed?',
			'is_optional', 'Does the customer''s <channel>Enabled = false count?',
			'needs_preference', 'Preference that must be true; NULL: none.',
			'is_topic_needed', 'Must the topic be one of the customer''s pushCategories?',
			'is_capped', 'Do frequency caps hold, and does it count for them?',
			'is_default', 'True if it was not changed.'), $view$
		SELECT d.channel, d.message_class, coalesce((r.rule #>> '{rule,isAllowed}')::boolean, d.is_allowed) AS is_allowed,
			   coalesce((r.rule #>> '{rule,needsConsent}')::boolean, d.is_consent_needed) AS is_consent_needed,
			   coalesce((r.rule #>> '{rule,canBeDisabled}')::boolean, d.is_optional) AS is_optional,
			   CASE WHEN r.rule->'rule' ? 'needsPreference' THEN r.rule #>> '{rule,needsPreference}' ELSE d.needs_preference END AS needs_preference,
			   coalesce((r.rule #>> '{rule,needsTopic}')::boolean, d.is_topic_needed) AS is_topic_needed,
			   coalesce((r.rule #>> '{rule,isCapped}')::boolean, d.is_capped) AS is_capped, r.rule_id IS NULL AS is_default
		  FROM crm.channel_rule_defaults() d
		  LEFT JOIN crm.contact_rule r ON r.rule_id = 'channel:' || d.channel || '/' || d.message_class $view$);

	PERFORM crm.put_view('frequency_caps', 'How often a customer may be sent messages, one row per cap.', jsonb_build_object(
			'cap_id', 'Name of the cap.',
			'channel', 'Channel that it is for.',
			'message_class', 'Class that it is for and counts; NULL: all that are capped.',
			'frequency', 'For customers who prefer this frequency of e-mail; NULL: for all.',
			'period', 'In how long; a message that is exactly as old counts no more. NULL: ever.',
			'max_messages', 'How many may be sent in it; NULL: the cap is off.',
			'is_default', 'True if it was not changed.'), $view$
		SELECT d.cap_id, d.channel, d.message_class, d.frequency, d.period, d.max_messages, true AS is_default
		  FROM crm.frequency_cap_defaults() d
		 WHERE NOT EXISTS (SELECT FROM crm.contact_rule r WHERE r.rule_id = 'cap:' || d.cap_id)
		 UNION ALL
		SELECT substr(r.rule_id, 5), r.rule->>'channel', r.rule->>'messageClass', r.rule->>'frequency', (r.rule->>'window')::interval,
			   (r.rule->>'max')::integer, false
		  FROM crm.contact_rule r
		 WHERE r.change = 'FrequencyCapChanged' $view$);

	PERFORM crm.put_view('messages', 'Messages, one row each: what was sent, and what was not, and why.', jsonb_build_object(
			'message_id', 'The message; its stream is message-<message_id>.',
			'customer_id', 'To whom.',
			'channel', 'email, sms or push.',
			'message_class', 'transactional, marketing or urgent-marketing.',
			'topic', 'What it is about, for push categories.',
			'campaign_id', 'Campaign that sent it; NULL: none.',
			'template_id', 'Template of its text.',
			'content', 'What else who sends it is told; NULL for who may not see personal data, too.',
			'status', 'queued, sent, delivered, bounced, skipped or failed.',
			'is_sent', 'True if it went out.',
			'skip_reason', 'Why it was not sent.',
			'queued_at', 'When it was to be sent.',
			'sent_at', 'When it went out.',
			'delivered_at', 'When it arrived.',
			'opened_at', 'When it was opened first.',
			'clicked_at', 'When a link was followed first.',
			'bounced_at', 'When it came back.',
			'bounce_type', 'permanent or transient.',
			'skipped_at', 'When it was skipped.',
			'failed_at', 'When it was given up.',
			'failure_count', 'Failed attempts.',
			'error_type', 'Code of the last failure.',
			'provider_message_id', 'What the provider calls it; by the relay what it was told: the id in Message-ID, or webhook-id.',
			'decision', 'What was found when it was decided on: account, consent, preferences, caps.'), $view$
		SELECT m.message_id, m.customer_id, m.channel, m.message_class, m.topic, m.campaign_id, m.template_id,
			   CASE WHEN eventsource.sees_personal_data() THEN m.content END AS content, m.status,
			   m.sent_at IS NOT NULL AS is_sent, m.skip_reason,
			   m.queued_at, m.sent_at, m.delivered_at, m.opened_at, m.clicked_at, m.bounced_at, m.bounce_type, m.skipped_at, m.failed_at,
			   m.failures AS failure_count,
			   m.error_type, m.provider_message_id, m.decision
		  FROM crm.message m
		 WHERE eventsource.may_read_category('message') $view$);

	PERFORM crm.put_view('suppressions', 'Why customers get no marketing on a channel whatever is sent, one row per customer, channel and reason.',
		jsonb_build_object(
			'customer_id', 'The customer.',
			'channel', 'email, sms or push.',
			'reason', 'account-closed, erased, address-invalid, no-phone, channel-disabled, frequency-never or campaigns-paused.'), $view$
		SELECT c.customer_id, ch.channel, s.reason
		  FROM crm.customers c
		 CROSS JOIN (VALUES ('email'), ('sms'), ('push')) ch (channel)
		  LEFT JOIN crm.preferences p ON p.customer_id = c.customer_id
		 CROSS JOIN LATERAL (VALUES
			('account-closed', c.status = 'deactivated'), ('erased', c.status = 'deleted'),
				('address-invalid', ch.channel = 'email' AND NOT c.is_email_deliverable),
			('no-phone', ch.channel = 'sms' AND c.phone IS NULL),
			('channel-disabled', CASE ch.channel WHEN 'email' THEN p.is_email_enabled WHEN 'sms' THEN p.is_sms_enabled ELSE p.is_push_enabled END =
				false),
			('frequency-never', ch.channel = 'email' AND p.email_frequency = 'never'),
			('campaigns-paused', c.paused_channels LIKE '%' || ch.channel || '%')) s (reason, holds)
		 WHERE s.holds $view$);
END
$$;
COMMENT ON FUNCTION crm.put_message_views() IS 'Private, for install(): views of messages.';
