-- Customers: who they are, what they consented to, what they prefer.  An e-mail
-- address is unique by a constraint on the projection, so two registrations at once
-- leave one.  Guards see no personal data: a token is compared by its hash, and
-- that an address is another one is a constraint, too.

CREATE FUNCTION crm.customer_machine() RETURNS jsonb
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
	consent CONSTANT text := $$(row.consents -> ((event.data->>'purpose') || '/' || (event.data->>'channel')))$$;
	lasts CONSTANT text := format($$coalesce((%s->>'expires_at')::timestamptz > event.occurred_at, false)$$, consent);
	-- A grant that is recorded late does not undo what was taken back since.
	grant_once CONSTANT jsonb := jsonb_build_object('guard', jsonb_build_array(
		jsonb_build_object('consent_is_not_granted', format('NOT %s', lasts)),
		jsonb_build_object('consent_is_not_from_before', format($$coalesce(event.occurred_at >= (%s->>'ended_at')::timestamptz, true)$$, consent))));
	there CONSTANT jsonb := jsonb_build_object('guard', jsonb_build_object('consent_is_there', format($$%s->>'expires_at' IS NOT NULL$$, consent)));
	proof CONSTANT jsonb := jsonb_build_object('target', 'active', 'guard', jsonb_build_array(
		jsonb_build_object('terms_are_accepted', 'row.terms_version IS NOT NULL'),
		jsonb_build_object('token_is_right', $$encode(sha256(decode(event.data->>'tokenHash', 'hex')), 'hex') = row.token_hash$$),
		-- By what is said, and by our clock: who says when things happened may say so of what is late.
		jsonb_build_object('token_is_good',
			$$coalesce(event.occurred_at <= row.token_expires_at AND event.recorded_at - row.token_recorded_at <= row.token_lasts, true)$$)));
	open CONSTANT jsonb := jsonb_build_object(
		'TermsAccepted', '{}'::jsonb, 'EmailVerificationRequested', '{}'::jsonb, 'EmailVerified', proof,
		'CustomerEmailUpdated', '{}'::jsonb, 'CustomerNameUpdated', '{}'::jsonb, 'CustomerPhoneUpdated', '{}'::jsonb,
		'CustomerAddressUpdated', '{}'::jsonb,
		'CustomerDateOfBirthUpdated', '{}'::jsonb,
		'CustomerSegmentAdded', jsonb_build_object('guard', jsonb_build_object('not_in_segment', $$NOT row.segments ? (event.data->>'segmentId')$$)),
		'ConsentGranted', grant_once, 'ConsentRenewed', there, 'PreferencesUpdated', '{}'::jsonb,
		'ProductAffinityDetected',
		jsonb_build_object('guard', jsonb_build_object('affinity_is_new', $$NOT row.affinities ? (event.data->>'category')$$)),
		'ProductAffinityEnded', jsonb_build_object('guard', jsonb_build_object('affinity_is_there', $$row.affinities ? (event.data->>'category')$$)),
		'ReviewRequested', '{}'::jsonb, 'ReviewSubmitted', '{}'::jsonb,
		'CustomerDeactivated', '{"target": "deactivated", "kind": "backward", "fill": {"previousStatus": "state"}}'::jsonb);
	-- What may come even after the account is closed.
	closing CONSTANT jsonb := jsonb_build_object(
		'ConsentRevoked', there,
		'ConsentExpired',
		jsonb_build_object('guard', jsonb_build_object('consent_is_over', format($$%s->>'expires_at' IS NOT NULL AND NOT %s$$, consent, lasts))),
		'CustomerEmailInvalidated', '{}'::jsonb, 'CampaignsPaused', '{}'::jsonb, 'CampaignsResumed', '{}'::jsonb,
		'CustomerSegmentRemoved', jsonb_build_object('guard', jsonb_build_object('in_segment', $$row.segments ? (event.data->>'segmentId')$$)),
		'CustomerDataDeletionRequested', '{}'::jsonb, 'CustomerDataDeleted', '{"target": "deleted"}'::jsonb);
