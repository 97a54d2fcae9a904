-- How long what is kept.  The documents name four terms for data that overlaps; here
-- each category has one, and consent, money and what was decided have none.

CREATE FUNCTION crm.retention_defaults()
	RETURNS TABLE (category text, class text, detail interval, total interval, consent_types text[], audit_types text[], description text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('visit', 'disposable', '90 days'::interval, '2 years'::interval, NULL::text[], NULL::text[], 'What was looked at: the oldest goes'),
		('cart', 'ordinary', '90 days', '2 years', NULL, NULL, 'A cart goes as a whole, two years after its last event'),
		('message', 'ordinary', '90 days', '7 years', NULL, NULL, 'What was sent, and why it might be'),
		('campaign_run', 'ordinary', '90 days', '7 years', NULL, NULL, 'Who was in which campaign'),
		('order', 'ordinary', '90 days', '7 years', NULL, NULL, 'An order goes as a whole, seven years after its last event'),
		('integration', 'disposable', '90 days', '7 years', NULL, NULL, 'What programs of others were told'),
		('customer', 'kept', '90 days', NULL, '{ConsentGranted,ConsentRenewed,ConsentRevoked,ConsentExpired}',
			'{CustomerCreated,TermsAccepted,CustomerDeactivated,CustomerReactivated,CustomerDataDeletionRequested,CustomerDataDeleted}',
			'Consent and its evidence; erasure ends it'),
		('account', 'kept', '90 days', NULL, NULL, NULL, 'Money'),
		('lead', 'kept', '90 days', NULL, NULL, NULL, 'The permanent record of a lead')
$sql$;
COMMENT ON FUNCTION crm.retention_defaults() IS
	'How long events of the CRM are kept if set_retention_defaults() was called: detail: until they are archived, and can be read all the same; total: until they go; NULL: never. Detail after 90 days and seven years are the documents'' numbers. What is not listed is kept.';

CREATE FUNCTION crm.set_retention_defaults() RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r record;
	changed integer := 0;
BEGIN
	FOR r IN SELECT d.* FROM crm.retention_defaults() d
			  WHERE NOT EXISTS (SELECT FROM eventsource.retention_policies p WHERE p.category = d.category) ORDER BY d.category LOOP
		PERFORM eventsource.set_retention(r.category, r.detail, r.total, r.class, r.consent_types, r.audit_types);
		changed := changed + 1;
	END LOOP;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.set_retention_defaults() IS
	'Sets the policies of retention_defaults() for categories that have none yet; returns how many. What was recorded before has no term, so call it at the beginning. Errors: 42501 unless the owner of the extension calls it.';
