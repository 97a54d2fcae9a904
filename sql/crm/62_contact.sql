-- May a customer be sent a message?  One function decides, from what is there at the
-- moment and under the customer's lock when something is sent; what it found is
-- stored with the message.

-- A time zone that nobody knows is that of the setting, and UTC if nobody knows that.
CREATE FUNCTION crm.quiet_until(at timestamptz, timezone text) RETURNS timestamptz
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	hours CONSTANT text := crm.setting('quiet_hours');
	begins time;
	ends time;
	zone text := coalesce(timezone, crm.setting('default_timezone'));
	local timestamp;
BEGIN
	IF coalesce(hours, '') = '' THEN
		RETURN NULL;
	END IF;
	BEGIN
		local := at AT TIME ZONE zone;
	EXCEPTION WHEN invalid_parameter_value THEN
		SELECT coalesce(max(z.name), 'UTC') INTO zone FROM pg_timezone_names z WHERE z.name = crm.setting('default_timezone');
		local := at AT TIME ZONE zone;
	END;
	begins := split_part(hours, '-', 1);
	ends := split_part(hours, '-', 2);
	IF begins < ends AND local::time >= begins AND local::time < ends THEN
		RETURN (local::date + ends) AT TIME ZONE zone;
	ELSIF begins > ends AND local::time >= begins THEN
		RETURN (local::date + 1 + ends) AT TIME ZONE zone;
	ELSIF begins > ends AND local::time < ends THEN
		RETURN (local::date + ends) AT TIME ZONE zone;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.quiet_until(timestamptz, text) IS
	'Until when it is quiet for somebody in a time zone (NULL: setting default_timezone), by setting quiet_hours; NULL: it is not.';

-- In plpgsql, which keeps its plan: to plan this takes ten times as long as to do it.
CREATE FUNCTION crm.can_contact(customer_id text, channel text, message_class text DEFAULT 'marketing', topic text DEFAULT NULL,
		at timestamptz DEFAULT now(),
		message_id text DEFAULT NULL) RETURNS TABLE (allowed boolean, reason text, reasons text, decision jsonb)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH found AS MATERIALIZED (
		SELECT a.customer_id, r.is_allowed, r.is_consent_needed, r.is_optional, r.needs_preference, r.is_topic_needed, r.is_capped,
			   c.status, c.is_email_deliverable, c.phone IS NOT NULL AS has_phone, c.paused_channels,
			   p.timezone, p.email_frequency, coalesce(p.email_frequency, f.value) AS frequency, p.push_categories, p.is_sms_for_promotions,
			   CASE a.channel WHEN 'email' THEN p.is_email_enabled WHEN 'sms' THEN p.is_sms_enabled
				WHEN 'push' THEN p.is_push_enabled END AS is_enabled,
			   CASE WHEN r.is_consent_needed THEN crm.has_consent(a.customer_id, 'marketing', a.channel, a.at) END AS has_consent,
			   CASE WHEN r.is_capped THEN (
					SELECT string_agg(cap.cap_id, ' > ' ORDER BY cap.cap_id)
					  FROM crm.frequency_caps cap
					 WHERE cap.channel = a.channel AND coalesce(cap.message_class = a.message_class, true) AND cap.max_messages IS NOT NULL
					   AND (cap.frequency IS NULL OR cap.frequency = coalesce(p.email_frequency, f.value))
					   AND cap.max_messages <= (
						SELECT count(*) FROM crm.messages m JOIN crm.channel_rules mr ON mr.channel = m.channel AND mr.message_class = m.message_class
						 WHERE m.customer_id = a.customer_id AND m.channel = cap.channel
						   AND (cap.message_class IS NULL OR m.message_class = cap.message_class) AND mr.is_capped
						   AND m.message_id IS DISTINCT FROM a.message_id AND coalesce(m.sent_at, m.queued_at) <= a.at
						   -- What waits will go out, however long it has waited.
						   AND (m.status = 'queued' OR m.sent_at > coalesce(a.at - cap.period, '-infinity')))) END AS caps
		  FROM (SELECT can_contact.customer_id, can_contact.channel, can_contact.message_class, can_contact.at, can_contact.message_id) a
		  JOIN crm.settings f ON f.setting_name = 'email_frequency'
		  LEFT JOIN crm.channel_rules r ON r.channel = a.channel AND r.message_class = a.message_class
		  LEFT JOIN crm.customers c ON c.customer_id = a.customer_id
		  LEFT JOIN crm.preferences p ON p.customer_id = a.customer_id
	)
	SELECT count(x.reason) = 0, (array_agg(x.reason ORDER BY x.n) FILTER (WHERE x.reason IS NOT NULL))[1], string_agg(x.reason, ' > ' ORDER BY x.n),
		   jsonb_strip_nulls(jsonb_build_object('at', crm.json_time(at), 'channel', channel, 'class', message_class, 'topic', topic,
				'status', max(f.status), 'consent', bool_or(f.has_consent),
				'frequency', CASE WHEN bool_or(f.is_capped) AND channel = 'email' THEN max(f.frequency) END,
				'caps', max(f.caps), 'refused', string_agg(x.reason, ' > ' ORDER BY x.n)))
	  FROM found f
	 CROSS JOIN LATERAL (VALUES
		(1, 'unknown-customer', f.status IS NULL),
		(2, 'unknown-channel', f.is_allowed IS NULL),
		(3, 'erased', f.status = 'deleted'),
		(4, 'address-invalid', channel = 'email' AND NOT f.is_email_deliverable),
		(5, 'no-phone', channel = 'sms' AND NOT f.has_phone),
		(6, 'channel-rule', NOT f.is_allowed),
		(7, 'account-closed', f.status = 'deactivated' AND message_class <> 'transactional'),
		(8, 'no-consent', f.is_consent_needed AND NOT f.has_consent),
		(9, 'channel-disabled', f.is_optional AND NOT f.is_enabled),
		(10, 'campaigns-paused', message_class <> 'transactional' AND position(channel IN coalesce(f.paused_channels, '')) > 0),
		(11, 'preference', f.needs_preference = 'smsForPromotions' AND f.is_sms_for_promotions IS DISTINCT FROM true
			OR f.needs_preference <> 'smsForPromotions'),
		(12, 'topic-not-wanted', f.is_topic_needed
			AND NOT EXISTS (SELECT FROM crm.push_topics t WHERE t.customer_id = f.customer_id AND t.topic = can_contact.topic)),
		(13, 'frequency-never', f.is_capped AND channel = 'email' AND f.frequency = 'never'),
		(14, 'frequency-cap', f.caps IS NOT NULL AND NOT (channel = 'email' AND f.frequency = 'never')),
		(15, 'quiet-hours', message_class <> 'transactional' AND channel <> 'email' AND crm.quiet_until(at, f.timezone) IS NOT NULL)
	  ) y (n, reason, holds)
	 CROSS JOIN LATERAL (SELECT y.n, CASE WHEN y.holds THEN y.reason END) x (n, reason);
