-- Commands about customers.  Those of several events are all or nothing.

CREATE FUNCTION crm.setting(setting_name text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT s.value FROM crm.settings s WHERE s.setting_name = setting.setting_name);
END
$$;
COMMENT ON FUNCTION crm.setting(text) IS 'Private, for commands: the value of a setting.';

CREATE FUNCTION crm.new_token() RETURNS text
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
$$;
COMMENT ON FUNCTION crm.new_token() IS 'Private, for commands: a token that nobody guesses.';

CREATE FUNCTION crm.token_hash(token text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT encode(sha256(convert_to(token, 'UTF8')), 'hex')
$$;
COMMENT ON FUNCTION crm.token_hash(text) IS 'Private, for commands: what proves that somebody had a token.';

-- Who reads the log must not be able to prove an address: what is stored is one hash further.
CREATE FUNCTION crm.stored_token_hash(token text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT encode(sha256(sha256(convert_to(token, 'UTF8'))), 'hex')
$$;
COMMENT ON FUNCTION crm.stored_token_hash(text) IS 'Private, for commands: what is stored of a token until it is used: the hash of what proves it.';

-- As text, in UTC, where a year after 29 February is 28 February.
CREATE FUNCTION crm.consent_expiry(purpose text, granted_at timestamptz) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.json_time((granted_at AT TIME ZONE 'UTC' + crm.setting('consent_term_' || purpose)::interval) AT TIME ZONE 'UTC')
$$;
COMMENT ON FUNCTION crm.consent_expiry(text, timestamptz) IS
	'Private, for commands: until when a consent lasts by the settings; NULL: an unknown purpose.';

-- Two may register at once, so that only the index knows.
CREATE FUNCTION crm.expect_free_address(constraint_name text) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF constraint_name = 'customer_email_is_taken' THEN
		RAISE unique_violation USING
			MESSAGE = 'the e-mail address is taken',
			DETAIL = 'Another customer has it; upper and lower case are the same.',
			HINT = 'Give another address, or let that customer sign in.',
			CONSTRAINT = 'customer_email_is_taken';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_free_address(text) IS
	'Private, for commands: says in words what a unique index refused. Errors: 23505 customer_email_is_taken.';

-- Who is erased is there, and what is said of that is said elsewhere.
CREATE FUNCTION crm.expect_customer(customer_id text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.expect_installed();
	-- Locked: who is being registered is waited for, and whom the snapshot is too old for is 40001.
	PERFORM crm.expect_found(CASE WHEN customer_id IS NOT NULL THEN (eventsource.lock_stream('customer-' || customer_id)).version > 0 END,
		format('customer "%s"', customer_id), 'customers');
END
$$;
COMMENT ON FUNCTION crm.expect_customer(text) IS 'Private, for commands about a customer. Errors: 42704 if there is none.';

CREATE FUNCTION crm.register_customer(email text, terms_version text, source text DEFAULT 'web', first_name text DEFAULT NULL,
		last_name text DEFAULT NULL,
		phone text DEFAULT NULL, marketing_consent boolean DEFAULT false, ip_address text DEFAULT NULL, user_agent text DEFAULT NULL,
		customer_id text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL,
		OUT id text, OUT verification_token text) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at CONSTANT timestamptz := coalesce(occurred_at, now());
	seen CONSTANT jsonb := jsonb_build_object('ipAddress', ip_address, 'userAgent', user_agent);
	refused_by text;
BEGIN
	IF terms_version IS NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'the terms must be accepted',
			DETAIL = 'No version of the terms was given.',
			HINT = 'Give terms_version: the version that the customer accepted.';
	END IF;
	PERFORM crm.expect_installed();
	IF eventsource.stream_version('customer-' || customer_id) > 0 THEN
		RAISE SQLSTATE 'ZE002' USING
			MESSAGE = format('customer "%s" is there already', customer_id),
			DETAIL = 'Nobody registers twice, and nothing was recorded.',
			HINT = 'Give another customer_id, or none: the view crm.customers lists those there are.';
	END IF;
	id := coalesce(customer_id, gen_random_uuid()::text);
	verification_token := crm.new_token();
	PERFORM eventsource.append_events((
		SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('stream', 'customer-' || id, 'type', e.type, 'data', e.data, 'actor', actor,
			'occurred_at', at)) ORDER BY e.n)
		  FROM (VALUES
			(1, 'CustomerCreated', jsonb_build_object('email', email, 'source', source, 'firstName', first_name, 'lastName', last_name,
				'phone', phone) || seen, true),
			(2, 'TermsAccepted', jsonb_build_object('termsVersion', terms_version) || seen, true),
			(3, 'ConsentGranted', jsonb_build_object('purpose', 'marketing', 'channel', 'email', 'consentMethod', 'registration-checkbox',
				'legalBasis', 'consent', 'expiresAt', crm.consent_expiry('marketing', at)) || seen, marketing_consent),
			(4, 'EmailVerificationRequested', jsonb_build_object('email', email, 'tokenHash', crm.stored_token_hash(verification_token),
				'expiresAt', crm.json_time(at + crm.setting('verification_term')::interval)), true)
		  ) e (n, type, data, is_wanted)
		 WHERE e.is_wanted));
EXCEPTION WHEN unique_violation THEN
	GET STACKED DIAGNOSTICS refused_by = CONSTRAINT_NAME;
	PERFORM crm.expect_free_address(refused_by);
	RAISE;
END
$$;
COMMENT ON FUNCTION crm.register_customer(text, text, text, text, text, text, boolean, text, text, text, text, timestamptz) IS
	'Registers a customer: who it is, that the terms were accepted, perhaps consent to marketing by e-mail, and that the address is to be proved; all of it or nothing. Returns the customer and the token to send; the log has its hash alone. Errors: 23505 customer_email_is_taken, ZE007 bad e-mail address or source, 22023 no terms.';

CREATE FUNCTION crm.verify_email(customer_id text, token text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_customer(customer_id);
	SELECT * FROM eventsource.append('customer-' || customer_id, 'EmailVerified', jsonb_build_object('tokenHash', crm.token_hash(token)),
		actor => actor, occurred_at => occurred_at)
$$;
COMMENT ON FUNCTION crm.verify_email(text, text, text, timestamptz) IS
	'Proves the address by the token that was sent to it, once. Errors: ZE005 token_is_right, token_is_good (not too late), terms_are_accepted, 42704 no such customer.';

CREATE FUNCTION crm.change_email(customer_id text, new_email text, ip_address text DEFAULT NULL, user_agent text DEFAULT NULL,
		actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at CONSTANT timestamptz := coalesce(occurred_at, now());
	token CONSTANT text := crm.new_token();
	refused_by text;
BEGIN
	PERFORM crm.expect_customer(customer_id);
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerEmailUpdated', jsonb_strip_nulls(jsonb_build_object('newEmail', new_email,
				'requiresVerification', true, 'ipAddress', ip_address, 'userAgent', user_agent)), actor => actor, occurred_at => at);
	PERFORM eventsource.append('customer-' || customer_id, 'EmailVerificationRequested',
		jsonb_build_object('email', new_email, 'tokenHash', crm.stored_token_hash(token),
				'expiresAt', crm.json_time(at + crm.setting('verification_term')::interval)), actor => actor, occurred_at => at);
	RETURN token;