BEGIN
	RETURN jsonb_build_object(
		'description', 'From the registration to the end',
		'initial', 'pending-verification',
		'create', '{"CustomerCreated": "pending-verification"}'::jsonb,
		'states', jsonb_build_object(
			'pending-verification', jsonb_build_object('on', open || closing),
			'active', jsonb_build_object('on', open || closing),
			'deactivated', jsonb_build_object('on', closing || jsonb_build_object('CustomerReactivated',
				'[{"target": "active", "kind": "forward", "guard": {"was_active": "row.is_verified"}},
					{"target": "pending-verification", "kind": "forward"}]'::jsonb)),
			'deleted', '{"type": "final"}'::jsonb));
END
$fn$;
COMMENT ON FUNCTION crm.customer_machine() IS 'Private, for install(): the life of a customer.';

CREATE FUNCTION crm.make_customers() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('customer', $table$
		customer_id      text PRIMARY KEY,
		status           text,
		email            text,
		email_key        text CONSTRAINT customer_email_is_taken UNIQUE,
		is_same_email    boolean NOT NULL DEFAULT false CONSTRAINT customer_email_must_differ CHECK (NOT is_same_email),
		is_verified      boolean NOT NULL DEFAULT false,
		is_deliverable   boolean NOT NULL DEFAULT true,
		token_hash       text,
		token_expires_at timestamptz,
		token_recorded_at timestamptz,
		token_lasts      interval,
		first_name       text,
		last_name        text,
		phone            text,
		date_of_birth    text,
		address          jsonb,
		source           text,
		terms_version    text,
		terms_at         timestamptz,
		consents         jsonb NOT NULL DEFAULT '{}',
		paused           jsonb NOT NULL DEFAULT '{}',
		segments         jsonb NOT NULL DEFAULT '{}',
		affinities       jsonb NOT NULL DEFAULT '{}',
		deactivated_at   timestamptz,
		created_at       timestamptz,
		updated_at       timestamptz,
		version          bigint
	$table$);
	COMMENT ON TABLE crm.customer IS 'Private: customers as they are now, a projection. Read the view customers.';

	PERFORM crm.put_table('consent_change', $table$
		customer_id    text,
		version        bigint,
		purpose        text,
		channel        text,
		change         text,
		changed_at     timestamptz,
		expires_at     timestamptz,
		consent_method text,
		notice_version text,
		legal_basis    text,
		ip_address     text,
		user_agent     text,
		reason         text,
		actor          text,
		PRIMARY KEY (customer_id, version)
	$table$);
	COMMENT ON TABLE crm.consent_change IS 'Private: consents granted and taken back, a projection. Read the views consents and consent_history.';
	CREATE INDEX IF NOT EXISTS consent_change_idx ON crm.consent_change (customer_id, purpose, channel, version);
	-- Who consents to a purpose, for the view consents.
	CREATE INDEX IF NOT EXISTS consent_change_purpose_idx ON crm.consent_change (purpose, channel, customer_id, version DESC);

	PERFORM crm.put_table('preference', $table$
		customer_id text,
		field       text,
		value       jsonb,
		changed_at  timestamptz,
		actor       text,
		PRIMARY KEY (customer_id, field)
	$table$);
	COMMENT ON TABLE crm.preference IS 'Private: preferences, field by field, a projection. Read the view preferences.';
END
$$;
COMMENT ON FUNCTION crm.make_customers() IS 'Private, for install(): tables of customers.';

-- What tells one address from another: neither capitals, nor another way to write a letter, nor
-- what nobody sees.
CREATE FUNCTION crm.email_key_rule(address text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF getdatabaseencoding() <> 'UTF8' THEN
		RETURN format('lower(%s)', address);
	END IF;
	RETURN format('lower(translate(normalize(%s, NFKC), %L, %L))', address,
				  (SELECT string_agg(chr(c), '' ORDER BY c) FROM unnest('{173,8203,8204,8205,8206,8207,8288,65279}'::integer[]) c), '');
END
$$;
COMMENT ON FUNCTION crm.email_key_rule(text) IS
	'Private: the expression by which an address (an expression, too) is known to be the same as another.';

CREATE FUNCTION crm.email_key(address text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	key text;
BEGIN
	EXECUTE 'SELECT ' || crm.email_key_rule('$1') INTO key USING address;
	RETURN key;
END
$$;
COMMENT ON FUNCTION crm.email_key(text) IS 'Private, for commands: what is the same for two ways to write one address.';

CREATE FUNCTION crm.put_customers() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	always CONSTANT text := $rule$ status = event.to_state, updated_at = event.occurred_at, version = event.version $rule$;
	-- What an event by hand does not say, the settings do.
	expires CONSTANT text := format($rule$ coalesce((event.data->>'expiresAt')::timestamptz, event.occurred_at + CASE event.data->>'purpose'
		WHEN 'marketing' THEN %L::interval WHEN 'analytics' THEN %L::interval ELSE %L::interval END) $rule$,
		crm.setting('consent_term_marketing'), crm.setting('consent_term_analytics'), crm.setting('consent_term_essential'));
	granted CONSTANT text := $rule$ consents = row.consents || jsonb_build_object((event.data->>'purpose') || '/' || (event.data->>'channel'),
		jsonb_build_object('expires_at', $rule$ || expires || $rule$)) $rule$;
	-- What ends, or is wanted otherwise, does so when it is recorded at the latest, whatever a
	-- clock says that is wrong.
	ended CONSTANT text := $rule$ consents = row.consents || jsonb_build_object((event.data->>'purpose') || '/' || (event.data->>'channel'),
		jsonb_build_object('ended_at', least(event.occurred_at, event.recorded_at))) $rule$;
	key CONSTANT jsonb := '{"customer_id": "event.key", "version": "event.version"}';
	changed CONSTANT text := $rule$ purpose = event.data->>'purpose', channel = event.data->>'channel', change = event.type,
		changed_at = event.occurred_at, actor = event.actor $rule$;
	taken_back CONSTANT text := replace(changed, 'event.occurred_at', 'least(event.occurred_at, event.recorded_at)');
	evidence CONSTANT text := changed || $rule$, expires_at = $rule$ || expires || $rule$,
		consent_method = event.data->>'consentMethod', notice_version = event.data->>'noticeVersion', legal_basis = event.data->>'legalBasis',
		ip_address = event.data->>'ipAddress', user_agent = event.data->>'userAgent' $rule$;
BEGIN
	RETURN crm.put_projection('crm.customer', 'customer', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (VALUES
				('*', NULL),
				('CustomerCreated', format(' email_key = %s, ', crm.email_key_rule($rule$event.data->>'email'$rule$))
					|| $rule$ email = event.data->>'email', first_name = event.data->>'firstName',
					last_name = event.data->>'lastName', phone = event.data->>'phone', date_of_birth = event.data->>'dateOfBirth',
					source = event.data->>'source', created_at = event.occurred_at $rule$),
				('TermsAccepted', $rule$ terms_version = event.data->>'termsVersion', terms_at = event.occurred_at $rule$),
				('EmailVerificationRequested',
					$rule$ token_hash = event.data->>'tokenHash', token_expires_at = (event.data->>'expiresAt')::timestamptz,
					token_recorded_at = event.recorded_at, token_lasts = (event.data->>'expiresAt')::timestamptz - event.occurred_at,
					is_same_email = false $rule$),
				('EmailVerified', $rule$ is_verified = true, token_hash = NULL, token_expires_at = NULL $rule$),
				('CustomerEmailUpdated',
					format(' is_same_email = coalesce(%1$s = row.email_key, false), email_key = %1$s, ',
						crm.email_key_rule($rule$event.data->>'newEmail'$rule$))
					|| $rule$ email = event.data->>'newEmail', is_verified = false, is_deliverable = true, token_hash = NULL,
						token_expires_at = NULL $rule$),
				('CustomerNameUpdated', $rule$ first_name = event.data->>'newFirstName', last_name = event.data->>'newLastName' $rule$),
				('CustomerPhoneUpdated', $rule$ phone = event.data->>'newPhone' $rule$),
				('CustomerAddressUpdated', $rule$ address = nullif(event.data->'newAddress', 'null') $rule$),
				('CustomerDateOfBirthUpdated', $rule$ date_of_birth = event.data->>'newDateOfBirth' $rule$),
				('CustomerEmailInvalidated', $rule$ is_deliverable = false $rule$),
				('CustomerDeactivated', $rule$ deactivated_at = event.occurred_at $rule$),
				('CustomerReactivated', $rule$ deactivated_at = NULL $rule$),
				('CustomerSegmentAdded', $rule$ segments = row.segments || jsonb_build_object(event.data->>'segmentId', event.occurred_at) $rule$),
				('CustomerSegmentRemoved', $rule$ segments = row.segments - (event.data->>'segmentId') $rule$),
				('ProductAffinityDetected',
					$rule$ affinities = row.affinities || jsonb_build_object(event.data->>'category', event.data->'affinityScore') $rule$),
				('ProductAffinityEnded', $rule$ affinities = row.affinities - (event.data->>'category') $rule$),
				('CampaignsPaused',
					$rule$ paused = row.paused
						|| CASE
					WHEN event.data->>'channel' IS NULL THEN jsonb_build_object('email', event.data->'reason', 'sms', event.data->'reason',
						'push', event.data->'reason')
					ELSE jsonb_build_object(event.data->>'channel', event.data->'reason') END $rule$),
				('CampaignsResumed',
					$rule$ paused = CASE WHEN event.data->>'channel' IS NULL THEN '{}' ELSE row.paused - (event.data->>'channel') END $rule$),
				('ConsentGranted', granted),
				('ConsentRenewed', granted),
				('ConsentRevoked', ended),
				('ConsentExpired', ended)
			) rule (type, set)))
		+ crm.put_projection('crm.consent_change', 'customer', jsonb_build_object('ConsentGranted', evidence, 'ConsentRenewed', evidence,
			'ConsentRevoked', taken_back || $rule$, reason = event.data->>'reason' $rule$, 'ConsentExpired', taken_back), key)
		-- Of two changes of a field the later one holds, whichever arrives first; of two at one time, the one that was recorded last.
		+ crm.put_projection('crm.preference', 'customer', jsonb_build_object('PreferencesUpdated', jsonb_build_object(
			'each', $rule$ jsonb_object_keys(event.data->'preferences') $rule$, 'key', '{"customer_id": "event.key", "field": "item"}'::jsonb,
			'where', 'coalesce(least(event.occurred_at, event.recorded_at) >= row.changed_at, true)',
			'set', $rule$ value = event.data->'preferences'->item, changed_at = least(event.occurred_at, event.recorded_at),
				actor = event.actor $rule$)),
			'{"customer_id": "event.key", "field": "event.type"}')
		+ crm.put_state_machine('crm_customer', crm.customer_machine());
END
$$;
COMMENT ON FUNCTION crm.put_customers() IS 'Private, for install(): tables, projections and state machine of customers.';

CREATE FUNCTION crm.put_customer_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('customers', 'Customers as they are now, one row each.', jsonb_build_object(
			'customer_id', 'The customer; the stream is customer-<customer_id>.',
			'status', 'pending-verification, active, deactivated or deleted.',
			'email', 'E-mail address; *** for who may not see personal data.',
			'is_email_verified', 'True if it was proved.',
			'is_email_deliverable', 'False if it takes no mail.',
			'first_name', 'First name; *** likewise.',
			'last_name', 'Last name; *** likewise.',
			'phone', 'Phone number; *** likewise.',
			'date_of_birth', 'Date of birth; *** likewise.',
			'address', 'Address as JSON text; *** likewise.',
			'source', 'web, mobile, api or import.',
			'terms_version', 'Version of the terms that were accepted.',
			'terms_accepted_at', 'When.',
			'paused_channels', 'Channels on which campaigns are paused, joined by '' > ''; NULL: none.',
			'segments', 'Segments, joined by '' > ''.',
			'affinities', 'Categories that most is spent on, joined by '' > ''.',
			'deactivated_at', 'When the account was closed; NULL: it is open.',
			'created_at', 'When the customer registered.',
			'updated_at', 'When the last event happened.',
			'version', 'Version of that event.'), $view$
		SELECT c.customer_id, c.status, crm.masked(c.email) AS email, c.is_verified AS is_email_verified, c.is_deliverable AS is_email_deliverable,
			   crm.masked(c.first_name) AS first_name, crm.masked(c.last_name) AS last_name, crm.masked(c.phone) AS phone,
			   crm.masked(c.date_of_birth) AS date_of_birth, crm.masked(c.address::text) AS address,
			   c.source, c.terms_version, c.terms_at AS terms_accepted_at,
			   (SELECT string_agg(p.channel, ' > ' ORDER BY p.channel) FROM jsonb_object_keys(c.paused) p (channel)) AS paused_channels,
			   (SELECT string_agg(s.segment, ' > ' ORDER BY s.segment) FROM jsonb_object_keys(c.segments) s (segment)) AS segments,
			   (SELECT string_agg(a.category, ' > ' ORDER BY a.category) FROM jsonb_object_keys(c.affinities) a (category)) AS affinities,
			   c.deactivated_at, c.created_at, c.updated_at, c.version
		  FROM crm.customer c
		 WHERE eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('consent_history', 'Consents over time: one row for each grant and renewal, until when it held.', jsonb_build_object(
			'customer_id', 'The customer.',
			'purpose', 'marketing, analytics or essential.',
			'channel', 'email, sms or push.',
			'version', 'Version of the event.',
			'change', 'ConsentGranted or ConsentRenewed.',
			'granted_at', 'From when.',
			'expires_at', 'Until when, if nothing happens; it holds no more at that moment.',
			'ended_at', 'Until when it held; NULL: it holds, or runs out at expires_at.',
			'ended_by', 'Event that ended it; NULL: none.',
			'end_reason', 'Why it was taken back.',
			'consent_method', 'How it was given.',
			'notice_version', 'Which notice was shown.',
			'legal_basis', 'Legal basis.',
			'ip_address', 'From where; *** for who may not see personal data.',
			'user_agent', 'With what; *** likewise.',
			'granted_by', 'Actor.'), $view$
		SELECT h.customer_id, h.purpose, h.channel, h.version, h.change, h.changed_at AS granted_at, h.expires_at,
			   CASE WHEN h.next_at IS NOT NULL THEN greatest(least(h.next_at, h.expires_at), h.changed_at)
				WHEN h.expires_at <= now() THEN h.expires_at END AS ended_at,
			   h.ended_by, h.end_reason, h.consent_method, h.notice_version, h.legal_basis,
			   crm.masked(h.ip_address) AS ip_address, crm.masked(h.user_agent) AS user_agent, h.actor AS granted_by
		  FROM (SELECT x.*, lead(x.changed_at) OVER w AS next_at, lead(x.change) OVER w AS ended_by, lead(x.reason) OVER w AS end_reason
				  FROM crm.consent_change x WINDOW w AS (PARTITION BY x.customer_id, x.purpose, x.channel ORDER BY x.version)) h
		 WHERE h.change IN ('ConsentGranted', 'ConsentRenewed') AND eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('consents', 'Consents as they are now, one row per customer, purpose and channel.', jsonb_build_object(
			'customer_id', 'The customer.',
			'purpose', 'marketing, analytics or essential.',
			'channel', 'email, sms or push.',
			'is_active', 'True if it holds now.',
			'status', 'granted, revoked or expired.',
			'changed_at', 'When it was granted, renewed or taken back.',
			'expires_at', 'Until when it holds; NULL: taken back.',
			'consent_method', 'How it was given.',
			'notice_version', 'Which notice was shown.',
			'legal_basis', 'Legal basis.',
			'version', 'Version of the event.'), $view$
		SELECT c.customer_id, c.purpose, c.channel, coalesce(c.expires_at > now(), false) AS is_active,
			   CASE WHEN c.change = 'ConsentRevoked' THEN 'revoked' WHEN coalesce(c.expires_at <= now(), true) THEN 'expired'
				ELSE 'granted' END AS status,
			   c.changed_at, c.expires_at, c.consent_method, c.notice_version, c.legal_basis, c.version
		  FROM (SELECT DISTINCT ON (x.customer_id, x.purpose, x.channel) x.* FROM crm.consent_change x
				 ORDER BY x.customer_id, x.purpose, x.channel, x.version DESC) c
		 WHERE eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('preferences', 'Preferences as they are now, one row per customer who has any; NULL: not said.', jsonb_build_object(
			'customer_id', 'The customer.',
			'email_frequency', 'daily, weekly or never.',
			'categories', 'Categories of interest, joined by '' > ''.',
			'timezone', 'Time zone.',
			'is_email_enabled', 'May e-mail be sent?',
			'is_sms_enabled', 'May text messages be sent?',
			'is_push_enabled', 'May push messages be sent?',
			'is_sms_for_promotions', 'May promotions be sent by text message?',
			'push_categories', 'Categories of push messages that are wanted, joined by '' > ''.',
			'updated_at', 'When one was changed last.'), $view$
		SELECT p.customer_id, max(p.value #>> '{}') FILTER (WHERE p.field = 'emailFrequency') AS email_frequency,
			   max((SELECT string_agg(c, ' > ') FROM jsonb_array_elements_text(CASE WHEN p.field = 'categories' THEN p.value ELSE '[]' END) c))
				AS categories,
			   max(p.value #>> '{}') FILTER (WHERE p.field = 'timezone') AS timezone,
			   bool_or((p.value #>> '{}') = 'true') FILTER (WHERE p.field = 'emailEnabled') AS is_email_enabled,
			   bool_or((p.value #>> '{}') = 'true') FILTER (WHERE p.field = 'smsEnabled') AS is_sms_enabled,
			   bool_or((p.value #>> '{}') = 'true') FILTER (WHERE p.field = 'pushEnabled') AS is_push_enabled,
			   bool_or((p.value #>> '{}') = 'true') FILTER (WHERE p.field = 'smsForPromotions') AS is_sms_for_promotions,
			   max((SELECT string_agg(c, ' > ') FROM jsonb_array_elements_text(CASE WHEN p.field = 'pushCategories' THEN p.value ELSE '[]' END) c))
				AS push_categories,
			   max(p.changed_at) AS updated_at
		  FROM crm.preference p
		 WHERE eventsource.may_read_category('customer')
		 GROUP BY p.customer_id $view$);

	PERFORM crm.put_view('push_topics', 'Categories of push messages that customers want, one row per customer and category.', jsonb_build_object(
			'customer_id', 'The customer.', 'topic', 'The category.'), $view$
		SELECT p.customer_id, t.topic
		  FROM crm.preference p CROSS JOIN LATERAL jsonb_array_elements_text(p.value) t (topic)
		 WHERE p.field = 'pushCategories' AND jsonb_typeof(p.value) = 'array' AND eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('customer_audit_trail', 'What changed about a customer, one row per field; old values are those of the events before.',
		jsonb_build_object(
			'customer_id', 'The customer.',
			'version', 'Version of the event.',
			'changed_at', 'When.',
			'event_type', 'What happened.',
			'field', 'Which field.',
			'old_value', 'Its value before; *** for who may not see personal data.',
			'new_value', 'Its value; *** likewise.',
			'changed_by', 'Actor.',
			'ip_address', 'From where; the network for who may not see personal data.',
			'user_agent', 'With what; *** likewise.'), $view$
		SELECT t.customer_id, t.version, t.changed_at, t.event_type, t.field, t.old_value, t.new_value, t.changed_by, t.ip_address, t.user_agent
		  FROM (SELECT c.customer_id, e.version, e.occurred_at AS changed_at, e.type AS event_type, f.field,
					   lag(f.value) OVER (PARTITION BY c.customer_id, f.field ORDER BY e.version) AS old_value, f.value AS new_value,
					   e.actor AS changed_by,
					   e.data->>'ipAddress' AS ip_address, e.data->>'userAgent' AS user_agent
				  FROM crm.customer c
				 CROSS JOIN LATERAL eventsource.read_stream('customer-' || c.customer_id) e
				 CROSS JOIN LATERAL (VALUES
					('email', coalesce(e.data->>'email', e.data->>'newEmail'), e.type IN ('CustomerCreated', 'CustomerEmailUpdated')),
					('first_name', coalesce(e.data->>'firstName', e.data->>'newFirstName'), e.type IN ('CustomerCreated', 'CustomerNameUpdated')),
					('last_name', coalesce(e.data->>'lastName', e.data->>'newLastName'), e.type IN ('CustomerCreated', 'CustomerNameUpdated')),
					('phone', coalesce(e.data->>'phone', e.data->>'newPhone'), e.type IN ('CustomerCreated', 'CustomerPhoneUpdated')),
					('date_of_birth', coalesce(e.data->>'dateOfBirth', e.data->>'newDateOfBirth'),
						e.type IN ('CustomerCreated', 'CustomerDateOfBirthUpdated')),
					('address', e.data->>'newAddress', e.type = 'CustomerAddressUpdated'),
					('status', e.to_state, e.from_state IS DISTINCT FROM e.to_state)) f (field, value, is_told)
				 WHERE f.is_told AND eventsource.may_read_category('customer')) t
		 WHERE t.old_value IS DISTINCT FROM t.new_value $view$);
END
$$;
COMMENT ON FUNCTION crm.put_customer_views() IS 'Private, for install(): views of customers.';
