-- What programs of others send as it happens: identify, track, page, screen, group and
-- alias, as Segment and RudderStack name them.  Who a stranger was is an event of its own;
-- nothing that was recorded is changed.  Ids of strangers are kept as hashes, traits and
-- addresses only in fields that are declared.

CREATE FUNCTION crm.put_identities() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('identity', $table$
		visitor_id  text PRIMARY KEY,
		customer_id text,
		origin      text,
		linked_at   timestamptz
	$table$);
	COMMENT ON TABLE crm.identity IS 'Private: ids that are a customer''s, a projection. Read the view identities.';
	CREATE INDEX IF NOT EXISTS identity_customer_idx ON crm.identity (customer_id);
	RETURN crm.put_projection('crm.identity', 'identity', jsonb_build_object('IdentityLinked',
		$rule$ customer_id = event.data->>'customerId', origin = event.data->>'origin', linked_at = event.occurred_at $rule$));
END
$$;
COMMENT ON FUNCTION crm.put_identities() IS 'Private, for install(): table and projection of identities.';

CREATE FUNCTION crm.put_identity_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('identities', 'Ids of strangers, and of customers by another id, that are known to be a customer''s: one row per id.',
		jsonb_build_object(
			'visitor_id', 'Hash of the id; see visitor_id().',
			'customer_id', 'Whose it is.',
			'origin', 'identify or alias: which call said so last.',
			'linked_at', 'When that was.'), $view$
		SELECT i.visitor_id, i.customer_id, i.origin, i.linked_at FROM crm.identity i WHERE eventsource.may_read_category('identity') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_identity_views() IS 'Private, for install(): the view of identities.';

CREATE FUNCTION crm.visitor_id(id text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT left(encode(sha256(convert_to(id, 'UTF8')), 'hex'), 32)
$$;
COMMENT ON FUNCTION crm.visitor_id(text) IS 'What an anonymousId, or another id, is called here: a hash of it.';

-- An id that became another one, which became another one: as far as that goes.
CREATE FUNCTION crm.resolve_identity(id text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH RECURSIVE chain AS (
		SELECT resolve_identity.id AS id, 0 AS n
		 UNION ALL
		SELECT i.customer_id, c.n + 1 FROM chain c JOIN crm.identities i ON i.visitor_id = crm.visitor_id(c.id) AND i.customer_id <> c.id
		 WHERE c.n < 10
	)
	SELECT c.id FROM chain c WHERE c.n > 0 ORDER BY c.n DESC LIMIT 1
$$;
COMMENT ON FUNCTION crm.resolve_identity(text) IS
	'The customer that an anonymousId or another id is linked to, through at most ten links; NULL: none.';

-- Returns false where the call was taken before.
CREATE FUNCTION crm.link_identity(id text, customer_id text, origin text, message_id text, at timestamptz) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	visitor CONSTANT text := crm.visitor_id(id);
	result eventsource.appended;
BEGIN
	IF message_id IS NULL AND EXISTS (SELECT FROM crm.identities i WHERE i.visitor_id = visitor AND i.customer_id = link_identity.customer_id) THEN
		RETURN true;
	END IF;
	SELECT * INTO result
	  FROM crm.append_import('identity-' || visitor, 'IdentityLinked', jsonb_build_object('customerId', customer_id, 'origin', origin), at,
		message_id);
	IF result.is_duplicate THEN
		RETURN false;
	END IF;
	-- What the stranger looked at is the customer's from now on, and was.
	PERFORM crm.append_import('visit-' || s.session_id, 'VisitorIdentified',
		jsonb_build_object('customerId', link_identity.customer_id, 'visitorId', visitor), at)
	   FROM (SELECT v.session_id FROM crm.sessions v WHERE v.visitor_id = visitor AND v.customer_id IS NULL ORDER BY v.session_id COLLATE "C") s;
	RETURN true;
END
$$;
COMMENT ON FUNCTION crm.link_identity(text, text, text, text, timestamptz) IS
	'Private, for intake(): says whose an id is, and whose the sessions of it are that were nobody''s.';

-- As a customer's events: a registration, or what is different.
CREATE FUNCTION crm.take_traits(customer_id text, traits jsonb, at timestamptz) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	given CONSTANT jsonb := jsonb_strip_nulls(jsonb_build_object('firstName', coalesce(traits->'firstName', traits->'first_name',
		CASE WHEN NOT traits ?| '{lastName,last_name}' THEN traits->'name' END),
		'lastName', coalesce(traits->'lastName', traits->'last_name'), 'phone', traits->'phone', 'dateOfBirth', left(traits->>'birthday', 10),
		'address', traits->'address'));
	other text;
	c record;
BEGIN
	SELECT v.status, v.email INTO c FROM crm.customers v WHERE v.customer_id = take_traits.customer_id;
	IF c.status IS NULL AND traits->>'email' IS NOT NULL THEN
		PERFORM crm.append_import('customer-' || customer_id, 'CustomerCreated', given - 'address'
			|| jsonb_build_object('email', traits->'email', 'source', 'import'), at);
	ELSIF c.status IS NOT NULL AND (given <> '{}' OR traits ? 'email') THEN
		PERFORM crm.update_profile(customer_id, given, actor => 'system:import', occurred_at => at);
		IF crm.email_key(traits->>'email') <> crm.email_key(c.email) THEN
			PERFORM crm.append_import('customer-' || customer_id, 'CustomerEmailUpdated',
				jsonb_build_object('newEmail', traits->'email', 'requiresVerification', true), at);
		END IF;
	END IF;
	SELECT string_agg(k, ', ' ORDER BY k) INTO other FROM jsonb_object_keys(traits) k
	 WHERE k NOT IN ('email', 'firstName', 'first_name', 'lastName', 'last_name', 'name', 'phone', 'birthday', 'address');
	RETURN concat_ws('; ', CASE WHEN c.status IS NULL AND NOT traits ? 'email' THEN 'no customer: there is no email' END, 'not kept: ' || other);
END
$$;
COMMENT ON FUNCTION crm.take_traits(text, jsonb, timestamptz) IS
	'Private, for intake(): registers a customer, or records what is different; says what was left out.';

CREATE FUNCTION crm.intake_time(payload jsonb, name text) RETURNS timestamptz
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at CONSTANT timestamptz := crm.try_timestamptz(payload->>name);
BEGIN
	IF at IS NULL AND payload->>name IS NOT NULL THEN
		RAISE invalid_datetime_format USING
			MESSAGE = format('%s is no time', name),
			DETAIL = format('It is "%s".', left(payload->>name, 100)),
			HINT = 'Give it as 2026-01-31T10:00:00Z, or leave it out.';
	END IF;
	RETURN at;
END
$$;
COMMENT ON FUNCTION crm.intake_time(jsonb, text) IS 'Private, for intake(): when a call says that something was; NULL: it does not. Errors: 22007.';

-- PostHog calls who somebody is distinct_id, known or not; who was identified before is known.
CREATE FUNCTION crm.posthog_call(call jsonb) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN jsonb_typeof(call) <> 'object' OR jsonb_typeof(c.p) <> 'object'
		OR call ? 'type' OR NOT call ? 'event' OR c.who IS NULL THEN call
		ELSE jsonb_strip_nulls(jsonb_build_object('messageId', call->'uuid', 'timestamp', call->'timestamp') || CASE
			-- $set comes for strangers, too: only $identify says that an id is a customer's.
			WHEN call->>'event' IN ('$identify', '$set') THEN jsonb_build_object('type', 'identify',
				'userId', CASE WHEN k.is_known OR call->>'event' = '$identify' THEN c.who END,
				'anonymousId', CASE call->>'event' WHEN '$identify' THEN c.p->'$anon_distinct_id' ELSE to_jsonb(c.who) END,
				'traits', coalesce(c.p->'$set', call->'$set'))
			WHEN call->>'event' = '$create_alias' THEN jsonb_build_object('type', 'alias', 'userId', c.who, 'previousId', c.p->'alias')
			ELSE jsonb_build_object('type', 'track', 'event', call->'event', 'properties', c.p - '{distinct_id,token}'::text[],
				CASE WHEN k.is_known THEN 'userId' ELSE 'anonymousId' END, c.who) END) END
	  FROM (SELECT coalesce(call->>'distinct_id', call #>> '{properties,distinct_id}') AS who,
				   coalesce(nullif(call->'properties', 'null'), '{}') AS p) c
	 CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM crm.customers v WHERE v.customer_id = c.who)
							 OR EXISTS (SELECT FROM crm.identities i WHERE i.customer_id = c.who) AS is_known) k
$$;
COMMENT ON FUNCTION crm.posthog_call(jsonb) IS 'Private, for intake(): a call of PostHog as Segment would send it; others as they are.';

CREATE FUNCTION crm.intake_one(payload jsonb, OUT stream text, OUT note text) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	call CONSTANT text := payload->>'type';
	message_id CONSTANT text := payload->>'messageId';
	p CONSTANT jsonb := coalesce(payload->'properties', '{}');
	page CONSTANT jsonb := coalesce(payload #> '{context,page}', '{}');
	-- The clock of who sends may be wrong; how long before it was sent it happened, is not.
	at CONSTANT timestamptz := least(now(), coalesce(crm.intake_time(payload, 'timestamp'),
		crm.intake_time(payload, 'receivedAt') - (crm.intake_time(payload, 'sentAt') - crm.intake_time(payload, 'originalTimestamp')),
		crm.intake_time(payload, 'originalTimestamp'), now()));
	user_id CONSTANT text := coalesce(crm.resolve_identity(payload->>'userId'), payload->>'userId');
	visitor CONSTANT text := crm.visitor_id(payload->>'anonymousId');
	customer CONSTANT text := coalesce(user_id, crm.resolve_identity(payload->>'anonymousId'));
	properties jsonb;
	taken record;
	name text := payload->>'event';
BEGIN
	IF coalesce(payload->>'userId', '') ~ '[@[:space:]]' OR coalesce(payload->>'groupId', '') ~ '[@[:space:]]' THEN
		RAISE invalid_parameter_value USING MESSAGE = 'an id tells of a person', DETAIL = 'Ids become names of streams, which are not erased.',
			HINT = 'Give ids of your own, and addresses as traits of identify.';
	ELSIF call IS NULL OR call NOT IN ('identify', 'track', 'page', 'screen', 'group', 'alias') THEN
		RAISE invalid_parameter_value USING MESSAGE = format('call "%s" is none', call), DETAIL = 'Its type says what a call is.',
			HINT = 'Types are identify, track, page, screen, group and alias.';
	ELSIF customer IS NULL AND (visitor IS NULL OR call NOT IN ('track', 'page', 'screen')) OR call = 'alias' AND payload->>'previousId' IS NULL
		OR call = 'group' AND payload->>'groupId' IS NULL
		OR call = 'track' AND name IS NULL THEN
		RAISE invalid_parameter_value USING MESSAGE = format('%s says too little', call),
			DETAIL = 'It needs userId; track, page and screen do with anonymousId; alias needs previousId, group groupId, and track event.',
			HINT = 'Nothing was recorded of it.';
	END IF;
	IF call IN ('identify', 'alias') THEN
		stream := 'customer-' || customer;
		IF crm.link_identity(coalesce(CASE call WHEN 'alias' THEN payload->>'previousId' ELSE payload->>'anonymousId' END, customer), customer, call,
			message_id, at) THEN
			note := nullif(CASE call WHEN 'identify' THEN crm.take_traits(customer, coalesce(payload->'traits', payload #> '{context,traits}', '{}'),
				at) END, '');
		ELSE
			note := 'duplicate';
		END IF;
		RETURN;
	ELSIF call = 'group' THEN
		stream := 'customer-' || customer;
		note := CASE WHEN NOT crm.add_to_segment(customer, 'group-' || (payload->>'groupId'), actor => 'system:import') THEN 'duplicate' END;
		RETURN;
	END IF;
	properties := p || jsonb_strip_nulls(jsonb_build_object('session_id', coalesce(p->'session_id', payload #> '{context,sessionId}'),
		'context', jsonb_build_object('campaign', payload #> '{context,campaign}')));
	IF call IN ('page', 'screen') THEN
		name := 'Page Viewed';
		properties := properties || jsonb_strip_nulls(jsonb_build_object('url',
			CASE call WHEN 'screen' THEN to_jsonb('screen:' || coalesce(payload->>'name', 'unknown'))
			ELSE coalesce(p->'url', p->'path', page->'url', page->'path') END,
			'title', coalesce(p->'title', page->'title', payload->'name'), 'referrer', coalesce(p->'referrer', page->'referrer')));
	END IF;
	IF EXISTS (SELECT FROM crm.event_type_aliases() a WHERE a.alias = name AND a.origin <> 'documents')
		OR crm.setting('intake_unknown_events') <> 'keep' THEN
		SELECT * INTO taken FROM crm.import_one(name, customer, properties, at, message_id, visitor);
		stream := taken.stream;
		note := taken.note;
		RETURN;
	END IF;
	stream := 'visit-' || coalesce(properties->>'session_id', properties->>'$session_id', visitor, customer);
	note := 'kept by its name';
	PERFORM crm.append_import(stream, 'CustomTracked',
		jsonb_strip_nulls(jsonb_build_object('eventName', name, 'sessionId', substr(stream, 7), 'customerId', customer,
				'visitorId', visitor,
				'properties', (SELECT jsonb_object_agg(x.key, x.value) FROM jsonb_each(p) x WHERE NOT starts_with(x.key, '$')))), at, message_id);
END
$$;
COMMENT ON FUNCTION crm.intake_one(jsonb) IS
	'Private, for intake(): takes one call; says the stream, and what there is to say. Errors: 22023 says too little, or an id that tells of a person; those of import_event().';

CREATE FUNCTION crm.intake(payload jsonb)
	RETURNS TABLE (item_number integer, message_id text, call_type text, outcome text, stream text, error_code text, reason text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	calls CONSTANT jsonb := CASE WHEN jsonb_typeof(payload) = 'array' THEN payload WHEN jsonb_typeof(payload->'batch') = 'array' THEN payload->'batch'
		ELSE jsonb_build_array(payload) END;
	item record;
	call jsonb;
	taken record;
BEGIN
	-- Customers first, then visits, by name: batches that come side by side do not wait in a circle.
	PERFORM eventsource.lock_stream(s.stream)
	   FROM (SELECT DISTINCT v.place, (v.stream COLLATE "C") AS stream
			   FROM jsonb_array_elements(calls) x (call)
			  CROSS JOIN LATERAL crm.posthog_call(x.call) c (call)
			  CROSS JOIN LATERAL (SELECT coalesce(crm.resolve_identity(c.call->>'userId'), c.call->>'userId',
				crm.resolve_identity(c.call->>'anonymousId'))) w (who)
			  CROSS JOIN LATERAL (VALUES (1, 'customer-' || w.who),
						(2, 'visit-' || coalesce(c.call #>> '{properties,session_id}', c.call #>> '{properties,$session_id}',
							c.call #>> '{context,sessionId}', crm.visitor_id(c.call->>'anonymousId'), w.who))) v (place, stream)
			  WHERE jsonb_typeof(c.call) = 'object' AND v.stream ~ '^[a-z]+-[^@[:space:]]{1,200}$'
			  ORDER BY 1, 2) s;
	FOR item IN SELECT x.call, x.n FROM jsonb_array_elements(calls) WITH ORDINALITY x (call, n) ORDER BY x.n LOOP
		call := crm.posthog_call(item.call);
		item_number := item.n;
		message_id := call->>'messageId';
		call_type := call->>'type';
		stream := NULL;
		error_code := NULL;
		reason := NULL;
		BEGIN
			SELECT * INTO taken FROM crm.intake_one(call);
			outcome := CASE taken.note WHEN 'duplicate' THEN 'duplicate' ELSE 'taken' END;
			stream := taken.stream;
			reason := nullif(taken.note, 'duplicate');
		EXCEPTION WHEN OTHERS THEN
			IF NOT crm.is_refusal(SQLSTATE) THEN
				RAISE;
			END IF;
			-- What was taken under this id before stays as it is, whatever is known by now.
			outcome := CASE SQLSTATE WHEN 'ZE008' THEN 'duplicate' ELSE 'refused' END;
			error_code := nullif(SQLSTATE, 'ZE008');
			reason := CASE WHEN outcome = 'refused' THEN SQLERRM END;
		END;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.intake(jsonb) IS
	'Takes calls as Segment and RudderStack send them: one, an array, or {"batch": [...]}; types identify, track, page, screen, group (a segment group-<groupId>) and alias; and events as PostHog sends them (distinct_id, uuid; $identify, $set, $create_alias, $pageview, $screen). One row each: outcome taken, duplicate (messageId was taken before) or refused, with SQLSTATE; the others are taken all the same. reason: why not, or what was not kept: of traits those are kept that are fields of a customer, of properties those that are fields of the event. An event that has no counterpart here is refused, or kept as CustomTracked (setting intake_unknown_events). All is marked as an import. identify of a known customer needs eventsource.grant_personal_data(). Errors: 42501.';