EXCEPTION WHEN unique_violation THEN
	GET STACKED DIAGNOSTICS refused_by = CONSTRAINT_NAME;
	PERFORM crm.expect_free_address(refused_by);
	RAISE;
END
$$;
COMMENT ON FUNCTION crm.change_email(text, text, text, text, text, timestamptz) IS
	'Gives a customer another address, which is to be proved anew; returns the token to send there. Errors: 23514 customer_email_must_differ (also if only the case differs), 23505 customer_email_is_taken, ZE002 closed or deleted, ZE007 bad address, 42704 no such customer.';

CREATE FUNCTION crm.update_profile(customer_id text, changes jsonb, ip_address text DEFAULT NULL, user_agent text DEFAULT NULL,
		actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c crm.customers%ROWTYPE;
	unknown text;
	n integer;
BEGIN
	PERFORM crm.expect_customer(customer_id);
	SELECT string_agg(k, ', ' ORDER BY k) INTO unknown FROM jsonb_object_keys(changes) k
	 WHERE k NOT IN ('firstName', 'lastName', 'phone', 'dateOfBirth', 'address');
	IF unknown IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'unknown field of a profile',
			DETAIL = format('There is no %s.', unknown),
			HINT = 'Fields are firstName, lastName, phone, dateOfBirth and address; change_email() changes the e-mail address.';
	END IF;
	-- What is the same is not recorded, so a profile is compared with what there is.
	PERFORM crm.expect_personal_data('the profile that is changed');
	PERFORM eventsource.lock_stream('customer-' || customer_id);
	SELECT * INTO c FROM crm.customers v WHERE v.customer_id = update_profile.customer_id;
	SELECT count(eventsource.append('customer-' || customer_id, e.type,
			e.data || jsonb_strip_nulls(jsonb_build_object('ipAddress', ip_address, 'userAgent', user_agent)),
			actor => actor, occurred_at => occurred_at)) INTO n
	  FROM (VALUES
		('CustomerNameUpdated', jsonb_build_object(
			'newFirstName', CASE WHEN changes ? 'firstName' THEN changes->>'firstName' ELSE c.first_name END,
			'newLastName', CASE WHEN changes ? 'lastName' THEN changes->>'lastName' ELSE c.last_name END),
			changes ? 'firstName' AND changes->>'firstName' IS DISTINCT FROM c.first_name OR changes ? 'lastName'
				AND changes->>'lastName' IS DISTINCT FROM c.last_name),
		('CustomerPhoneUpdated', jsonb_build_object('newPhone', changes->'phone'), changes ? 'phone' AND changes->>'phone' IS DISTINCT FROM c.phone),
		('CustomerAddressUpdated', jsonb_build_object('newAddress', changes->'address'), changes ? 'address'
			AND nullif(changes->'address', 'null') IS DISTINCT FROM c.address::jsonb),
		('CustomerDateOfBirthUpdated', jsonb_build_object('newDateOfBirth', changes->'dateOfBirth'), changes ? 'dateOfBirth'
			AND changes->>'dateOfBirth' IS DISTINCT FROM c.date_of_birth)
	  ) e (type, data, is_new)
	 WHERE e.is_new;
	RETURN n;
END
$$;
COMMENT ON FUNCTION crm.update_profile(text, jsonb, text, text, text, timestamptz) IS
	'Changes what is given of firstName, lastName, phone, dateOfBirth, address: an event for each that is different; null takes away. ip_address, user_agent: from where and with what. Returns how many. Errors: 42501 unless the caller may see personal data, 22023 unknown field, ZE002 closed or deleted customer, 42704 no such customer, ZE007 bad data.';

CREATE FUNCTION crm.deactivate_customer(customer_id text, reason text, notes text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at CONSTANT timestamptz := coalesce(occurred_at, now());
	n integer;
BEGIN
	PERFORM crm.expect_customer(customer_id);
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerDeactivated',
							   jsonb_strip_nulls(jsonb_build_object('reason', reason, 'notes', notes)),
							   actor => actor, occurred_at => at);
	SELECT count(crm.revoke_consent(c.customer_id, c.purpose, c.channel, 'account-deactivated', actor => actor, occurred_at => at)) INTO n
	  FROM (SELECT * FROM crm.consents k WHERE k.customer_id = deactivate_customer.customer_id AND k.purpose = 'marketing'
			   AND k.expires_at IS NOT NULL ORDER BY k.channel) c;
	PERFORM crm.remove_from_segment(m.customer_id, m.segment_id, 'account-deactivated', actor)
	   FROM (SELECT * FROM crm.segment_members s WHERE s.customer_id = deactivate_customer.customer_id ORDER BY s.segment_id) m;
	RETURN n;
END
$$;
COMMENT ON FUNCTION crm.deactivate_customer(text, text, text, text, timestamptz) IS
	'Closes an account and takes back its consents to marketing, no others; the customer leaves all segments and campaigns. Returns how many consents. Reasons: customer-request, fraud, terms-violation, other. Errors: ZE002 closed or deleted, 42704 no such customer, ZE007 another reason.';

CREATE FUNCTION crm.reactivate_customer(customer_id text, notes text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_customer(customer_id);
	SELECT * FROM eventsource.append('customer-' || customer_id, 'CustomerReactivated', jsonb_strip_nulls(jsonb_build_object('notes', notes)),
		actor => actor, occurred_at => occurred_at)
$$;
COMMENT ON FUNCTION crm.reactivate_customer(text, text, text, timestamptz) IS
	'Opens a closed account again, in the status that its address was proved for; consents are not given back. Errors: ZE002 not closed, 42704 no such customer.';

CREATE FUNCTION crm.grant_consent(customer_id text, purpose text, channel text, consent_method text DEFAULT NULL, notice_version text DEFAULT NULL,
		ip_address text DEFAULT NULL, user_agent text DEFAULT NULL, legal_basis text DEFAULT 'consent', expires_at timestamptz DEFAULT NULL,
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_customer(customer_id);
	SELECT *
	  FROM eventsource.append('customer-' || customer_id, 'ConsentGranted',
		jsonb_strip_nulls(jsonb_build_object('purpose', purpose, 'channel', channel,
		'consentMethod', consent_method, 'noticeVersion', notice_version, 'ipAddress', ip_address, 'userAgent', user_agent, 'legalBasis', legal_basis,
		'expiresAt', coalesce(crm.json_time(expires_at), crm.consent_expiry(purpose, coalesce(occurred_at, now()))))),
		actor => actor, occurred_at => coalesce(occurred_at, now()))
$$;
COMMENT ON FUNCTION crm.grant_consent(text, text, text, text, text, text, text, text, timestamptz, text, timestamptz) IS
	'Records consent for a purpose (marketing, analytics, essential) and a channel (email, sms, push), with its evidence; it lasts as the settings consent_term_... say unless expires_at is given. Errors: ZE005 consent_is_not_granted if it holds already, consent_is_not_from_before if it was taken back after occurred_at, ZE002 closed or deleted, ZE007 another purpose or channel, 42704 no such customer.';

CREATE FUNCTION crm.renew_consent(customer_id text, purpose text, channel text, consent_method text DEFAULT NULL, notice_version text DEFAULT NULL,
		ip_address text DEFAULT NULL, user_agent text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
			RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_customer(customer_id);
	SELECT *
	  FROM eventsource.append('customer-' || customer_id, 'ConsentRenewed',
		jsonb_strip_nulls(jsonb_build_object('purpose', purpose, 'channel', channel,
		'consentMethod', consent_method, 'noticeVersion', notice_version, 'ipAddress', ip_address, 'userAgent', user_agent, 'legalBasis', 'consent',
		'expiresAt', crm.consent_expiry(purpose, coalesce(occurred_at, now())))), actor => actor, occurred_at => coalesce(occurred_at, now()))
$$;
COMMENT ON FUNCTION crm.renew_consent(text, text, text, text, text, text, text, text, timestamptz) IS
	'Records that a consent was given again before or after it ran out. Errors: ZE005 consent_is_there if it was never given, or taken back, 42704 no such customer.';

CREATE FUNCTION crm.revoke_consent(customer_id text, purpose text, channel text, reason text DEFAULT NULL, ip_address text DEFAULT NULL,
		user_agent text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result eventsource.appended;
BEGIN
	PERFORM crm.expect_customer(customer_id);
	SELECT * INTO result
	  FROM eventsource.append('customer-' || customer_id, 'ConsentRevoked',
		jsonb_strip_nulls(jsonb_build_object('purpose', purpose, 'channel', channel,
		'reason', reason, 'ipAddress', ip_address, 'userAgent', user_agent)), actor => actor, occurred_at => occurred_at);
	PERFORM crm.recheck_messages(customer_id);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.revoke_consent(text, text, text, text, text, text, text, timestamptz) IS
	'Takes a consent back; from then on it holds no more, and messages that wait are skipped, in this very transaction. Errors: ZE005 consent_is_there if there is none, 42704 no such customer.';

CREATE FUNCTION crm.has_consent(customer_id text, purpose text, channel text, at timestamptz DEFAULT now()) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce((
		SELECT h.expires_at > at AND (h.ended_at IS NULL OR h.ended_at > at)
		  FROM crm.consent_history h
		 WHERE h.customer_id = has_consent.customer_id AND h.purpose = has_consent.purpose AND h.channel = has_consent.channel AND h.granted_at <= at
		 ORDER BY h.version DESC LIMIT 1), false)
$$;
COMMENT ON FUNCTION crm.has_consent(text, text, text, timestamptz) IS
	'Does a customer consent to a purpose on a channel, now or at a time? A consent holds from when it was granted until, exclusively, it ends. False for who is not known.';

CREATE FUNCTION crm.update_preferences(customer_id text, preferences jsonb, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result eventsource.appended;
BEGIN
	PERFORM crm.expect_customer(customer_id);
	BEGIN
		PERFORM now() AT TIME ZONE (preferences->>'timezone');
	EXCEPTION WHEN invalid_parameter_value THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('time zone "%s" is unknown', preferences->>'timezone'),
			DETAIL = 'Quiet hours go by the customer''s clock.',
			HINT = 'The view pg_timezone_names lists names, for example Europe/Berlin.';
	END;
	SELECT * INTO result FROM eventsource.append('customer-' || customer_id, 'PreferencesUpdated', jsonb_build_object('preferences', preferences),
		actor => actor, occurred_at => occurred_at);
	PERFORM crm.recheck_messages(customer_id);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.update_preferences(text, jsonb, text, timestamptz) IS
	'Changes preferences; what is not named stays. Of two changes of a field the later by occurred_at holds, in whatever order they arrive. Messages that wait and are not wanted any more are skipped, in this transaction. Fields: emailFrequency (daily, weekly, never), categories, timezone, emailEnabled, smsEnabled, pushEnabled, smsForPromotions, pushCategories. Errors: 22023 unknown time zone, ZE007 another field or value, 42704 no such customer.';

CREATE FUNCTION crm.pause_campaigns(customer_id text, channel text DEFAULT NULL, reason text DEFAULT NULL, actor text DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result eventsource.appended;
BEGIN
	PERFORM crm.expect_customer(customer_id);
	SELECT * INTO result
	  FROM eventsource.append('customer-' || customer_id, 'CampaignsPaused',
		jsonb_strip_nulls(jsonb_build_object('channel', channel, 'reason', reason)), actor => actor);
	PERFORM crm.recheck_messages(customer_id);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.pause_campaigns(text, text, text, text) IS
	'A customer gets no marketing on a channel (NULL: on any) until resume_campaigns(); messages that wait are skipped. Errors: ZE002 deleted customer, 42704 no such customer, ZE007 unknown channel.';

CREATE FUNCTION crm.resume_campaigns(customer_id text, channel text DEFAULT NULL, reason text DEFAULT NULL, actor text DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_customer(customer_id);
	SELECT *
	  FROM eventsource.append('customer-' || customer_id, 'CampaignsResumed',
		jsonb_strip_nulls(jsonb_build_object('channel', channel, 'reason', reason)), actor => actor)
$$;
COMMENT ON FUNCTION crm.resume_campaigns(text, text, text, text) IS
	'Ends what pause_campaigns() began; what was skipped meanwhile stays skipped. Errors: ZE002 deleted customer, 42704 no such customer, ZE007 unknown channel.';