END
$$;
COMMENT ON FUNCTION crm.can_contact(text, text, text, text, timestamptz, text) IS
	'May a customer be sent a message on a channel (email, sms, push) at that time? message_class: transactional (needs no consent, and has no caps), marketing, urgent-marketing; topic: for push messages, what it is about; message_id: a message that is not counted. One row: allowed, the first reason against it, all of them, and the decision as it is stored with messages. Reasons: unknown-customer, unknown-channel, erased, address-invalid, no-phone, channel-rule, account-closed, no-consent, channel-disabled, campaigns-paused, preference, topic-not-wanted, frequency-never, frequency-cap, quiet-hours (the message waits for their end). Rules and caps are those of now.';

CREATE FUNCTION crm.choose_channels(customer_id text, message_class text DEFAULT 'marketing', topic text DEFAULT NULL, at timestamptz DEFAULT now())
	RETURNS TABLE (channel text, display_order integer, allowed boolean, reason text, reasons text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT k.channel, k.n, d.allowed AND s.is_considered, CASE WHEN s.is_considered THEN d.reason ELSE coalesce(d.reason, 'not-a-default') END,
		   nullif(concat_ws(' > ', d.reasons, CASE WHEN NOT s.is_considered THEN 'not-a-default' END), '')
	  FROM (VALUES ('email', 1), ('sms', 2), ('push', 3)) k (channel, n)
	 CROSS JOIN LATERAL crm.can_contact(choose_channels.customer_id, k.channel, choose_channels.message_class, choose_channels.topic,
		choose_channels.at) d
	  JOIN crm.settings defaults ON defaults.setting_name = 'default_channels'
	 CROSS JOIN LATERAL (
		SELECT k.channel = ANY (string_to_array(replace(defaults.value, ' ', ''), ','))
			   OR EXISTS (SELECT FROM crm.preferences p WHERE p.customer_id = choose_channels.customer_id)) s (is_considered)
	 ORDER BY k.n
$$;
COMMENT ON FUNCTION crm.choose_channels(text, text, text, timestamptz) IS
	'Channels for a message to a customer, in order of preference, each with whether it may be used, and why not; see can_contact(). Who has said nothing of preferences gets the channels of setting default_channels; who refuses all of them gets none.';

CREATE FUNCTION crm.set_channel_rule(channel text, message_class text, rule jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF rule->>'needsPreference' IS NOT NULL AND rule->>'needsPreference' <> 'smsForPromotions' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('preference "%s" cannot be asked for', rule->>'needsPreference'),
			DETAIL = 'Nothing would ever be sent on this channel.',
			HINT = 'The preference that a rule can ask for is smsForPromotions.';
	END IF;
	PERFORM eventsource.append(format('crm_rule-channel:%s/%s', channel, message_class), 'ChannelRuleChanged',
							   jsonb_build_object('channel', channel, 'messageClass', message_class, 'rule', rule));
END
$$;
COMMENT ON FUNCTION crm.set_channel_rule(text, text, jsonb) IS
	'Changes what a channel may be used for: isAllowed, needsConsent, canBeDisabled, needsPreference, needsTopic, isCapped; see the view channel_rules. What is not given is as it was by default. It is an event. Errors: ZE007 unknown channel, class or member, 22023 unknown preference.';

CREATE FUNCTION crm.set_frequency_cap(cap_id text, channel text, max_messages integer, period interval DEFAULT NULL, frequency text DEFAULT NULL,
		message_class text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres SET datestyle = 'ISO, MDY'
		SET extra_float_digits = 1 AS $$
BEGIN
	IF period <= '0' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'the period of a cap must be longer than nothing',
			DETAIL = format('It is %s.', period),
			HINT = 'NULL means ever.';
	END IF;
	PERFORM eventsource.append('crm_rule-cap:' || cap_id, 'FrequencyCapChanged',
							   jsonb_build_object('channel', channel, 'messageClass', message_class, 'frequency', frequency, 'window', period,
								'max', max_messages));
END
$$;
COMMENT ON FUNCTION crm.set_frequency_cap(text, text, integer, interval, text, text) IS
	'Changes a cap, or makes one: how many messages a customer may be sent on a channel in a period; frequency: only for who prefers that. max_messages NULL: the cap is off. It is an event. Errors: ZE007 unknown channel, class or frequency, 22023 bad period.';
