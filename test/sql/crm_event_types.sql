\set own_database crm_event_types
\i test/own_database.sql
-- The catalogue: every type of the documents, each with a payload that is taken and payloads that are not.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(30);

-- ---- none is missing ----

SELECT is_empty($$
	SELECT unnest(regexp_split_to_array('CustomerCreated CustomerEmailUpdated CustomerNameUpdated CustomerPhoneUpdated CustomerAddressUpdated CustomerDeactivated
		CustomerDataDeletionRequested CustomerDataDeleted CustomerEmailInvalidated CustomerSegmentAdded EmailVerificationRequested ConsentGranted ConsentRevoked
		PreferencesUpdated EmailSent MessageSent MessageFailed PageViewed ProductViewed SearchPerformed ProductCompared ReviewRead VideoWatched CartCreated
		ItemAddedToCart CartAbandoned CheckoutStarted CheckoutStepCompleted CheckoutAbandoned OrderPlaced PaymentInitiated PaymentSucceeded PaymentFailed
		OrderConfirmed OrderShipped OrderDelivered RefundInitiated RefundCompleted ProductAffinityDetected ThirdPartyIntegrationSynced
		EmailVerified ReminderSent RetryScheduled ReviewRequested ReviewSubmitted ReplenishmentCampaign ReorderPlaced SegmentationRecalculated CampaignsPaused
		CustomerPreferencesUpdated OrderCancelled CustomerReactivated CustomerSegmentRemoved RefundFailed ConsentExpired ConsentRenewed MessageSkipped
		MessageDelivered MessageBounced TermsAccepted PaymentRetried contact_form_submission contact_attempted bogus_contact_detected motivation_confirmed
		timeout_21d_no_response timeout_180d_no_progress buyer_agreement_signed contract_executed deal_collapsed closing_complete contract_voided
		lead_re_engaged contact_info_updated', '\s+')) EXCEPT SELECT event_type FROM crm.event_types EXCEPT SELECT alias FROM crm.event_type_aliases() EXCEPT SELECT ''
$$, 'every type that the documents name is there, or an alias');
SELECT is_empty('SELECT type FROM crm.event_type_aliases() EXCEPT SELECT event_type FROM crm.event_types', 'aliases lead to types');
SELECT is_empty('SELECT alias FROM crm.event_type_aliases() INTERSECT SELECT event_type FROM crm.event_types', 'and are none themselves: one name each');
SELECT is((SELECT count(DISTINCT event_type) - count(*) FROM crm.event_types), 0::bigint, 'no type is in two categories');
SELECT is_empty('SELECT event_type FROM crm.event_types WHERE NOT is_registered', 'install() registered them all');
SELECT is_empty('SELECT event_type FROM crm.event_types WHERE description IS NULL', 'each is described');
SELECT set_eq('SELECT DISTINCT phase FROM crm.event_types', ARRAY['Acquisition', 'Activation', 'Purchase', 'Fulfillment', 'Retention', 'Lifecycle Management'],
	'each belongs to one of the six phases');
SELECT is_empty($$ SELECT DISTINCT event_type FROM crm.event_types, jsonb_object_keys(schema->'properties') f
	WHERE f ~* 'email$|phone|address|firstName|lastName|^name|birth|notes?$|^text$|^message$|query|errorMessage|signedBy|evidence'
	  AND f NOT IN ('emailVerified') AND NOT f = ANY (string_to_array(coalesce(personal_fields, ''), ' > ')) $$, 'what tells of a person is personal');
SELECT is_empty($$ SELECT f.field FROM crm.fields() f EXCEPT SELECT unnest(required || optional) FROM crm.catalogue() $$, 'no field is told of in vain');
SELECT is_empty($$ SELECT unnest(required || optional) FROM crm.catalogue() EXCEPT SELECT f.field FROM crm.fields() f $$, 'and none is missing');

-- ---- what is taken, and what is not ----

-- Asked of the schema that is registered, which appends go by, in whatever state the stream is.
CREATE FUNCTION pg_temp.refusal_of(category text, type text, data jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT 'ZE007' FROM eventsource.event_types t
	 WHERE t.category = refusal_of.category AND t.type = refusal_of.type AND NOT eventsource.jsonb_matches_schema(t.schema, refusal_of.data)
$$;
CREATE TEMP TABLE payload AS
SELECT t.event_type AS type, t.category, t.schema, t.example AS data FROM crm.event_types t;

SELECT is_empty($$ SELECT type FROM payload WHERE NOT eventsource.jsonb_matches_schema(schema, data) $$, 'each example matches its schema');
SELECT lives_ok(format('SELECT eventsource.append(%L, %L, %L)', category || '-taken ' || type, type, data), 'appended: ' || type) FROM payload
 WHERE type IN ('CustomerCreated', 'CartCreated', 'OrderPlaced', 'PageViewed', 'MessageSent');
SELECT is_empty($$ SELECT type FROM payload WHERE pg_temp.refusal_of(category, type, data) IS NOT NULL $$, 'every example is taken');
SELECT is_empty($$ SELECT type FROM payload, eventsource.can_append(category || '-x', type, data) c WHERE c.sqlstate IN ('ZE006', 'ZE007') $$,
	'by machines and schemas, so far as it is not another state that they want');
SELECT is_empty($$ SELECT p.type, f FROM payload p, jsonb_array_elements_text(p.schema->'required') f
	WHERE pg_temp.refusal_of(p.category, p.type, p.data - f) IS DISTINCT FROM 'ZE007' $$, 'without a field that is required, each is refused');
SELECT is_empty($$ SELECT p.type, f FROM payload p, jsonb_object_keys(p.data) f
	WHERE pg_temp.refusal_of(p.category, p.type, jsonb_set(p.data, ARRAY[f], '[{"no": "such thing"}, 7]')) IS DISTINCT FROM 'ZE007' $$, 'with a value of another kind in any field, too');
SELECT is_empty($$ SELECT p.type FROM payload p
	WHERE pg_temp.refusal_of(p.category, p.type, p.data || '{"socialSecurityNumber": "1"}') IS DISTINCT FROM 'ZE007' $$, 'and with a field that nobody told of');
SELECT pg_temp.refused($$ SELECT eventsource.append('customer-1', 'CustomerCraeted') $$, 'ZE006 event type "CustomerCraeted" is not registered', 'a type that is mistyped is none');
SELECT pg_temp.refused($$ SELECT eventsource.append('customer-1', 'EmailVerificationRequested', '{"email": "a@b.cd", "tokenHash": "9d2e8a3c-the-token-itself"}') $$, 'ZE007 data does not match version 1 of event type "EmailVerificationRequested"',
	'a verification token is not stored, only its hash');

-- ---- whom it is about ----

SELECT eventsource.append('order-1', 'OrderPlaced', data || '{"customerId": "c9"}') FROM payload WHERE type = 'OrderPlaced' \g /dev/null
SELECT eventsource.append('visit-s1', 'PageViewed', '{"pageUrl": "/"}') \g /dev/null
SELECT is((SELECT subject FROM eventsource.events WHERE stream = 'order-1'), 'customer-c9', 'an order is about its customer');
SELECT is((SELECT subject FROM eventsource.events WHERE stream = 'visit-s1'), 'visit-s1', 'the visit of a stranger about itself');
SELECT is((SELECT eventsource.stored_data(position) FROM eventsource.events WHERE stream = 'customer-taken CustomerCreated'),
	'{"source": "web"}', 'personal fields are kept apart from the log');

-- What stands behind an address may tell of a person: by no door.
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('visit-q', 'PageViewed', '{"pageUrl": "/pens?mail=ada@example.com"}') $$), 5), 'ZE007', 'a page has an address without a query');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('visit-q', 'PageViewed', '{"pageUrl": "/pens", "referrer": "https://search.example/#q=ada"}') $$), 5), 'ZE007', 'and so has where one comes from');
SELECT lives_ok($$ SELECT eventsource.append('visit-q', 'PageViewed', '{"pageUrl": "https://example.com/pens", "referrer": "https://search.example/"}') $$, 'which can be counted by');
SELECT is((SELECT string_agg(event_type, ' ' ORDER BY event_type) FROM crm.event_types WHERE schema->'properties' ? 'pageUrl' AND schema#>>'{properties,pageUrl,pattern}' IS NULL), NULL, 'whatever the event');
\i test/own_database_end.sql
