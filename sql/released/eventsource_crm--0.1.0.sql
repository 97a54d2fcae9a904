\echo Use "CREATE EXTENSION eventsource_crm" to load this file. \quit
-- The fields of events: each is told once, with its JSON Schema, whether it is
-- personal, and an example.  What stands behind a colon tells fields of one name
-- apart; the property is called by what stands before it.

CREATE FUNCTION crm.fields() RETURNS TABLE (field text, property text, schema jsonb, pii text)
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	SELECT f.field, split_part(f.field, ':', 1),
		   f.schema::jsonb || jsonb_build_object('examples', jsonb_build_array(f.example::jsonb)), f.pii
	  FROM (VALUES
		-- Persons.  "null" and the like are the strategies of eventsource.register_event_type().
		('name',            $$ {"type": ["string", "null"], "maxLength": 200} $$, 'null', $$ "Ada Lovelace" $$),
		('email',           $$ {"type": "string", "pattern": "^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", "maxLength": 254} $$, 'hash', $$ "ada@example.com" $$),
		('email:lead',      $$ {"type": ["string", "null"], "pattern": "^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", "maxLength": 254} $$, 'hash', $$ "ada@example.com" $$),
		('oldEmail',        $$ {"type": "string", "maxLength": 254} $$, 'hash', $$ "ada@example.com" $$),
		('newEmail',        $$ {"type": "string", "pattern": "^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", "maxLength": 254} $$, 'hash', $$ "ada@example.org" $$),
		('phone',           $$ {"type": ["string", "null"], "maxLength": 40} $$, 'null', $$ "+1 212 555 0100" $$),
		('oldPhone',        $$ {"type": ["string", "null"], "maxLength": 40} $$, 'null', $$ "+1 212 555 0100" $$),
		('newPhone',        $$ {"type": ["string", "null"], "maxLength": 40} $$, 'null', $$ "+1 212 555 0199" $$),
		('firstName',       $$ {"type": ["string", "null"], "maxLength": 100} $$, 'null', $$ "Ada" $$),
		('lastName',        $$ {"type": ["string", "null"], "maxLength": 100} $$, 'null', $$ "Lovelace" $$),
		('oldFirstName',    $$ {"type": ["string", "null"], "maxLength": 100} $$, 'null', $$ "Ada" $$),
		('oldLastName',     $$ {"type": ["string", "null"], "maxLength": 100} $$, 'null', $$ "Byron" $$),
		('newFirstName',    $$ {"type": ["string", "null"], "maxLength": 100} $$, 'null', $$ "Ada" $$),
		('newLastName',     $$ {"type": ["string", "null"], "maxLength": 100} $$, 'null', $$ "Lovelace" $$),
		('dateOfBirth',     $$ {"type": ["string", "null"], "pattern": "^\\d{4}-\\d{2}-\\d{2}$"} $$, 'null', $$ "1980-12-10" $$),
		('oldDateOfBirth',  $$ {"type": ["string", "null"], "pattern": "^\\d{4}-\\d{2}-\\d{2}$"} $$, 'null', $$ "1981-12-10" $$),
		('newDateOfBirth',  $$ {"type": ["string", "null"], "pattern": "^\\d{4}-\\d{2}-\\d{2}$"} $$, 'null', $$ "1980-12-10" $$),
		('oldAddress',      $$ {"type": ["object", "null"]} $$, 'null', $$ {"street": "Elm 5", "city": "Ulm", "country": "DE"} $$),
		('newAddress',      $$ {"type": ["object", "null"]} $$, 'null', $$ {"street": "Oak 1", "city": "Ulm", "country": "DE"} $$),
		('shippingAddress', $$ {"type": ["object", "null"]} $$, 'null', $$ {"street": "Elm 5", "city": "Ulm", "country": "DE"} $$),
		('billingAddress',  $$ {"type": ["object", "null"]} $$, 'null', $$ {"street": "Elm 5", "city": "Ulm", "country": "DE"} $$),
		('ipAddress',       $$ {"type": ["string", "null"], "maxLength": 45} $$, 'mask_ip', $$ "203.0.113.9" $$),
		('userAgent',       $$ {"type": ["string", "null"], "maxLength": 1000} $$, 'redact', $$ "Mozilla/5.0" $$),
		('signedBy',        $$ {"type": ["string", "null"], "maxLength": 200} $$, 'null', $$ "A. Lovelace" $$),
		-- Whoever writes free text may write about a person.
		('note',            $$ {"type": ["string", "null"], "maxLength": 10000} $$, 'redact', $$ "Left a voicemail" $$),
		('note:required',   $$ {"type": "string", "minLength": 1, "maxLength": 10000} $$, 'redact', $$ "Counted twice" $$),
		('notes',           $$ {"type": ["string", "null"], "maxLength": 10000} $$, 'redact', $$ "Asked by phone" $$),
		('text',            $$ {"type": "string", "minLength": 1, "maxLength": 10000} $$, 'redact', $$ "Wants a garden" $$),
		('message',         $$ {"type": ["string", "null"], "maxLength": 10000} $$, 'redact', $$ "Is it still for sale?" $$),
		('evidence',        $$ {"type": ["string", "null"], "maxLength": 10000} $$, 'redact', $$ "Replied STOP" $$),
		('query',           $$ {"type": "string", "maxLength": 1000} $$, 'redact', $$ "fountain pen" $$),
		('errorMessage',    $$ {"type": ["string", "null"], "maxLength": 2000} $$, 'redact', $$ "Card declined" $$),

		-- Whom and what it is about.
		('customerId',      $$ {"type": "string", "minLength": 1, "maxLength": 200} $$, NULL, $$ "c1" $$),
		('agent_id',        $$ {"type": ["string", "null"], "minLength": 1, "maxLength": 200} $$, NULL, $$ "ryan" $$),
		('agent_id:new',    $$ {"type": "string", "minLength": 1, "maxLength": 200} $$, NULL, $$ "ryan" $$),
		('from_agent_id',   $$ {"type": ["string", "null"]} $$, NULL, $$ "joe" $$),
		('cartId',          $$ {"type": ["string", "null"], "minLength": 1} $$, NULL, $$ "k1" $$),
		('orderId',         $$ {"type": ["string", "null"], "minLength": 1} $$, NULL, $$ "o1" $$),
		('paymentId',       $$ {"type": "string", "minLength": 1} $$, NULL, $$ "p1" $$),
		('refundId',        $$ {"type": "string", "minLength": 1} $$, NULL, $$ "r1" $$),
		('transactionId',   $$ {"type": ["string", "null"], "minLength": 1} $$, NULL, $$ "ch_1" $$),
		('sessionId',       $$ {"type": ["string", "null"], "minLength": 1} $$, NULL, $$ "s1" $$),
		('productId',       $$ {"type": "string", "minLength": 1} $$, NULL, $$ "pen" $$),
		('productIds',      $$ {"type": "array", "items": {"type": "string", "minLength": 1}} $$, NULL, $$ ["pen", "ink"] $$),
		('productName',     $$ {"type": ["string", "null"]} $$, NULL, $$ "Fountain pen" $$),
		('productCategory', $$ {"type": ["string", "null"]} $$, NULL, $$ "consumables" $$),
		('reviewId',        $$ {"type": ["string", "null"], "minLength": 1} $$, NULL, $$ "v1" $$),
		('videoId',         $$ {"type": "string", "minLength": 1} $$, NULL, $$ "vid1" $$),
		('messageId',       $$ {"type": ["string", "null"], "minLength": 1} $$, NULL, $$ "m1" $$),
		('campaignId',      $$ {"type": ["string", "null"], "minLength": 1} $$, NULL, $$ "welcome-verification" $$),
		('templateId',      $$ {"type": ["string", "null"], "minLength": 1} $$, NULL, $$ "welcome" $$),
		('segmentId',       $$ {"type": "string", "minLength": 1} $$, NULL, $$ "high-value-customers" $$),
		('segmentName',     $$ {"type": ["string", "null"]} $$, NULL, $$ "High Value Customers" $$),
		('criteria',        $$ {"type": ["object", "null"]} $$, NULL, $$ {"ltv": 1200, "orderFrequency": 6} $$),
		('property',        $$ {"type": ["string", "null"], "maxLength": 500} $$, NULL, $$ "12 Elm Street" $$),

		-- Leads.
		('source:lead',     $$ {"type": ["string", "null"], "maxLength": 100} $$, NULL, $$ "website" $$),
		('state',           $$ {"enum": ["NEW", "CONTACTING", "QUALIFIED", "COMMITTED", "IN_CONTRACT", "CLOSED", "ARCHIVED", "TRASHED"]} $$, NULL, $$ "QUALIFIED" $$),
		('legacy_status',   $$ {"type": ["string", "null"], "maxLength": 200} $$, NULL, $$ "Hot prospect" $$),
		('created_at',      $$ {"type": "string", "minLength": 10} $$, NULL, $$ "2025-11-03T09:00:00Z" $$),
		('flags',           $$ {"type": "object", "additionalProperties": false, "patternProperties": {"^(unsubscribed|dnc|do_not_email|do_not_text|do_not_call)$": {"type": "object"}}} $$, NULL, $$ {"dnc": {}} $$),
		('flag',            $$ {"enum": ["unsubscribed", "dnc", "do_not_email", "do_not_text", "do_not_call"]} $$, NULL, $$ "unsubscribed" $$),
		('channel:lead',    $$ {"enum": ["phone", "email", "text", "in_person", "other"]} $$, NULL, $$ "phone" $$),
		('outcome',         $$ {"enum": ["spoke", "voicemail", "no_answer", "sent", "failed", null]} $$, NULL, $$ "voicemail" $$),
		('signal',          $$ {"enum": ["tour_requested", "pre_approval_uploaded", "favorite_saved", "replied", "session_returned", "search_saved", "property_viewed"]} $$, NULL, $$ "tour_requested" $$),

		-- What the documents enumerate.
		('source',          $$ {"enum": ["web", "mobile", "api", "import"]} $$, NULL, $$ "web" $$),
		('purpose',         $$ {"enum": ["marketing", "analytics", "essential"]} $$, NULL, $$ "marketing" $$),
		('channel',         $$ {"enum": ["email", "sms", "push"]} $$, NULL, $$ "email" $$),
		('channel:touch',   $$ {"enum": ["email", "sms", "push", "web", "social", "paid-ad", null]} $$, NULL, $$ "email" $$),
		('channel:any',     $$ {"enum": ["email", "sms", "push", null]} $$, NULL, $$ "email" $$),
		('paymentMethod',   $$ {"enum": ["credit-card", "paypal", "bank-transfer"]} $$, NULL, $$ "paypal" $$),
		('viewSource',      $$ {"enum": ["search", "category", "recommendation", "direct", null]} $$, NULL, $$ "search" $$),
		('step',            $$ {"enum": ["shipping", "payment", "review"]} $$, NULL, $$ "payment" $$),
		('lastCompletedStep', $$ {"enum": ["shipping", "payment", "review", null]} $$, NULL, $$ "shipping" $$),
		('refundType',      $$ {"enum": ["full", "partial"]} $$, NULL, $$ "partial" $$),
		('deletionType',    $$ {"enum": ["soft", "hard", "anonymize"]} $$, NULL, $$ "anonymize" $$),
		('reason:deactivation', $$ {"enum": ["customer-request", "fraud", "terms-violation", "other"]} $$, NULL, $$ "customer-request" $$),
		('reason:deletion', $$ {"enum": ["gdpr-request", "data-retention-policy"]} $$, NULL, $$ "gdpr-request" $$),
		('reason:refund',   $$ {"enum": ["customer-request", "quality-issue", "delivery-failed", "other"]} $$, NULL, $$ "quality-issue" $$),
		('reason:invalid',  $$ {"enum": ["bounced-permanent", "invalid-address", "complaint"]} $$, NULL, $$ "bounced-permanent" $$),
		('reason:skip',     $$ {"type": "string", "minLength": 1, "maxLength": 100} $$, NULL, $$ "no-consent" $$),
		('reason:code',     $$ {"type": ["string", "null"], "maxLength": 100} $$, NULL, $$ "account-deactivated" $$),
		('previousStatus',  $$ {"enum": ["pending-verification", "active", "deactivated"]} $$, NULL, $$ "active" $$),
		('messageClass',    $$ {"enum": ["transactional", "marketing", "urgent-marketing", null]} $$, NULL, $$ "marketing" $$),
		('messageClass:required', $$ {"enum": ["transactional", "marketing", "urgent-marketing"]} $$, NULL, $$ "marketing" $$),
		('topic',           $$ {"type": ["string", "null"], "minLength": 1, "maxLength": 100} $$, NULL, $$ "pens" $$),
		('frequency',       $$ {"enum": ["daily", "weekly", "never", null]} $$, NULL, $$ "weekly" $$),
		('window',          $$ {"type": ["string", "null"], "minLength": 1} $$, NULL, $$ "168 hours" $$),
		('max',             $$ {"type": ["integer", "null"], "minimum": 0} $$, NULL, $$ 1 $$),
		('rule',            $$ {"type": "object", "additionalProperties": false, "properties": {"isAllowed": {"type": "boolean"}, "needsConsent": {"type": "boolean"},
								"canBeDisabled": {"type": "boolean"}, "needsPreference": {"type": ["string", "null"]}, "needsTopic": {"type": "boolean"}, "isCapped": {"type": "boolean"}}} $$, NULL,
							$$ {"isAllowed": false} $$),
		('content',         $$ {"type": ["object", "null"]} $$, NULL, $$ {"personalization": ["cartItems"]} $$),
		('trigger',         $$ {"type": "object"} $$, NULL, $$ {"event": "CartAbandoned", "conditions": {"totalValue": {"$gte": 50}}} $$),
		('steps',           $$ {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["type"]}} $$, NULL, $$ [{"type": "send-email", "config": {"templateId": "reminder"}}] $$),
		('steps:funnel',    $$ {"type": "array", "minItems": 2, "items": {"type": "object", "required": ["name", "events"]}} $$, NULL, $$ [{"name": "seen", "events": ["PageViewed"]}, {"name": "bought", "events": ["OrderPlaced"]}] $$),
		('exits',           $$ {"type": ["array", "null"], "items": {"type": "string"}} $$, NULL, $$ ["OrderPlaced"] $$),
		('description',     $$ {"type": ["string", "null"], "maxLength": 1000} $$, NULL, $$ "Reminds of carts" $$),
		('data',            $$ {"type": ["object", "null"]} $$, NULL, $$ {"orderId": "o1"} $$),
		('campaignVersion', $$ {"type": "integer", "minimum": 1} $$, NULL, $$ 1 $$),
		('eventPosition',   $$ {"type": ["integer", "null"], "minimum": 1} $$, NULL, $$ 17 $$),
		('outcome:text',    $$ {"type": ["string", "null"], "maxLength": 200} $$, NULL, $$ "queued" $$),
		('rule:segment',    $$ {"type": "string", "minLength": 1, "maxLength": 2000} $$, NULL, $$ "$.ltv > 1000 && $.orderFrequency > 5" $$),
		('bounceType',      $$ {"enum": ["permanent", "transient"]} $$, NULL, $$ "permanent" $$),

		-- Consent and preferences.
		('consentMethod',   $$ {"type": ["string", "null"], "maxLength": 100} $$, NULL, $$ "registration-checkbox" $$),
		('noticeVersion',   $$ {"type": ["string", "null"], "maxLength": 100} $$, NULL, $$ "2026-01" $$),
		('termsVersion',    $$ {"type": "string", "minLength": 1, "maxLength": 100} $$, NULL, $$ "2026-01" $$),
		('legalBasis',      $$ {"enum": ["consent", "contract", "legal-obligation", "vital-interests", "public-task", "legitimate-interests", null]} $$, NULL, $$ "consent" $$),
		('expiresAt',       $$ {"type": ["string", "null"], "minLength": 10} $$, NULL, $$ "2028-01-31T00:00:00Z" $$),
		('tokenHash',       $$ {"type": "string", "pattern": "^[0-9a-f]{64}$"} $$, NULL, $$ "0000000000000000000000000000000000000000000000000000000000000000" $$),
		('requiresVerification', $$ {"type": "boolean"} $$, NULL, $$ true $$),
		('preferences',     $$ {"type": "object", "additionalProperties": false, "properties": {
								"emailFrequency": {"enum": ["daily", "weekly", "never"]}, "categories": {"type": "array", "items": {"type": "string"}},
								"timezone": {"type": "string", "minLength": 1}, "emailEnabled": {"type": "boolean"}, "smsEnabled": {"type": "boolean"},
								"pushEnabled": {"type": "boolean"}, "smsForPromotions": {"type": "boolean"},
								"pushCategories": {"type": "array", "items": {"type": "string"}}}} $$, NULL, $$ {"emailFrequency": "weekly", "timezone": "Europe/Berlin"} $$),
		('decision',        $$ {"type": ["object", "null"]} $$, NULL, $$ {"consent": "granted", "cap": "weekly"} $$),

		-- Money is a number of the currency's units, and numeric in the database.
		('amount',          $$ {"type": "number", "minimum": 0} $$, NULL, $$ 49.90 $$),
		('amount:positive', $$ {"type": "number", "exclusiveMinimum": 0} $$, NULL, $$ 49.90 $$),
		('amount:signed',   $$ {"type": "number"} $$, NULL, $$ -5 $$),
		('reference',       $$ {"type": ["string", "null"], "maxLength": 200} $$, NULL, $$ "payment p1" $$),
		('currency',        $$ {"type": "string", "pattern": "^[A-Z]{3}$"} $$, NULL, $$ "EUR" $$),
		('price',           $$ {"type": ["number", "null"], "minimum": 0} $$, NULL, $$ 24.95 $$),
		('price:item',      $$ {"type": "number", "minimum": 0} $$, NULL, $$ 24.95 $$),
		('quantity',        $$ {"type": "integer", "minimum": 1} $$, NULL, $$ 2 $$),
		('items',           $$ {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["productId", "quantity", "price"], "additionalProperties": false,
								"properties": {"productId": {"type": "string", "minLength": 1}, "productName": {"type": ["string", "null"]}, "category": {"type": ["string", "null"]},
											   "quantity": {"type": "integer", "minimum": 1}, "price": {"type": "number", "minimum": 0}}}} $$, NULL,
							$$ [{"productId": "pen", "quantity": 2, "price": 24.95}] $$),
		('items:refund',    $$ {"type": ["array", "null"], "items": {"type": "string", "minLength": 1}} $$, NULL, $$ ["pen"] $$),
		('subtotal',        $$ {"type": "number", "minimum": 0} $$, NULL, $$ 49.90 $$),
		('tax',             $$ {"type": "number", "minimum": 0} $$, NULL, $$ 0 $$),
		('shipping',        $$ {"type": "number", "minimum": 0} $$, NULL, $$ 0 $$),
		('total',           $$ {"type": "number", "minimum": 0} $$, NULL, $$ 49.90 $$),
		('totalValue',      $$ {"type": "number", "minimum": 0} $$, NULL, $$ 49.90 $$),
		('cartValue',       $$ {"type": "number", "minimum": 0} $$, NULL, $$ 49.90 $$),
		('abandonedValue',  $$ {"type": "number", "minimum": 0} $$, NULL, $$ 49.90 $$),
		('itemCount',       $$ {"type": "integer", "minimum": 0} $$, NULL, $$ 2 $$),
		('paymentProvider', $$ {"type": ["string", "null"]} $$, NULL, $$ "stripe" $$),
		('errorCode',       $$ {"type": "string", "minLength": 1, "maxLength": 256} $$, NULL, $$ "CARD_DECLINED" $$),
		('errorType',       $$ {"type": "string", "minLength": 1, "maxLength": 256} $$, NULL, $$ "TIMEOUT" $$),
		('retryable',       $$ {"type": "boolean"} $$, NULL, $$ true $$),
		('attempt',         $$ {"type": "integer", "minimum": 1} $$, NULL, $$ 1 $$),
		('givenUp',         $$ {"type": "boolean"} $$, NULL, $$ false $$),
		('maxAttempts',     $$ {"type": "integer", "minimum": 1} $$, NULL, $$ 3 $$),
		('confirmationNumber', $$ {"type": "string", "minLength": 1} $$, NULL, $$ "C-1001" $$),
		('trackingNumber',  $$ {"type": ["string", "null"]} $$, NULL, $$ "1Z999" $$),
		('carrier',         $$ {"type": ["string", "null"]} $$, NULL, $$ "UPS" $$),

		-- Times inside of an event are text; when it happened is its occurred_at.
		('abandonedAt',     $$ {"type": ["string", "null"], "minLength": 10} $$, NULL, $$ "2026-01-31T10:00:00Z" $$),
		('shippedAt',       $$ {"type": ["string", "null"], "minLength": 10} $$, NULL, $$ "2026-01-31T10:00:00Z" $$),
		('deliveredAt',     $$ {"type": ["string", "null"], "minLength": 10} $$, NULL, $$ "2026-02-02T10:00:00Z" $$),
		('completedAt',     $$ {"type": ["string", "null"], "minLength": 10} $$, NULL, $$ "2026-02-02T10:00:00Z" $$),
		('expiredAt',       $$ {"type": "string", "minLength": 10} $$, NULL, $$ "2028-01-31T00:00:00Z" $$),
		('retryAt',         $$ {"type": "string", "minLength": 10} $$, NULL, $$ "2026-01-31T10:05:00Z" $$),
		('estimatedDelivery', $$ {"type": ["string", "null"], "minLength": 10} $$, NULL, $$ "2026-02-03" $$),
		('timeInCart',      $$ {"type": ["number", "null"], "minimum": 0} $$, NULL, $$ 3600 $$),
		('timeInCheckout',  $$ {"type": ["number", "null"], "minimum": 0} $$, NULL, $$ 120 $$),
		('timeOnPage',      $$ {"type": ["number", "null"], "minimum": 0} $$, NULL, $$ 42 $$),

		-- Journeys.
		('pageUrl',         $$ {"type": "string", "minLength": 1} $$, NULL, $$ "/pens" $$),
		('pageTitle',       $$ {"type": ["string", "null"]} $$, NULL, $$ "Pens" $$),
		('referrer',        $$ {"type": ["string", "null"]} $$, NULL, $$ "https://example.com/" $$),
		('resultsCount',    $$ {"type": "integer", "minimum": 0} $$, NULL, $$ 7 $$),
		('selectedResult',  $$ {"type": ["string", "null"]} $$, NULL, $$ "pen" $$),
		('comparisonAttributes', $$ {"type": ["array", "null"], "items": {"type": "string"}} $$, NULL, $$ ["price", "nib"] $$),
		('rating',          $$ {"type": "number", "minimum": 1, "maximum": 5} $$, NULL, $$ 4 $$),
		('watchDuration',   $$ {"type": "number", "minimum": 0} $$, NULL, $$ 30 $$),
		('totalDuration',   $$ {"type": "number", "minimum": 0} $$, NULL, $$ 60 $$),
		('completionRate',  $$ {"type": ["number", "null"], "minimum": 0, "maximum": 1} $$, NULL, $$ 0.5 $$),
		('stepNumber',      $$ {"type": "integer", "minimum": 1} $$, NULL, $$ 2 $$),
		('category',        $$ {"type": "string", "minLength": 1} $$, NULL, $$ "pens" $$),
		('affinityScore',   $$ {"type": "number", "minimum": 0, "maximum": 1} $$, NULL, $$ 0.8 $$),
		('recommendedProducts', $$ {"type": ["array", "null"], "items": {"type": "string"}} $$, NULL, $$ ["ink"] $$),

		-- Counts, integrations, settings.
		('eventsAnonymized', $$ {"type": ["integer", "null"], "minimum": 0} $$, NULL, $$ 17 $$),
		('segmentCount',    $$ {"type": ["integer", "null"], "minimum": 0} $$, NULL, $$ 5 $$),
		('integration',     $$ {"type": "string", "minLength": 1} $$, NULL, $$ "sendgrid" $$),
		('action',          $$ {"type": "string", "minLength": 1} $$, NULL, $$ "CustomerCreated" $$),
		('succeeded',       $$ {"type": ["boolean", "null"]} $$, NULL, $$ true $$),
		('value',           $$ {"type": ["string", "null"], "maxLength": 1000} $$, NULL, $$ "5 minutes" $$)
	  ) f (field, schema, pii, example)
$sql$;
COMMENT ON FUNCTION crm.fields() IS
	'Private: the fields of events. field: its name here; property: its name in data; schema: JSON Schema, with an example; pii: strategy where it is personal.';
-- The catalogue: every event type of the documents, as data.  install() registers
-- what is here.  A type has one name: others that are in use are aliases.

CREATE FUNCTION crm.catalogue() RETURNS TABLE (type text, category text, phase text, required text[], optional text[], description text)
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	SELECT c.type, c.category, c.phase, string_to_array(c.required, ' '), string_to_array(c.optional, ' '), c.description
	  FROM (VALUES
		-- Leads: the stream is lead-<id>.
		('contact_form_submission', 'lead', 'Acquisition', NULL, 'name email:lead phone source:lead property message', 'Somebody asked: a lead begins'),
		('lead_imported', 'lead', 'Acquisition', 'state created_at', 'name email:lead phone source:lead agent_id flags legacy_status', 'A lead that was there before its history: where it stood'),
		('contact_attempted', 'lead', 'Activation', 'channel:lead', 'outcome note', 'We tried to reach the lead; voicemails and no-answers count'),
		('contact_received', 'lead', 'Activation', 'channel:lead', 'note', 'The lead got in touch with us'),
		('lead_engaged', 'lead', 'Activation', 'signal', 'property', 'The lead did something that shows interest'),
		('motivation_confirmed', 'lead', 'Activation', NULL, 'note', 'The lead is motivated and looks at homes'),
		('bogus_contact_detected', 'lead', 'Lifecycle Management', NULL, 'note', 'The contact data is bad'),
		('timeout_21d_no_response', 'lead', 'Lifecycle Management', NULL, NULL, 'Six attempts and 21 days without an answer'),
		('timeout_180d_no_progress', 'lead', 'Lifecycle Management', NULL, NULL, '180 days without progress'),
		('buyer_agreement_signed', 'lead', 'Purchase', NULL, 'note', 'The buyer''s agreement is signed'),
		('contract_executed', 'lead', 'Purchase', NULL, 'property price currency note', 'An offer was accepted'),
		('deal_collapsed', 'lead', 'Purchase', NULL, 'agent_id note', 'The deal fell through before a contract'),
		('contract_voided', 'lead', 'Purchase', NULL, 'agent_id note', 'The contract was voided'),
		('closing_complete', 'lead', 'Purchase', NULL, 'price currency note', 'Funded: the keys are handed over'),
		('lead_re_engaged', 'lead', 'Retention', NULL, 'note', 'An archived lead came back'),
		('contact_info_updated', 'lead', 'Lifecycle Management', NULL, 'name email:lead phone', 'Contact data was put right'),
		('lead_assigned', 'lead', 'Lifecycle Management', 'agent_id:new', 'from_agent_id note', 'The lead has another agent; whose it was, the database says'),
		('flag_set', 'lead', 'Lifecycle Management', 'flag', 'evidence', 'The lead may not be contacted in some way from now on'),
		('flag_cleared', 'lead', 'Lifecycle Management', 'flag', 'evidence', 'It may again'),
		('note_added', 'lead', 'Lifecycle Management', 'text', NULL, 'A note of an agent'),

		-- Customers: customer-<id>.
		('CustomerCreated', 'customer', 'Acquisition', 'email source', 'firstName lastName phone dateOfBirth ipAddress userAgent', 'A customer registered'),
		('TermsAccepted', 'customer', 'Acquisition', 'termsVersion', 'ipAddress userAgent', 'Accepted the terms'),
		('EmailVerificationRequested', 'customer', 'Acquisition', 'email tokenHash', 'expiresAt', 'Was sent a token to prove the address; only its hash is kept'),
		('EmailVerified', 'customer', 'Acquisition', 'tokenHash', 'email', 'Proved the address, by the token'),
		('CustomerEmailUpdated', 'customer', 'Lifecycle Management', 'newEmail requiresVerification', 'oldEmail ipAddress userAgent', 'Has another address'),
		('CustomerNameUpdated', 'customer', 'Lifecycle Management', 'newFirstName newLastName', 'oldFirstName oldLastName', 'Has another name'),
		('CustomerPhoneUpdated', 'customer', 'Lifecycle Management', 'newPhone', 'oldPhone', 'Has another phone number, or none'),
		('CustomerAddressUpdated', 'customer', 'Lifecycle Management', 'newAddress', 'oldAddress', 'Lives elsewhere'),
		('CustomerDateOfBirthUpdated', 'customer', 'Lifecycle Management', 'newDateOfBirth', 'oldDateOfBirth', 'The date of birth was put right'),
		('CustomerDeactivated', 'customer', 'Lifecycle Management', 'reason:deactivation previousStatus', 'notes', 'The account is closed; this can be undone'),
		('CustomerReactivated', 'customer', 'Lifecycle Management', NULL, 'notes', 'The account is open again; consent is to be asked for anew'),
		('CustomerDataDeletionRequested', 'customer', 'Lifecycle Management', 'reason:deletion deletionType', NULL, 'Personal data is to be erased'),
		('CustomerDataDeleted', 'customer', 'Lifecycle Management', 'deletionType completedAt', 'eventsAnonymized', 'Personal data was erased'),
		('CustomerEmailInvalidated', 'customer', 'Lifecycle Management', 'reason:invalid', 'messageId', 'The address takes no mail'),
		('CustomerSegmentAdded', 'customer', 'Retention', 'segmentId', 'segmentName criteria', 'Entered a segment'),
		('CustomerSegmentRemoved', 'customer', 'Retention', 'segmentId', 'segmentName reason:code', 'Left a segment'),
		('ConsentGranted', 'customer', 'Acquisition', 'purpose channel', 'ipAddress userAgent consentMethod noticeVersion legalBasis expiresAt', 'Consented for a purpose and a channel'),
		('ConsentRenewed', 'customer', 'Retention', 'purpose channel', 'ipAddress userAgent consentMethod noticeVersion legalBasis expiresAt', 'Consented again'),
		('ConsentRevoked', 'customer', 'Lifecycle Management', 'purpose channel', 'reason:code ipAddress userAgent', 'Took a consent back'),
		('ConsentExpired', 'customer', 'Lifecycle Management', 'purpose channel expiredAt', NULL, 'A consent was not renewed in time'),
		('PreferencesUpdated', 'customer', 'Lifecycle Management', 'preferences', NULL, 'Changed preferences; what is not named stays'),
		('ProductAffinityEnded', 'customer', 'Retention', 'category affinityScore', NULL, 'Does not any more'),
		('ProductAffinityDetected', 'customer', 'Retention', 'category affinityScore', 'recommendedProducts', 'Spends most on one category'),
		('ReviewRequested', 'customer', 'Retention', NULL, 'orderId productIds', 'Was asked for a review'),
		('ReviewSubmitted', 'customer', 'Retention', 'productId rating', 'reviewId orderId notes', 'Wrote a review'),
		('CampaignsPaused', 'customer', 'Lifecycle Management', NULL, 'channel:any reason:code', 'Gets no campaigns for now'),
		('CampaignsResumed', 'customer', 'Lifecycle Management', NULL, 'channel:any reason:code', 'Gets campaigns again'),

		-- Messages: message-<id>.
		('MessageQueued', 'message', 'Activation', 'customerId channel messageClass:required', 'topic campaignId templateId content decision', 'A message is to be sent, and why it might be'),
		('MessageSent', 'message', 'Activation', 'customerId channel', 'messageId campaignId templateId messageClass topic decision', 'A message went out, and why it might'),
		('MessageSkipped', 'message', 'Activation', 'customerId channel reason:skip', 'campaignId templateId messageClass topic content decision', 'A message was not sent, and why'),
		('MessageFailed', 'message', 'Activation', 'customerId channel errorType', 'errorMessage retryable attempt campaignId templateId', 'A message could not be sent'),
		('MessageDelivered', 'message', 'Activation', 'customerId channel', 'messageId', 'A message arrived'),
		('MessageBounced', 'message', 'Activation', 'customerId channel bounceType', 'messageId errorMessage', 'A message came back'),
		('MessageOpened', 'message', 'Activation', 'customerId channel', 'messageId campaignId', 'A message was opened'),
		('MessageClicked', 'message', 'Activation', 'customerId channel', 'messageId campaignId pageUrl', 'A link in a message was followed'),

		-- Journeys: visit-<session>.
		('PageViewed', 'visit', 'Activation', 'pageUrl', 'customerId sessionId pageTitle referrer timeOnPage channel:touch campaignId', 'Saw a page'),
		('ProductViewed', 'visit', 'Activation', 'productId', 'customerId sessionId productName productCategory price currency viewSource channel:touch campaignId', 'Looked at a product'),
		('SearchPerformed', 'visit', 'Activation', 'query resultsCount', 'customerId sessionId selectedResult', 'Searched'),
		('ProductCompared', 'visit', 'Activation', 'productIds', 'customerId sessionId comparisonAttributes', 'Compared products'),
		('ReviewRead', 'visit', 'Activation', 'productId reviewId', 'customerId sessionId rating', 'Read a review'),
		('VideoWatched', 'visit', 'Activation', 'videoId watchDuration totalDuration', 'customerId sessionId productId completionRate', 'Watched a video'),

		-- Carts: cart-<id>.
		('CartCreated', 'cart', 'Purchase', 'source', 'customerId sessionId', 'A cart was begun'),
		('ItemAddedToCart', 'cart', 'Purchase', 'productId quantity price:item currency', 'customerId productName productCategory', 'Something was put into it'),
		('ItemRemovedFromCart', 'cart', 'Purchase', 'productId quantity', 'customerId', 'Something was taken out of it'),
		('CartAbandoned', 'cart', 'Purchase', 'items totalValue currency', 'customerId abandonedAt timeInCart', 'It was left alone; what lay in it, the database says'),
		('CheckoutStarted', 'cart', 'Purchase', 'cartValue itemCount', 'customerId currency', 'The checkout began'),
		('CheckoutStepCompleted', 'cart', 'Purchase', 'step stepNumber', 'customerId', 'One step of it was done'),
		('CartConverted', 'cart', 'Purchase', 'orderId', 'customerId', 'It became an order'),
		('CartReopened', 'cart', 'Purchase', 'orderId', 'customerId', 'Its order was cancelled: it may be changed and ordered again'),
		('CheckoutAbandoned', 'cart', 'Purchase', 'abandonedValue', 'customerId currency lastCompletedStep timeInCheckout', 'It was left alone'),

		-- Orders with their payments and refunds: order-<id>.
		('OrderPlaced', 'order', 'Purchase', 'customerId items subtotal tax shipping total currency', 'cartId shippingAddress billingAddress channel:touch campaignId', 'An order was placed'),
		('PaymentInitiated', 'order', 'Purchase', 'customerId paymentId paymentMethod amount currency', 'paymentProvider', 'A payment was begun'),
		('PaymentSucceeded', 'order', 'Purchase', 'customerId paymentId amount currency', 'transactionId', 'It succeeded'),
		('PaymentFailed', 'order', 'Purchase', 'customerId paymentId amount currency errorCode retryable', 'errorMessage attempt givenUp', 'It failed; how often so far, and whether it is given up, the database says'),
		('RetryScheduled', 'order', 'Purchase', 'customerId attempt maxAttempts retryAt', 'paymentId', 'It is to be tried again'),
		('PaymentRetried', 'order', 'Purchase', 'customerId paymentId attempt', NULL, 'It was tried again'),
		('OrderConfirmed', 'order', 'Purchase', 'customerId confirmationNumber', 'estimatedDelivery', 'The order is paid and confirmed'),
		('OrderCancelled', 'order', 'Purchase', 'customerId', 'reason:code', 'The order was cancelled'),
		('OrderShipped', 'order', 'Fulfillment', 'customerId', 'trackingNumber carrier shippedAt estimatedDelivery', 'It is on its way'),
		('OrderDelivered', 'order', 'Fulfillment', 'customerId', 'deliveredAt signedBy productCategory', 'It arrived'),
		('RefundInitiated', 'order', 'Fulfillment', 'customerId refundId amount currency reason:refund refundType', 'items:refund', 'Money is to be paid back'),
		('RefundCompleted', 'order', 'Fulfillment', 'customerId refundId amount currency', 'completedAt transactionId', 'It was paid back'),
		('RefundFailed', 'order', 'Fulfillment', 'customerId refundId errorCode', 'errorMessage', 'It could not be paid back'),

		-- Ledger: account-<id>.
		('ChargePosted', 'account', 'Purchase', 'amount:positive currency', 'customerId orderId reference note', 'Money came in'),
		('RefundPosted', 'account', 'Fulfillment', 'amount:positive currency', 'customerId orderId reference note', 'Money was paid back'),
		('CreditPosted', 'account', 'Retention', 'amount:positive currency', 'customerId orderId reference note', 'Was given credit'),
		('AdjustmentPosted', 'account', 'Lifecycle Management', 'amount:signed currency note:required', 'customerId orderId reference', 'The balance was put right, up or down'),

		-- The rest.
		('SegmentDefined', 'segment', 'Lifecycle Management', 'rule:segment', 'segmentName', 'Who belongs to a segment'),
		('SegmentDropped', 'segment', 'Lifecycle Management', NULL, NULL, 'A segment is not worked out any more'),
		('SegmentationRecalculated', 'segment', 'Lifecycle Management', NULL, 'segmentCount criteria', 'Segments were worked out anew'),
		('ThirdPartyIntegrationSynced', 'integration', 'Lifecycle Management', 'integration action', 'customerId eventPosition succeeded errorCode errorMessage', 'A program of others was told something'),
		('CampaignDefined', 'campaign', 'Lifecycle Management', 'trigger steps messageClass:required', 'exits description', 'A campaign, or a new version of it'),
		('CampaignSuspended', 'campaign', 'Lifecycle Management', NULL, 'reason:code', 'It rests: what is due waits'),
		('CampaignContinued', 'campaign', 'Lifecycle Management', NULL, 'reason:code', 'It goes on'),
		('CampaignEnded', 'campaign', 'Lifecycle Management', NULL, 'reason:code', 'It is over: nobody enters it, and who is in it leaves'),
		('CampaignTriggered', 'campaign', 'Activation', 'customerId', 'data', 'Somebody was put into it by hand'),
		('CampaignRunStarted', 'campaign_run', 'Activation', 'customerId campaignId campaignVersion', 'eventPosition', 'A customer entered a campaign'),
		('CampaignStepDone', 'campaign_run', 'Activation', 'customerId campaignId stepNumber action', 'messageId outcome:text', 'A step of it was done'),
		('CampaignRunEnded', 'campaign_run', 'Activation', 'customerId campaignId reason:skip', NULL, 'The customer left it: completed, or why'),
		('FunnelDefined', 'funnel', 'Lifecycle Management', 'steps:funnel', NULL, 'Stages of a funnel'),
		('FrequencyCapChanged', 'crm_rule', 'Lifecycle Management', 'channel', 'messageClass frequency window max', 'How often messages may be sent; without max: as often as one likes'),
		('ChannelRuleChanged', 'crm_rule', 'Lifecycle Management', 'channel messageClass:required rule', NULL, 'What a channel may be used for'),
		('setting_changed', 'crm_setting', 'Lifecycle Management', 'value', NULL, 'A setting of the CRM has another value; NULL: its default')
	  ) c (type, category, phase, required, optional, description)
$sql$;
COMMENT ON FUNCTION crm.catalogue() IS
	'Private: the event types that install() registers, with the fields (see fields()) that must and that may be in their data.';

-- A schema is closed: what is not told of is refused, so that no personal data
-- hides in it, and a field that comes later is compatible with what was before.
CREATE FUNCTION crm.event_type_definitions() RETURNS TABLE (type text, category text, phase text, schema jsonb, pii jsonb, example jsonb, description text)
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	SELECT c.type, c.category, c.phase,
		   jsonb_strip_nulls(jsonb_build_object('type', 'object', 'additionalProperties', false,
				'required', nullif(coalesce(jsonb_agg(f.property ORDER BY f.property) FILTER (WHERE f.field = ANY (c.required)), '[]'), '[]')))
			|| jsonb_build_object('properties', coalesce(jsonb_object_agg(f.property, f.schema) FILTER (WHERE f.field IS NOT NULL), '{}')),
		   coalesce(jsonb_object_agg(f.property, f.pii) FILTER (WHERE f.pii IS NOT NULL), '{}'),
		   coalesce(jsonb_object_agg(f.property, f.schema -> 'examples' -> 0) FILTER (WHERE f.field IS NOT NULL), '{}'),
		   c.description
	  FROM crm.catalogue() c
	  LEFT JOIN crm.fields() f ON f.field = ANY (c.required || c.optional)
	 GROUP BY c.type, c.category, c.phase, c.required, c.description
$sql$;
COMMENT ON FUNCTION crm.event_type_definitions() IS
	'Private: catalogue() with JSON Schemas, personal fields and example data.';

CREATE FUNCTION crm.event_type_aliases() RETURNS TABLE (alias text, origin text, type text, note text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('EmailSent', 'documents', 'MessageSent', 'with channel email'),
		('ReminderSent', 'documents', 'MessageSent', 'with the campaign that reminds'),
		('CustomerPreferencesUpdated', 'documents', 'PreferencesUpdated', NULL),
		('ReplenishmentCampaign', 'documents', 'MessageSent', 'with campaign reorder-reminder'),
		('ReorderPlaced', 'documents', 'OrderPlaced', 'an order of a customer who ordered before'),
		('Page Viewed', 'segment', 'PageViewed', NULL),
		('Product Viewed', 'segment', 'ProductViewed', NULL),
		('Products Searched', 'segment', 'SearchPerformed', NULL),
		('Product Added', 'segment', 'ItemAddedToCart', NULL),
		('Product Removed', 'segment', 'ItemRemovedFromCart', NULL),
		('Checkout Started', 'segment', 'CheckoutStarted', NULL),
		('Checkout Step Completed', 'segment', 'CheckoutStepCompleted', NULL),
		('Order Completed', 'segment', 'OrderPlaced', NULL),
		('Order Refunded', 'segment', 'RefundCompleted', NULL),
		('Order Cancelled', 'segment', 'OrderCancelled', NULL)
$sql$;
COMMENT ON FUNCTION crm.event_type_aliases() IS
	'Other names for event types: alias, where it is used (documents, segment: Segment, RudderStack, PostHog), our type, and what tells it apart.';
-- What install() defines with.  The script of the extension itself makes functions
-- only: definitions are events of the log, and tables that events fold into carry
-- guards, so both are made once, by install(), and are no members of the
-- extension.  A dump has them whole, and a restore, which runs the script again,
-- doubles nothing.  Each of these compares first, and does nothing twice.

CREATE FUNCTION crm.put_event_types() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	changed integer := 0;
BEGIN
	FOR t IN SELECT d.*
			   FROM crm.event_type_definitions() d
			   LEFT JOIN eventsource.event_types e ON e.type = d.type AND e.category = d.category
			  WHERE (e.schema, e.pii, e.phase, e.description) IS DISTINCT FROM (d.schema, d.pii, d.phase, d.description)
				 OR e.is_withdrawn
			  ORDER BY d.category, d.type LOOP
		PERFORM eventsource.register_event_type(t.type, t.category, t.schema,
					phase => t.phase, pii => t.pii, description => t.description);
		changed := changed + 1;
	END LOOP;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.put_event_types() IS
	'Private, for install(): registers the catalogue; returns how many types were new or are different. Errors: ZE011.';

CREATE FUNCTION crm.put_state_machine(name text, definition jsonb) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF EXISTS (SELECT FROM eventsource.state_machines m
				WHERE m.name = put_state_machine.name AND m.is_current
				  AND m.definition = put_state_machine.definition) THEN
		RETURN 0;
	END IF;
	PERFORM eventsource.create_state_machine(name, definition);
	RETURN 1;
END
$$;
COMMENT ON FUNCTION crm.put_state_machine(text, jsonb) IS
	'Private, for install(): a state machine as it should be; returns 1 if it was not. Errors: ZE011.';

CREATE FUNCTION crm.put_category(name text, state_machine text, context text, subject text) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	other text;
BEGIN
	IF EXISTS (SELECT FROM eventsource.categories c
				WHERE c.name = put_category.name AND c.strict
				  AND (c.state_machine, c.context, c.subject) IS NOT DISTINCT FROM (put_category.state_machine, put_category.context, put_category.subject)) THEN
		RETURN 0;
	END IF;
	SELECT c.state_machine INTO other FROM eventsource.categories c
	 WHERE c.name = put_category.name AND c.state_machine NOT LIKE 'crm\_%';
	IF other IS NOT NULL THEN
		RAISE duplicate_object USING
			MESSAGE = format('category "%s" is in use', name),
			DETAIL = format('It follows state machine "%s", which is not one of eventsource_crm.', other),
			HINT = 'Install eventsource_crm in a database of its own.';
	END IF;
	PERFORM eventsource.create_category(name, state_machine => state_machine, context => context::regclass,
										strict => true, subject => subject);
	RETURN 1;
END
$$;
COMMENT ON FUNCTION crm.put_category(text, text, text, text) IS
	'Private, for install(): a strict category as it should be; returns 1 if it was not. Errors: 42710 if it follows a machine of others, ZE011.';

CREATE FUNCTION crm.put_projection(target text, category text, rules jsonb, key jsonb DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN crm.put_projection(target, ARRAY[category], rules, key);
END
$$;
COMMENT ON FUNCTION crm.put_projection(text, text, jsonb, jsonb) IS
	'Private, for install(): an inline projection of one category as it should be; returns 1 if it was not. Errors: ZE011.';

CREATE FUNCTION crm.put_projection(target text, categories text[], rules jsonb, key jsonb DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF EXISTS (SELECT FROM eventsource.projections p
				WHERE p.target = put_projection.target::regclass AND p.category = put_projection.categories
				  AND p.rules = put_projection.rules AND p.key IS NOT DISTINCT FROM put_projection.key) THEN
		RETURN 0;
	END IF;
	PERFORM eventsource.create_projection(target::regclass, categories, rules, key => key, mode => 'inline');
	RETURN 1;
END
$$;
COMMENT ON FUNCTION crm.put_projection(text, text[], jsonb, jsonb) IS
	'Private, for install(): an inline projection as it should be; returns 1 if it was not. Errors: ZE011.';

CREATE FUNCTION crm.put_reaction(name text, category text, type text, action jsonb, condition text DEFAULT NULL, key text DEFAULT NULL, settings jsonb DEFAULT NULL,
		run_at text DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF EXISTS (SELECT FROM eventsource.reactions r
				WHERE r.name = put_reaction.name AND r.category = put_reaction.category AND r.type = put_reaction.type AND r.action = put_reaction.action
				  AND (r.condition, r.key, r.run_at) IS NOT DISTINCT FROM (put_reaction.condition, put_reaction.key, put_reaction.run_at)
				  AND coalesce(r.settings, '{}') = coalesce(put_reaction.settings, '{}')) THEN
		RETURN 0;
	END IF;
	PERFORM eventsource.create_reaction(name, category, type, condition, action, run_at, key, settings);
	RETURN 1;
END
$$;
COMMENT ON FUNCTION crm.put_reaction(text, text, text, jsonb, text, text, jsonb, text) IS
	'Private, for install() and campaigns: a reaction as it should be; returns 1 if it was not. Errors: ZE011.';

CREATE FUNCTION crm.drop_view(name text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	above text;
BEGIN
	FOR above IN SELECT DISTINCT v.relname
				   FROM pg_depend d
				   JOIN pg_rewrite r ON r.oid = d.objid
				   JOIN pg_class v ON v.oid = r.ev_class
				  WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
					AND d.refobjid = format('crm.%I', drop_view.name)::regclass AND v.oid <> d.refobjid
					AND v.relkind = 'v' AND v.relnamespace = 'crm'::regnamespace LOOP
		PERFORM crm.drop_view(above);
	END LOOP;
	EXECUTE format('DROP VIEW IF EXISTS crm.%I', drop_view.name);
END
$$;
COMMENT ON FUNCTION crm.drop_view(text) IS
	'Private, for put_view(): drops a view of ours and those of ours that read it. Errors: 2BP01 if somebody else''s view does.';

CREATE FUNCTION crm.put_view(name text, description text, columns jsonb, query text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	untold text;
	c record;
BEGIN
	BEGIN
		EXECUTE format('CREATE OR REPLACE VIEW crm.%I WITH (security_barrier) AS %s', name, query);
	EXCEPTION WHEN invalid_table_definition THEN
		-- Another version of it had other columns.
		PERFORM crm.drop_view(name);
		EXECUTE format('CREATE VIEW crm.%I WITH (security_barrier) AS %s', name, query);
	END;
	EXECUTE format('COMMENT ON VIEW crm.%I IS %L', name, description);
	FOR c IN SELECT a.attname, put_view.columns ->> a.attname AS description
			   FROM pg_attribute a
			  WHERE a.attrelid = format('crm.%I', put_view.name)::regclass AND a.attnum > 0 AND NOT a.attisdropped LOOP
		IF c.description IS NULL THEN
			untold := concat_ws(', ', untold, c.attname);
		ELSE
			EXECUTE format('COMMENT ON COLUMN crm.%I.%I IS %L', name, c.attname, c.description);
		END IF;
	END LOOP;
	IF untold IS NOT NULL THEN
		RAISE EXCEPTION 'view crm.% says nothing of its columns %', name, untold;
	END IF;
END
$$;
COMMENT ON FUNCTION crm.put_view(text, text, jsonb, text) IS
	'Private, for install(): a view as it should be, each of its columns with a comment.';

-- The reader asks; what belongs to a person is shown to who may see it.
CREATE FUNCTION crm.masked(value text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN value IS NULL THEN NULL WHEN eventsource.sees_personal_data() THEN value ELSE '***' END
$$;
COMMENT ON FUNCTION crm.masked(text) IS
	'Private, for views: personal text, *** for who may not see it.';

-- Settings are events, too: stream crm_setting-<name>.
CREATE FUNCTION crm.setting_defaults() RETURNS TABLE (name text, type regtype, default_value text, description text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('first_contact_sla', 'interval'::regtype, '5 minutes', 'How soon after the intake a lead is to be contacted'),
		('consent_term_marketing', 'interval', '2 years', 'How long a consent to marketing lasts unless the event says'),
		('consent_term_analytics', 'interval', '2 years', 'How long a consent to analytics lasts unless the event says'),
		('consent_term_essential', 'interval', '2 years', 'How long a consent to what is essential lasts unless the event says'),
		('email_frequency', 'text', 'weekly', 'How often who has not said so is sent marketing by e-mail: daily, weekly or never'),
		('quiet_hours', 'text', '', 'When no marketing by sms and push goes out, by the customer''s clock: 21:00-08:00, say; empty: never'),
		('default_timezone', 'text', 'UTC', 'Time zone of who has not said so'),
		('default_channels', 'text', 'email', 'Channels for who has not said anything of preferences, joined by commas'),
		('payment_retries', 'numeric', '3', 'How often a payment that failed is tried again; install() puts it into effect'),
		('payment_backoff', 'interval', '300 seconds', 'How long before the first retry of a payment; install() puts it into effect'),
		('payment_backoff_factor', 'numeric', '1', 'Times how much longer before each further one: 1 is fixed, 2 doubles; install() puts it into effect'),
		('refund_reasons_after_delivery', 'text', 'quality-issue,delivery-failed,other', 'Reasons for which what was delivered is paid back; install() puts it into effect'),
		('affinity_threshold', 'numeric', '0.7', 'Share of spending above which a category counts as an affinity'),
		('campaign_retry', 'interval', '15 minutes', 'How often what is due in a campaign that rests is looked at'),
		('session_gap', 'interval', '30 minutes', 'How long without an event ends a session'),
		('verification_term', 'interval', '24 hours', 'How long a token that proves an e-mail address is good'),
		('temperature_window', 'interval', '30 days', 'How long a signal of a lead counts for its temperature'),
		('temperature_warm', 'numeric', '30', 'Score from which a lead is WARM'),
		('temperature_hot', 'numeric', '70', 'Score from which a lead is HOT'),
		('signal_tour_requested', 'numeric', '40', 'Points of the signal'),
		('signal_pre_approval_uploaded', 'numeric', '40', 'Points of the signal'),
		('signal_favorite_saved', 'numeric', '10', 'Points of the signal'),
		('signal_replied', 'numeric', '30', 'Points of the signal; of what the lead sends, too'),
		('signal_session_returned', 'numeric', '10', 'Points of the signal'),
		('signal_search_saved', 'numeric', '10', 'Points of the signal'),
		('signal_property_viewed', 'numeric', '5', 'Points of the signal')
$sql$;
COMMENT ON FUNCTION crm.setting_defaults() IS
	'Private: the settings there are, with their types and defaults.';

CREATE FUNCTION crm.put_settings() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed integer;
BEGIN
	CREATE TABLE IF NOT EXISTS crm.setting (
		name       text PRIMARY KEY,
		value      text,
		changed_at timestamptz,
		changed_by text
	);
	COMMENT ON TABLE crm.setting IS 'Private: settings that were changed, a projection. Read the view settings.';
	changed := crm.put_projection('crm.setting', 'crm_setting', jsonb_build_object('setting_changed',
		$rule$ value = event.data->>'value', changed_at = event.occurred_at, changed_by = event.actor $rule$));
	PERFORM crm.put_view('settings', 'What the CRM counts with: caps, terms and weights. Changed by set_setting().', jsonb_build_object(
			'setting_name', 'Name of the setting.', 'value', 'Its value.', 'default_value', 'Its value unless it was changed.',
			'value_type', 'Type of the value.', 'description', 'What it says.', 'is_default', 'True if it was not changed.',
			'changed_at', 'When it was changed last.', 'changed_by', 'Actor who did.'), $view$
		SELECT d.name AS setting_name, coalesce(s.value, d.default_value) AS value, d.default_value, d.type::text AS value_type,
			   d.description, s.value IS NULL AS is_default, s.changed_at, s.changed_by
		  FROM crm.setting_defaults() d
		  LEFT JOIN crm.setting s ON s.name = d.name $view$);
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.put_settings() IS 'Private, for install(): the settings.';

CREATE FUNCTION crm.set_setting(setting_name text, value text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	d record;
BEGIN
	SELECT * INTO d FROM crm.setting_defaults() s WHERE s.name = setting_name;
	IF NOT FOUND THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no setting "%s"', setting_name),
			DETAIL = 'Nothing reads a setting of this name.',
			HINT = 'The view crm.settings lists those there are.';
	END IF;
	BEGIN
		IF d.type = 'interval'::regtype AND value::interval < '0' OR d.type = 'numeric'::regtype AND value::numeric < 0 THEN
			RAISE numeric_value_out_of_range USING MESSAGE = 'it is negative';
		ELSIF setting_name = 'email_frequency' AND value NOT IN ('daily', 'weekly', 'never')
			OR setting_name = 'quiet_hours' AND value !~ '^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$'
			OR setting_name = 'default_timezone' AND NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = value)
			OR setting_name = 'default_channels' AND replace(value, ' ', '') !~ '^((email|sms|push)(,|$))*$' THEN
			RAISE data_exception USING MESSAGE = 'nothing knows it';
		END IF;
	EXCEPTION WHEN data_exception THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('invalid value for setting "%s"', setting_name),
			DETAIL = format('"%s" is no %s for it: %s.', value, d.type, SQLERRM),
			HINT = format('Its default is %s.', d.default_value);
	END;
	PERFORM eventsource.append('crm_setting-' || setting_name, 'setting_changed', jsonb_build_object('value', value));
END
$$;
COMMENT ON FUNCTION crm.set_setting(text, text) IS
	'Gives a setting of the CRM another value; NULL: its default. It is an event, so who changed it and when is kept. Errors: 42704 unknown setting, 22023 bad value.';
-- Leads: the lifecycle as a state machine, and the tables that their events fold
-- into.  Eight states; thirteen ways between them, each with its event.  Moves back
-- and into the bin give a reason.  The event is the trigger (deal_collapsed), the
-- reason the cause (financing).

CREATE FUNCTION crm.lead_states() RETURNS TABLE (state text, display_order integer, description text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('NEW', 1, 'An inquiry arrived, nobody has tried to reach them yet'),
		('CONTACTING', 2, 'First outreach made, waiting for an answer'),
		('QUALIFIED', 3, 'Motivated: searching and touring'),
		('COMMITTED', 4, 'Buyer''s agreement signed'),
		('IN_CONTRACT', 5, 'An offer was accepted'),
		('CLOSED', 6, 'Funded; a repeat deal is a new lead'),
		('ARCHIVED', 7, 'Went quiet; may come back'),
		('TRASHED', 8, 'Bad contact data; may be put right')
$sql$;
COMMENT ON FUNCTION crm.lead_states() IS 'The states of a lead, in the order of the board, and what they mean.';

CREATE FUNCTION crm.lead_reasons() RETURNS TABLE (code text, category text, label text, phrase text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('financing', 'financing', 'Financing fell through', 'financing fell through'),
		('appraisal', 'financing', 'Appraised below the price', 'it appraised below the price'),
		('inspection', 'inspection', 'The inspection killed it', 'of the inspection'),
		('title_defect', 'inspection', 'The title is not clear', 'the title is not clear'),
		('buyer_disappeared', 'buyer', 'The buyer disappeared', 'the buyer disappeared'),
		('changed_mind', 'buyer', 'The buyer changed their mind', 'the buyer changed their mind'),
		('seller_withdrew', 'seller', 'The seller withdrew', 'the seller withdrew'),
		('mutual_release', 'agreement', 'Both sides agreed to part', 'both sides agreed to part'),
		('wrong_number', 'bogus', 'Wrong number or address', 'the number is wrong'),
		('fake_identity', 'bogus', 'Nobody of that name', 'there is nobody of that name'),
		('duplicate', 'bogus', 'The lead is there already', 'the lead is there already'),
		('spam', 'bogus', 'Spam', 'it is spam'),
		('schedule_conflict', 'staffing', 'The agent has no time', 'of the schedule conflict'),
		('pto', 'staffing', 'The agent is away', 'of PTO'),
		('left_company', 'staffing', 'The agent left', 'the agent left'),
		('workload', 'staffing', 'Work was shared out anew', 'of the workload'),
		('client_asked', 'client', 'The client asked for it', 'the client asked for it'),
		('active_transaction', 'client', 'A transaction is under way', 'a transaction is under way'),
		('legal_duty', 'law', 'The law wants it', 'the law wants it'),
		('data_error', 'data', 'What was recorded is wrong', 'what was recorded is wrong')
$sql$;
COMMENT ON FUNCTION crm.lead_reasons() IS 'The reason codes of leads: category and label for reports, phrase for sentences.';

-- "restricted" is what flags make of a channel.  The days of a timeout count from
-- the import where there was one: what nobody recorded is no inactivity.
CREATE FUNCTION crm.lead_machine() RETURNS jsonb
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
	restricted CONSTANT text := $$(row.flags ? 'dnc'
		OR (event.data->>'channel') IN ('email', 'text') AND row.flags ? 'unsubscribed'
		OR event.data->>'channel' = 'email' AND row.flags ? 'do_not_email'
		OR event.data->>'channel' = 'text' AND row.flags ? 'do_not_text'
		OR event.data->>'channel' = 'phone' AND row.flags ? 'do_not_call')$$;
	attempt CONSTANT jsonb := jsonb_build_object('reason', 'optional', 'reasons', '["client_asked", "active_transaction", "legal_duty"]'::jsonb,
		'guard', jsonb_build_array(
			jsonb_build_object('not_by_a_program', format('NOT %s OR event.actor NOT LIKE ''system:%%''', restricted)),
			jsonb_build_object('restricted_needs_reason', format('NOT %s OR event.reason IS NOT NULL', restricted))));
	trash CONSTANT jsonb := '{"target": "TRASHED", "kind": "backward", "reasons": ["wrong_number", "fake_identity", "duplicate", "spam"]}';
	flag_reasons CONSTANT jsonb := '{"reason": "optional", "reasons": ["client_asked", "legal_duty", "data_error"]}';
BEGIN
	RETURN jsonb_build_object(
		'description', 'From the first contact to the closing',
		'initial', 'NEW',
		'create', jsonb_build_object(
			'contact_form_submission', 'NEW',
			'lead_imported', (SELECT jsonb_agg(jsonb_build_object('target', s.state,
								'guard', jsonb_build_object('state_is_known', format('event.data->>''state'' = %L', s.state))) ORDER BY s.display_order)
								FROM crm.lead_states() s)),
		'states', jsonb_build_object(
			'NEW', jsonb_build_object('on', jsonb_build_object(
				'contact_attempted', attempt || '{"target": "CONTACTING", "kind": "forward"}',
				'bogus_contact_detected', trash)),
			'CONTACTING', jsonb_build_object('on', jsonb_build_object(
				'motivation_confirmed', '{"target": "QUALIFIED", "kind": "forward"}'::jsonb,
				'timeout_21d_no_response', jsonb_build_object('target', 'ARCHIVED', 'kind', 'backward', 'guard', jsonb_build_array(
					jsonb_build_object('six_attempts', 'row.contact_attempts >= 6'),
					jsonb_build_object('twenty_one_days', 'event.occurred_at - greatest(row.state_since, row.imported_at) >= interval ''21 days'''))),
				'bogus_contact_detected', trash), 'after', '{"21 days": "timeout_21d_no_response"}'::jsonb),
			'QUALIFIED', jsonb_build_object('on', jsonb_build_object(
				'buyer_agreement_signed', '{"target": "COMMITTED", "kind": "forward"}'::jsonb,
				'timeout_180d_no_progress', jsonb_build_object('target', 'ARCHIVED', 'kind', 'backward',
					'guard', jsonb_build_object('half_a_year', 'event.occurred_at - greatest(row.state_since, row.imported_at) >= interval ''180 days'''))),
				'after', '{"180 days": "timeout_180d_no_progress"}'::jsonb),
			'COMMITTED', jsonb_build_object('on', jsonb_build_object(
				'contract_executed', '{"target": "IN_CONTRACT", "kind": "forward"}'::jsonb,
				'deal_collapsed', '{"target": "QUALIFIED", "kind": "backward", "label": "The deal fell through before a contract",
					"reasons": ["financing", "appraisal", "inspection", "buyer_disappeared", "changed_mind", "seller_withdrew"],
					"fill": {"agent_id": "row.agent_id"}}'::jsonb)),
			'IN_CONTRACT', jsonb_build_object('on', jsonb_build_object(
				'closing_complete', '{"target": "CLOSED", "kind": "forward"}'::jsonb,
				'contract_voided', '{"target": "QUALIFIED", "kind": "backward", "label": "The contract was voided",
					"reasons": ["financing", "appraisal", "inspection", "title_defect", "buyer_disappeared", "changed_mind", "seller_withdrew", "mutual_release"],
					"fill": {"agent_id": "row.agent_id"}}'::jsonb)),
			'CLOSED', '{"type": "final", "description": "A repeat deal is a new lead"}'::jsonb,
			'ARCHIVED', '{"on": {"lead_re_engaged": {"target": "CONTACTING", "kind": "forward"}}}'::jsonb,
			'TRASHED', '{"on": {"contact_info_updated": {"target": "NEW", "kind": "forward"}}}'::jsonb),
		'on', jsonb_build_object(
			'contact_attempted', attempt,
			'contact_received', '{"reason": "forbidden"}'::jsonb,
			'lead_engaged', '{"reason": "forbidden"}'::jsonb,
			'contact_info_updated', '{"reason": "forbidden"}'::jsonb,
			'note_added', '{"reason": "forbidden"}'::jsonb,
			'flag_set', flag_reasons || jsonb_build_object('guard', jsonb_build_object('flag_is_not_set', 'NOT row.flags ? (event.data->>''flag'')')),
			'flag_cleared', flag_reasons || jsonb_build_object('guard', jsonb_build_object('flag_is_set', 'row.flags ? (event.data->>''flag'')')),
			'lead_assigned', jsonb_build_object('reason', 'optional', 'reasons', '["schedule_conflict", "pto", "left_company", "workload", "client_asked"]'::jsonb,
				'guard', jsonb_build_object('another_agent', 'event.data->>''agent_id'' IS DISTINCT FROM row.agent_id'),
				'fill', jsonb_build_object('from_agent_id', 'row.agent_id'))),
		'reasons', (SELECT jsonb_object_agg(r.code, jsonb_build_object('category', r.category, 'label', r.label)) FROM crm.lead_reasons() r));
END
$fn$;
COMMENT ON FUNCTION crm.lead_machine() IS 'Private, for install(): the lifecycle of a lead.';

CREATE FUNCTION crm.make_leads() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.lead (
		lead_id           text PRIMARY KEY,
		name              text,
		email             text,
		phone             text,
		source            text,
		property          text,
		state             text,
		previous_state    text,
		state_since       timestamptz,
		agent_id          text,
		assigned_at       timestamptz,
		intake_at         timestamptz,
		first_outreach_at timestamptz,
		contact_attempts  integer NOT NULL DEFAULT 0,
		sixth_attempt_at  timestamptz,
		last_contact_at   timestamptz,
		last_response_at  timestamptz,
		demotions         integer NOT NULL DEFAULT 0,
		flags             jsonb NOT NULL DEFAULT '{}',
		legacy_status     text,
		is_backfilled     boolean NOT NULL DEFAULT false,
		imported_at       timestamptz,
		updated_at        timestamptz,
		version           bigint
	);
	COMMENT ON TABLE crm.lead IS 'Private: leads as they are now, a projection. Read the view leads.';
	CREATE INDEX IF NOT EXISTS lead_state_idx ON crm.lead (state, state_since);

	CREATE TABLE IF NOT EXISTS crm.lead_visit (
		lead_id      text,
		version      bigint,
		state        text,
		from_state   text,
		event_type   text,
		reason       text,
		actor        text,
		agent_id     text,
		entered_at   timestamptz,
		is_synthetic boolean NOT NULL DEFAULT false,
		PRIMARY KEY (lead_id, version)
	);
	COMMENT ON TABLE crm.lead_visit IS 'Private: entries of leads into states, a projection. Read the view lead_state_visits.';

	CREATE TABLE IF NOT EXISTS crm.lead_assignment (
		lead_id       text,
		version       bigint,
		agent_id      text,
		from_agent_id text,
		reason        text,
		actor         text,
		assigned_at   timestamptz,
		PRIMARY KEY (lead_id, version)
	);
	COMMENT ON TABLE crm.lead_assignment IS 'Private: changes of agent, a projection. Read the view lead_assignments.';

	CREATE TABLE IF NOT EXISTS crm.lead_flag_change (
		lead_id    text,
		version    bigint,
		flag       text,
		is_set     boolean NOT NULL DEFAULT false,
		reason     text,
		actor      text,
		changed_at timestamptz,
		PRIMARY KEY (lead_id, version, flag)
	);
	COMMENT ON TABLE crm.lead_flag_change IS 'Private: flags set and cleared, a projection. Read the view lead_flags.';

	CREATE TABLE IF NOT EXISTS crm.lead_contact (
		lead_id      text,
		version      bigint,
		channel      text,
		direction    text,
		outcome      text,
		reason       text,
		actor        text,
		contacted_at timestamptz,
		PRIMARY KEY (lead_id, version)
	);
	COMMENT ON TABLE crm.lead_contact IS 'Private: the contact log, a projection. Read the view lead_contacts.';

	CREATE TABLE IF NOT EXISTS crm.lead_signal (
		lead_id     text,
		version     bigint,
		signal      text,
		signaled_at timestamptz,
		PRIMARY KEY (lead_id, version)
	);
	COMMENT ON TABLE crm.lead_signal IS 'Private: signals of interest, a projection. Read the view lead_temperatures.';
END
$$;
COMMENT ON FUNCTION crm.make_leads() IS 'Private, for install(): tables of leads.';

-- One row per lead, and one per event of a kind, so that intervals are read off
-- two rows in order and no event needs to touch two.
CREATE FUNCTION crm.put_leads() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	key CONSTANT jsonb := '{"lead_id": "event.key", "version": "event.version"}';
	always CONSTANT text := $rule$ state = event.to_state, updated_at = event.occurred_at, version = event.version,
		previous_state = CASE WHEN event.to_state IS DISTINCT FROM event.from_state THEN event.from_state ELSE row.previous_state END,
		state_since = CASE WHEN event.to_state IS DISTINCT FROM event.from_state THEN event.occurred_at ELSE row.state_since END $rule$;
	collapsed CONSTANT text := $rule$ demotions = row.demotions + 1 $rule$;
BEGIN
	RETURN crm.put_projection('crm.lead', 'lead', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (VALUES
				('*', NULL),
				('contact_form_submission', $rule$ name = event.data->>'name', email = event.data->>'email', phone = event.data->>'phone',
					source = event.data->>'source', property = event.data->>'property', intake_at = event.occurred_at $rule$),
				('lead_imported', $rule$ name = event.data->>'name', email = event.data->>'email', phone = event.data->>'phone',
					source = event.data->>'source', agent_id = event.data->>'agent_id', flags = coalesce(event.data->'flags', '{}'),
					legacy_status = event.data->>'legacy_status', intake_at = (event.data->>'created_at')::timestamptz, is_backfilled = true, imported_at = event.recorded_at,
					assigned_at = CASE WHEN event.data->>'agent_id' IS NOT NULL THEN event.occurred_at END $rule$),
				-- A field that is given as null is taken away, one that is not given stays.
				('contact_info_updated', $rule$
					name = CASE WHEN event.data ? 'name' THEN event.data->>'name' ELSE row.name END,
					email = CASE WHEN event.data ? 'email' THEN event.data->>'email' ELSE row.email END,
					phone = CASE WHEN event.data ? 'phone' THEN event.data->>'phone' ELSE row.phone END,
					contact_attempts = CASE WHEN event.to_state = event.from_state THEN row.contact_attempts ELSE 0 END,
					sixth_attempt_at = CASE WHEN event.to_state = event.from_state THEN row.sixth_attempt_at END $rule$),
				('contact_attempted', $rule$ contact_attempts = row.contact_attempts + 1, last_contact_at = event.occurred_at,
					first_outreach_at = coalesce(row.first_outreach_at, event.occurred_at),
					sixth_attempt_at = CASE WHEN row.contact_attempts + 1 = 6 THEN event.occurred_at
										WHEN row.contact_attempts + 1 > 6 THEN row.sixth_attempt_at END $rule$),
				('contact_received', $rule$ last_contact_at = event.occurred_at, last_response_at = event.occurred_at $rule$),
				('lead_re_engaged', $rule$ contact_attempts = 0, sixth_attempt_at = NULL $rule$),
				('lead_assigned', $rule$ agent_id = event.data->>'agent_id', assigned_at = event.occurred_at $rule$),
				('deal_collapsed', collapsed),
				('contract_voided', collapsed),
				('flag_set', $rule$ flags = row.flags || jsonb_build_object(event.data->>'flag', jsonb_build_object('version', event.version)) $rule$),
				('flag_cleared', $rule$ flags = row.flags - (event.data->>'flag') $rule$)
			) rule (type, set)))
		+ crm.put_projection('crm.lead_visit', 'lead', jsonb_build_object('*', jsonb_build_object(
			'where', 'event.to_state IS DISTINCT FROM event.from_state',
			'set', $rule$ state = event.to_state, from_state = event.from_state, event_type = event.type, reason = event.reason, actor = event.actor,
				agent_id = event.data->>'agent_id', entered_at = event.occurred_at,
				is_synthetic = event.is_synthetic OR coalesce(event.metadata->>'import' = 'true', false) $rule$)), key)
		+ crm.put_projection('crm.lead_assignment', 'lead', jsonb_build_object(
			'lead_assigned', $rule$ agent_id = event.data->>'agent_id', from_agent_id = event.data->>'from_agent_id', reason = event.reason,
				actor = event.actor, assigned_at = event.occurred_at $rule$,
			'lead_imported', jsonb_build_object('where', $rule$ event.data->>'agent_id' IS NOT NULL $rule$,
				'set', $rule$ agent_id = event.data->>'agent_id', actor = event.actor, assigned_at = event.occurred_at $rule$)), key)
		+ crm.put_projection('crm.lead_flag_change', 'lead', jsonb_build_object(
			'flag_set', $rule$ is_set = true, reason = event.reason, actor = event.actor, changed_at = event.occurred_at $rule$,
			'flag_cleared', $rule$ is_set = false, reason = event.reason, actor = event.actor, changed_at = event.occurred_at $rule$,
			'lead_imported', jsonb_build_object('each', $rule$ jsonb_object_keys(event.data->'flags') $rule$, 'key', key || '{"flag": "item"}',
				'set', $rule$ is_set = true, actor = event.actor, changed_at = event.occurred_at $rule$)),
			key || jsonb_build_object('flag', $rule$ event.data->>'flag' $rule$))
		+ crm.put_projection('crm.lead_contact', 'lead', jsonb_build_object(
			'contact_attempted', $rule$ channel = event.data->>'channel', direction = 'outbound', outcome = event.data->>'outcome',
				reason = event.reason, actor = event.actor, contacted_at = event.occurred_at $rule$,
			'contact_received', $rule$ channel = event.data->>'channel', direction = 'inbound', actor = event.actor,
				contacted_at = event.occurred_at $rule$), key)
		+ crm.put_projection('crm.lead_signal', 'lead', jsonb_build_object(
			'lead_engaged', $rule$ signal = event.data->>'signal', signaled_at = event.occurred_at $rule$,
			'contact_received', $rule$ signal = 'replied', signaled_at = event.occurred_at $rule$), key)
		+ crm.put_state_machine('crm_lead', crm.lead_machine());
END
$$;
COMMENT ON FUNCTION crm.put_leads() IS 'Private, for install(): tables, projections and state machine of leads.';
-- What people and programs read about leads: one row per lead, per event, per
-- visit, per interval.

CREATE FUNCTION crm.lead_sentence(type text, actor text, data jsonb, reason text, from_state text, to_state text, at timestamptz) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE type
			WHEN 'contact_form_submission' THEN concat('Inquiry received', ' through ' || (data->>'source'))
			WHEN 'lead_imported' THEN concat('Brought in as ', to_state, ' from the system before', ', where it was "' || (data->>'legacy_status') || '"')
			WHEN 'lead_assigned' THEN CASE WHEN data->>'from_agent_id' IS NULL THEN format('Assigned to %s', initcap(data->>'agent_id'))
				ELSE format('%s handed off to %s', initcap(data->>'from_agent_id'), initcap(data->>'agent_id')) END
			WHEN 'contact_attempted' THEN concat(who.name, CASE data->>'channel' WHEN 'phone' THEN ' called' WHEN 'email' THEN ' e-mailed' WHEN 'text' THEN ' texted'
				ELSE ' tried to reach the lead' END, ', ' || replace(data->>'outcome', '_', ' '))
			WHEN 'contact_received' THEN concat('The lead answered by ', replace(data->>'channel', '_', ' '))
			WHEN 'lead_engaged' THEN concat('The lead: ', replace(data->>'signal', '_', ' '))
			WHEN 'flag_set' THEN format('%s set %s', who.name, data->>'flag')
			WHEN 'flag_cleared' THEN format('%s cleared %s', who.name, data->>'flag')
			WHEN 'note_added' THEN format('%s noted: %s', who.name, data->>'text')
			WHEN 'timeout_21d_no_response' THEN 'Archived: six attempts and 21 days without an answer'
			WHEN 'timeout_180d_no_progress' THEN 'Archived: 180 days without progress'
			ELSE concat(who.name, ' recorded ', replace(type, '_', ' '))
		   END
		|| CASE WHEN from_state <> to_state THEN format(' (%s to %s)', from_state, to_state) ELSE '' END
		|| to_char(at, '" on "FMMonth FMDDth')
		|| coalesce(' because ' || coalesce((SELECT r.phrase FROM crm.lead_reasons() r WHERE r.code = lead_sentence.reason), 'of ' || replace(reason, '_', ' ')), '')
	  FROM (SELECT initcap(regexp_replace(lead_sentence.actor, '^[a-z]+:', '')) AS name) who
$$;
COMMENT ON FUNCTION crm.lead_sentence(text, text, jsonb, text, text, text, timestamptz) IS
	'Private, for lead_timeline: an event of a lead in words, with the date in the session''s time zone.';

CREATE FUNCTION crm.put_lead_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('lead_temperatures', 'How engaged each lead is now: points of what it did of late.', jsonb_build_object(
			'lead_id', 'The lead.', 'score', 'Points of its signals within setting temperature_window.',
			'temperature', 'HOT, WARM or COLD: score from settings temperature_hot and temperature_warm up.',
			'signal_count', 'How many signals count.', 'last_signal_at', 'When the last one was; NULL: none counts.'), $view$
		SELECT l.lead_id, s.score,
			   CASE WHEN s.score >= hot.value::numeric THEN 'HOT' WHEN s.score >= warm.value::numeric THEN 'WARM' ELSE 'COLD' END AS temperature,
			   s.signal_count, s.last_signal_at
		  FROM crm.lead l
		  JOIN crm.settings hot ON hot.setting_name = 'temperature_hot'
		  JOIN crm.settings warm ON warm.setting_name = 'temperature_warm'
		  JOIN crm.settings term ON term.setting_name = 'temperature_window'
		 CROSS JOIN LATERAL (
			SELECT coalesce(sum(points.value::numeric), 0) AS score, count(*) AS signal_count, max(g.signaled_at) AS last_signal_at
			  FROM crm.lead_signal g
			  JOIN crm.settings points ON points.setting_name = 'signal_' || g.signal
			 WHERE g.lead_id = l.lead_id AND g.signaled_at >= (now() AT TIME ZONE 'UTC' - term.value::interval) AT TIME ZONE 'UTC') s
		 WHERE eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('sla_first_contacts', 'First contact: one row per lead that came in by an inquiry. Leads from before have none.', jsonb_build_object(
			'lead_id', 'The lead.', 'agent_id', 'Whose it is now.', 'intake_at', 'When the inquiry arrived.',
			'due_at', 'Until when it is to be contacted: setting first_contact_sla later, inclusive.',
			'first_outreach_at', 'First attempt to reach it; NULL: none yet.', 'response_time', 'From the inquiry to it.',
			'status', 'met, breached, or active while it can still be met.', 'is_breached', 'True if breached.'), $view$
		SELECT l.lead_id, l.agent_id, l.intake_at, due.at AS due_at, l.first_outreach_at,
			   greatest(l.first_outreach_at - l.intake_at, '0') AS response_time,
			   CASE WHEN l.first_outreach_at <= due.at THEN 'met' WHEN coalesce(l.first_outreach_at, now()) > due.at THEN 'breached' ELSE 'active' END AS status,
			   coalesce(l.first_outreach_at, now()) > due.at AS is_breached
		  FROM crm.lead l
		  JOIN crm.settings sla ON sla.setting_name = 'first_contact_sla'
		 CROSS JOIN LATERAL (SELECT (l.intake_at AT TIME ZONE 'UTC' + sla.value::interval) AT TIME ZONE 'UTC' AS at) due
		 WHERE NOT l.is_backfilled AND eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('lead_assignments', 'Who had a lead, from when to when: one row per change of agent.', jsonb_build_object(
			'lead_id', 'The lead.', 'version', 'Version of the event in the lead''s stream.', 'agent_id', 'Who got it.',
			'from_agent_id', 'Who had it before, as the database knew; NULL: nobody.', 'assigned_at', 'From when.', 'assigned_until', 'Until when; NULL: now.',
			'duration', 'How long; until now where it lasts.', 'reason', 'Code of the reason, if one was given.', 'reason_label', 'The reason in words.',
			'assigned_by', 'Actor.', 'is_current', 'True for who has it now.'), $view$
		SELECT a.lead_id, a.version, a.agent_id, a.from_agent_id, a.assigned_at, a.assigned_until,
			   greatest(coalesce(a.assigned_until, now()) - a.assigned_at, '0') AS duration,
			   a.reason, r.label AS reason_label, a.actor AS assigned_by, a.assigned_until IS NULL AS is_current
		  FROM (SELECT x.*, lead(x.assigned_at) OVER (PARTITION BY x.lead_id ORDER BY x.version) AS assigned_until
				  FROM crm.lead_assignment x) a
		  LEFT JOIN crm.lead_reasons() r ON r.code = a.reason
		 WHERE eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('lead_flags', 'When a lead might not be contacted in some way: one row per interval.', jsonb_build_object(
			'lead_id', 'The lead.', 'flag', 'unsubscribed, dnc, do_not_email, do_not_text or do_not_call.', 'version', 'Version of the event that set it.',
			'set_at', 'From when.', 'cleared_at', 'Until when; NULL: now.', 'duration', 'How long; until now where it lasts.',
			'set_by', 'Actor who set it.', 'set_reason', 'Why, as a code.', 'cleared_by', 'Actor who cleared it.', 'cleared_reason', 'Why, as a code.',
			'is_current', 'True while it is set.'), $view$
		SELECT f.lead_id, f.flag, f.version, f.changed_at AS set_at, f.cleared_at,
			   greatest(coalesce(f.cleared_at, now()) - f.changed_at, '0') AS duration,
			   f.actor AS set_by, f.reason AS set_reason, f.cleared_by, f.cleared_reason, f.cleared_at IS NULL AS is_current
		  FROM (SELECT x.*, lead(x.changed_at) OVER w AS cleared_at, lead(x.actor) OVER w AS cleared_by, lead(x.reason) OVER w AS cleared_reason
				  FROM crm.lead_flag_change x WINDOW w AS (PARTITION BY x.lead_id, x.flag ORDER BY x.version)) f
		 WHERE f.is_set AND eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('lead_timeouts', 'Leads whose time runs, one row each: when tick_leads() archives them unless something happens.', jsonb_build_object(
			'lead_id', 'The lead.', 'state', 'State that it is in.', 'event_type', 'Event that will be recorded.',
			'due_at', 'From when; in CONTACTING 21 days (of 24 hours) or the sixth attempt, whichever is later, in QUALIFIED 180 days. Of a lead from before the days count from its import: what nobody recorded is no inactivity.', 'updated_at', 'When its last event happened.'), $view$
		SELECT l.lead_id, l.state, 'timeout_21d_no_response' AS event_type, greatest(greatest(l.state_since, l.imported_at) + interval '504 hours', l.sixth_attempt_at) AS due_at, l.updated_at
		  FROM crm.lead l
		 WHERE l.state = 'CONTACTING' AND l.contact_attempts >= 6 AND eventsource.may_read_category('lead')
		 UNION ALL
		SELECT l.lead_id, l.state, 'timeout_180d_no_progress', greatest(l.state_since, l.imported_at) + interval '4320 hours', l.updated_at
		  FROM crm.lead l
		 WHERE l.state = 'QUALIFIED' AND eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('lead_contacts', 'The contact log: one row per attempt to reach a lead and per message of a lead.', jsonb_build_object(
			'lead_id', 'The lead.', 'version', 'Version of the event.', 'contacted_at', 'When.', 'direction', 'outbound: ours; inbound: the lead''s.',
			'channel', 'phone, email, text, in_person or other.', 'outcome', 'What came of it.', 'reason', 'Why, where the lead was not to be contacted.',
			'contacted_by', 'Actor.', 'attempt_number', 'Count of our attempts so far; NULL for what the lead did.', 'is_first_outreach', 'True for our first attempt.'), $view$
		SELECT c.lead_id, c.version, c.contacted_at, c.direction, c.channel, c.outcome, c.reason, c.actor AS contacted_by,
			   CASE WHEN c.direction = 'outbound' THEN count(*) FILTER (WHERE c.direction = 'outbound') OVER w END AS attempt_number,
			   c.direction = 'outbound' AND count(*) FILTER (WHERE c.direction = 'outbound') OVER w = 1 AS is_first_outreach
		  FROM crm.lead_contact c
		 WHERE eventsource.may_read_category('lead')
		WINDOW w AS (PARTITION BY c.lead_id ORDER BY c.version) $view$);

	PERFORM crm.put_view('lead_state_visits', 'One row per visit of a lead to a state, with how it got there.', jsonb_build_object(
			'lead_id', 'The lead.', 'version', 'Version of the event that led there.', 'state', 'The state.', 'visit_number', 'Which visit of the lead to this state: 1, 2 ...',
			'from_state', 'State before; NULL: it began here.', 'arrival_path', 'Up to two states before and this one, joined by '' > ''.',
			'arrival_kind', 'new, forward, demoted, reengaged, set_aside, restored or imported.', 'event_type', 'Event that led there.',
			'reason', 'Its reason, as a code.', 'reason_category', 'What the reason counts as.', 'entered_by', 'Actor.', 'agent_id', 'Whose the lead was when the visit ended, or is.',
			'entered_at', 'From when.', 'exited_at', 'Until when; NULL: now.', 'exited_by_event', 'Event that ended the visit.', 'duration', 'How long; until now where it lasts.',
			'is_current', 'True where the lead is now.', 'is_demotion', 'True if a deal fell through.', 'is_reengaged', 'True if it came back from the archive.',
			'is_synthetic', 'True if the visit was told by an import.'), $view$
		SELECT v.lead_id, v.version, v.state, v.visit_number, v.from_state,
			   concat_ws(' > ', v.state_before, v.from_state, v.state) AS arrival_path,
			   CASE WHEN v.event_type = 'lead_imported' THEN 'imported'
					WHEN v.from_state IS NULL THEN 'new'
					WHEN v.event_type IN ('deal_collapsed', 'contract_voided') THEN 'demoted'
					WHEN v.event_type = 'lead_re_engaged' OR v.from_state = 'CONTACTING' AND v.state_before = 'ARCHIVED' AND v.state = 'QUALIFIED' THEN 'reengaged'
					WHEN v.state IN ('ARCHIVED', 'TRASHED') THEN 'set_aside'
					WHEN v.from_state = 'TRASHED' THEN 'restored'
					ELSE 'forward' END AS arrival_kind,
			   v.event_type, v.reason, r.category AS reason_category, v.actor AS entered_by, o.agent_id,
			   v.entered_at, CASE WHEN v.exited_by_event IS NOT NULL THEN greatest(v.exited_at, v.entered_at) END AS exited_at, v.exited_by_event,
			   greatest(coalesce(v.exited_at, now()) - v.entered_at, '0') AS duration, v.exited_by_event IS NULL AS is_current,
			   v.event_type IN ('deal_collapsed', 'contract_voided') AS is_demotion,
			   coalesce(v.event_type = 'lead_re_engaged' OR v.from_state = 'CONTACTING' AND v.state_before = 'ARCHIVED' AND v.state = 'QUALIFIED', false) AS is_reengaged,
			   v.is_synthetic
		  FROM (SELECT x.*, row_number() OVER (PARTITION BY x.lead_id, x.state ORDER BY x.version) AS visit_number,
					   lag(x.from_state) OVER w AS state_before, lead(x.entered_at) OVER w AS exited_at,
					   lead(x.event_type) OVER w AS exited_by_event, lead(x.version) OVER w AS exit_version
				  FROM crm.lead_visit x WINDOW w AS (PARTITION BY x.lead_id ORDER BY x.version)) v
		  LEFT JOIN crm.lead_reasons() r ON r.code = v.reason
		  LEFT JOIN LATERAL (
			SELECT a.agent_id FROM crm.lead_assignment a
			 WHERE a.lead_id = v.lead_id AND (v.exit_version IS NULL OR a.version < v.exit_version)
			 ORDER BY a.version DESC LIMIT 1) o ON true
		 WHERE eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('leads', 'Leads as they are now, one row each.', jsonb_build_object(
			'lead_id', 'The lead; its stream is lead-<lead_id>.', 'name', 'Name; *** for who may not see personal data.', 'email', 'E-mail address; *** likewise.',
			'phone', 'Phone number; *** likewise.', 'source', 'Where the inquiry came from.', 'property', 'What it was about.', 'state', 'State of the lifecycle.',
			'previous_state', 'State before.', 'state_since', 'Since when.', 'agent_id', 'Whose it is.', 'assigned_at', 'Since when.', 'intake_at', 'When it came in.',
			'first_outreach_at', 'First attempt to reach it.', 'contact_attempts', 'Attempts since it was last cold.', 'last_contact_at', 'Last contact, either way.',
			'last_response_at', 'When it last got in touch.', 'temperature', 'HOT, WARM or COLD.', 'score', 'Points behind it.',
			'flags', 'Flags that are set, joined by '' > ''; NULL: none.', 'is_restricted', 'True if any is set.', 'demotions', 'How often a deal fell through.',
			'is_backfilled', 'True if it was there before its history began.', 'history_began_at', 'Since when there is a history; before that nothing is known, not: nothing happened.',
			'legacy_status', 'Status it had in the system before.', 'updated_at', 'When its last event happened.', 'version', 'Version of that event.'), $view$
		SELECT l.lead_id, crm.masked(l.name) AS name, crm.masked(l.email) AS email, crm.masked(l.phone) AS phone, l.source, l.property,
			   l.state, l.previous_state, l.state_since, l.agent_id, l.assigned_at, l.intake_at, l.first_outreach_at,
			   l.contact_attempts, l.last_contact_at, l.last_response_at, t.temperature, t.score,
			   (SELECT string_agg(f.flag, ' > ' ORDER BY f.flag) FROM jsonb_object_keys(l.flags) f (flag)) AS flags, l.flags <> '{}' AS is_restricted,
			   l.demotions, l.is_backfilled, coalesce(l.imported_at, l.intake_at) AS history_began_at, l.legacy_status, l.updated_at, l.version
		  FROM crm.lead l
		  LEFT JOIN crm.lead_temperatures t ON t.lead_id = l.lead_id
		 WHERE eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('board', 'The board: one row per card, in the columns of the lifecycle.', jsonb_build_object(
			'state', 'Column of the board.', 'display_order', 'Place of the column: 1, 2 ...', 'lead_id', 'The lead.', 'name', 'Its name; *** for who may not see personal data.',
			'agent_id', 'Whose it is.', 'state_since', 'Since when it is in the column.', 'days_in_state', 'The same in whole days.', 'temperature', 'HOT, WARM or COLD.',
			'flags', 'Flags that are set, joined by '' > ''.', 'sla_status', 'First contact: active, met or breached; NULL for leads from before.',
			'arrival_kind', 'How it got into the column; see lead_state_visits.', 'arrival_path', 'The same as states, joined by '' > ''.'), $view$
		SELECT l.state, s.display_order, l.lead_id, l.name, l.agent_id, l.state_since,
			   floor(extract(epoch FROM greatest(now() - l.state_since, '0')) / 86400)::integer AS days_in_state,
			   l.temperature, l.flags, c.status AS sla_status, v.arrival_kind, v.arrival_path
		  FROM crm.leads l
		  JOIN crm.lead_states() s ON s.state = l.state
		  LEFT JOIN crm.sla_first_contacts c ON c.lead_id = l.lead_id
		  LEFT JOIN crm.lead_state_visits v ON v.lead_id = l.lead_id AND v.is_current $view$);

	PERFORM crm.put_view('lead_timeline', 'Everything that happened to a lead, one row per event; order by version.', jsonb_build_object(
			'lead_id', 'The lead.', 'version', 'Place in its history: 1, 2 ...', 'occurred_at', 'When it happened.', 'recorded_at', 'When it was recorded.',
			'actor', 'Who did it.', 'actor_type', 'human or system.', 'event_type', 'What happened.', 'from_state', 'State before.', 'to_state', 'State after.',
			'is_transition', 'True if the state changed.', 'reason', 'Why, as a code.', 'reason_category', 'What the reason counts as.', 'detail', 'Data of the event; personal fields as the reader may see them.',
			'sentence', 'The same in words.', 'is_synthetic', 'True if an import told it.'), $view$
		SELECT e.key AS lead_id, e.version, e.occurred_at, e.recorded_at, e.actor, CASE WHEN e.actor LIKE 'system:%' THEN 'system' ELSE 'human' END AS actor_type,
			   e.type AS event_type, e.from_state, e.to_state, e.from_state IS DISTINCT FROM e.to_state AS is_transition,
			   e.reason, r.category AS reason_category, e.data AS detail,
			   crm.lead_sentence(e.type, e.actor, e.data, e.reason, e.from_state, e.to_state, e.occurred_at) AS sentence,
			   e.is_synthetic OR coalesce(e.metadata->>'import' = 'true', false) AS is_synthetic
		  FROM eventsource.events e
		  LEFT JOIN crm.lead_reasons() r ON r.code = e.reason
		 WHERE e.category = 'lead' $view$);
END
$$;
COMMENT ON FUNCTION crm.put_lead_views() IS 'Private, for install(): views of leads.';
-- Reports on leads.  Quarters and days are those of UTC.  What an import told is
-- left out: nobody knows how long it took, nor whose it was then.

CREATE FUNCTION crm.put_lead_reports() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('pipeline_health', 'Where leads are now, and how they got there: a column of demoted leads is not one of fresh ones.', jsonb_build_object(
			'state', 'State.', 'display_order', 'Its place on the board.', 'agent_id', 'Whose the leads are; NULL: nobody''s.', 'arrival_kind', 'How they got there; see lead_state_visits.',
			'age_bucket', 'How long they have been there: 0-7 days, 8-30 days, 31-90 days or over 90 days.', 'age_order', 'Place of the bucket: 1, 2, 3, 4.',
			'lead_count', 'How many leads.', 'oldest_entered_at', 'Since when the first of them is there.'), $view$
		SELECT v.state, s.display_order, v.agent_id, v.arrival_kind,
			   (ARRAY['0-7 days', '8-30 days', '31-90 days', 'over 90 days'])[b.age_order] AS age_bucket, b.age_order,
			   count(*) AS lead_count, min(v.entered_at) AS oldest_entered_at
		  FROM crm.lead_state_visits v
		  JOIN crm.lead_states() s ON s.state = v.state
		 CROSS JOIN LATERAL (SELECT CASE WHEN v.duration <= '7 days' THEN 1 WHEN v.duration <= '30 days' THEN 2 WHEN v.duration <= '90 days' THEN 3 ELSE 4 END) b (age_order)
		 WHERE v.is_current
		 GROUP BY v.state, s.display_order, v.agent_id, v.arrival_kind, b.age_order $view$);

	PERFORM crm.put_view('lead_bounces', 'Leads that came back to a state they had left, one row per lead and state.', jsonb_build_object(
			'lead_id', 'The lead.', 'state', 'The state.', 'visit_count', 'Visits to it.', 'bounce_count', 'How often it came back: visits but one.',
			'total_duration', 'Time in the state, all visits together.', 'first_entered_at', 'First visit.', 'last_entered_at', 'Last visit.',
			'last_path', 'How the last visit came about, joined by '' > ''.', 'is_there_now', 'True if the lead is there now.'), $view$
		SELECT v.lead_id, v.state, count(*) AS visit_count, count(*) - 1 AS bounce_count, sum(v.duration) AS total_duration,
			   min(v.entered_at) AS first_entered_at, max(v.entered_at) AS last_entered_at,
			   (array_agg(v.arrival_path ORDER BY v.version DESC))[1] AS last_path, bool_or(v.is_current) AS is_there_now
		  FROM crm.lead_state_visits v
		 GROUP BY v.lead_id, v.state
		HAVING count(*) > 1 $view$);

	PERFORM crm.put_view('deal_collapse_events', 'Deals that fell through, one row each.', jsonb_build_object(
			'lead_id', 'The lead.', 'version', 'Version of the event.', 'agent_id', 'Whose the lead was then, as the database knew; NULL: nobody''s.',
			'collapsed_at', 'When.', 'quarter_start', 'First day of the quarter.', 'quarter', 'The quarter in words.', 'stage', 'before_contract or after_contract.',
			'event_type', 'deal_collapsed or contract_voided: the trigger.', 'reason', 'The cause, as a code.', 'reason_category', 'What it counts as.', 'reason_label', 'The cause in words.',
			'deal_duration', 'How long the state before had lasted.'), $view$
		SELECT v.lead_id, v.version, v.agent_id, v.entered_at AS collapsed_at, q.start AS quarter_start, to_char(q.start, 'YYYY "Q"Q') AS quarter,
			   CASE v.event_type WHEN 'deal_collapsed' THEN 'before_contract' ELSE 'after_contract' END AS stage,
			   v.event_type, v.reason, r.category AS reason_category, r.label AS reason_label, greatest(v.entered_at - v.came_at, '0') AS deal_duration
		  FROM (SELECT x.*, lag(x.entered_at) OVER (PARTITION BY x.lead_id ORDER BY x.version) AS came_at FROM crm.lead_visit x) v
		 CROSS JOIN LATERAL (SELECT date_trunc('quarter', v.entered_at AT TIME ZONE 'UTC')::date) q (start)
		  LEFT JOIN crm.lead_reasons() r ON r.code = v.reason
		 WHERE v.event_type IN ('deal_collapsed', 'contract_voided') AND NOT v.is_synthetic AND eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('deal_collapses', 'Deals that fell through, by agent, quarter and reason.', jsonb_build_object(
			'agent_id', 'Whose the leads were; NULL: nobody''s.', 'quarter_start', 'First day of the quarter.', 'quarter', 'The quarter in words.', 'reason', 'The cause, as a code.',
			'reason_category', 'What it counts as.', 'reason_label', 'The cause in words.', 'collapse_count', 'How many fell through.',
			'before_contract_count', 'Of these, before a contract.', 'after_contract_count', 'Of these, after it.'), $view$
		SELECT c.agent_id, c.quarter_start, c.quarter, c.reason, c.reason_category, c.reason_label, count(*) AS collapse_count,
			   count(*) FILTER (WHERE c.stage = 'before_contract') AS before_contract_count, count(*) FILTER (WHERE c.stage = 'after_contract') AS after_contract_count
		  FROM crm.deal_collapse_events c
		 GROUP BY c.agent_id, c.quarter_start, c.quarter, c.reason, c.reason_category, c.reason_label $view$);

	PERFORM crm.put_view('collapse_stage_rates', 'How often deals fall through at either stage: of those that entered it in a quarter.', jsonb_build_object(
			'stage', 'before_contract: the buyer''s agreement is signed; after_contract: the contract is.', 'state', 'COMMITTED or IN_CONTRACT.',
			'quarter_start', 'First day of the quarter in which they entered.', 'quarter', 'The quarter in words.', 'entered_count', 'How many entered.',
			'collapsed_count', 'How many of these fell through, whenever.', 'advanced_count', 'How many went on.', 'open_count', 'How many are still there.',
			'collapse_rate', 'Fell through of all that entered: 0 to 1.'), $view$
		SELECT CASE v.state WHEN 'COMMITTED' THEN 'before_contract' ELSE 'after_contract' END AS stage, v.state,
			   q.start AS quarter_start, to_char(q.start, 'YYYY "Q"Q') AS quarter, count(*) AS entered_count,
			   count(*) FILTER (WHERE v.exited_by_event IN ('deal_collapsed', 'contract_voided')) AS collapsed_count,
			   count(*) FILTER (WHERE v.exited_by_event IN ('contract_executed', 'closing_complete')) AS advanced_count,
			   count(*) FILTER (WHERE v.is_current) AS open_count,
			   round(count(*) FILTER (WHERE v.exited_by_event IN ('deal_collapsed', 'contract_voided')) / count(*)::numeric, 4) AS collapse_rate
		  FROM crm.lead_state_visits v
		 CROSS JOIN LATERAL (SELECT date_trunc('quarter', v.entered_at AT TIME ZONE 'UTC')::date) q (start)
		 WHERE v.state IN ('COMMITTED', 'IN_CONTRACT') AND NOT v.is_synthetic
		 GROUP BY v.state, q.start $view$);

	PERFORM crm.put_view('lead_metrics', 'Leads by day, for dashboards of time series.', jsonb_build_object(
			'time', 'Start of the day.', 'metric', 'leads_created, first_contacts_breached, deals_collapsed, deals_closed or leads_archived.', 'value', 'How many that day.'), $view$
		SELECT date_trunc('day', m.at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS time, m.metric, count(*)::numeric AS value
		  FROM (SELECT l.intake_at, 'leads_created' FROM crm.lead l WHERE NOT l.is_backfilled
				 UNION ALL SELECT c.intake_at, 'first_contacts_breached' FROM crm.sla_first_contacts c WHERE c.is_breached
				 UNION ALL SELECT v.entered_at, CASE WHEN v.state = 'CLOSED' THEN 'deals_closed' WHEN v.state = 'ARCHIVED' THEN 'leads_archived' ELSE 'deals_collapsed' END
							 FROM crm.lead_visit v
							WHERE NOT v.is_synthetic AND (v.state IN ('CLOSED', 'ARCHIVED') OR v.event_type IN ('deal_collapsed', 'contract_voided'))) m (at, metric)
		 WHERE eventsource.may_read_category('lead')
		 GROUP BY 1, 2 $view$);
END
$$;
COMMENT ON FUNCTION crm.put_lead_reports() IS 'Private, for install(): reports on leads.';
-- Commands: what an application calls.  Each appends; what may happen, the state
-- machine decides, for raw appends and INSERTs alike.

CREATE FUNCTION crm.append_to_lead(lead_id text, type text, data jsonb DEFAULT '{}', reason text DEFAULT NULL,
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM eventsource.append('lead-' || lead_id, type, jsonb_strip_nulls(data), reason => reason, actor => actor, occurred_at => occurred_at)
$$;
COMMENT ON FUNCTION crm.append_to_lead(text, text, jsonb, text, text, timestamptz) IS 'Private, for commands: appends to a lead''s stream; members of data that are null are left out.';

CREATE FUNCTION crm.create_lead(lead_id text DEFAULT NULL, name text DEFAULT NULL, email text DEFAULT NULL, phone text DEFAULT NULL,
		source text DEFAULT NULL, property text DEFAULT NULL, message text DEFAULT NULL, agent_id text DEFAULT NULL,
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id CONSTANT text := coalesce(lead_id, gen_random_uuid()::text);
BEGIN
	PERFORM crm.append_to_lead(id, 'contact_form_submission', jsonb_build_object('name', name, 'email', email, 'phone', phone,
				'source', source, 'property', property, 'message', message), actor => actor, occurred_at => occurred_at);
	IF agent_id IS NOT NULL THEN
		PERFORM crm.append_to_lead(id, 'lead_assigned', jsonb_build_object('agent_id', agent_id), actor => actor, occurred_at => occurred_at);
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION crm.create_lead(text, text, text, text, text, text, text, text, text, timestamptz) IS
	'Records an inquiry and, if an agent is given, whose it is, both or neither. Returns the lead; lead_id NULL: a new UUID. Errors: ZE002 if there is such a lead, ZE007 bad data.';

CREATE FUNCTION crm.transition_lead(lead_id text, event_type text, reason text DEFAULT NULL, data jsonb DEFAULT '{}',
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, expected_version bigint DEFAULT NULL,
		idempotency_key text DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM eventsource.append('lead-' || lead_id, event_type, data, reason => reason, actor => actor, expected_version => expected_version,
									 occurred_at => occurred_at, idempotency_key => idempotency_key)
$$;
COMMENT ON FUNCTION crm.transition_lead(text, text, text, jsonb, text, timestamptz, bigint, text) IS
	'Records an event of a lead; its state machine says what follows. Errors: ZE002 not in this state, ZE003 reason required, ZE004 unknown reason, ZE005 guard, ZE006 unknown event, ZE007 bad data, 40001 another version.';

CREATE FUNCTION crm.assign_lead(lead_id text, agent_id text, reason text DEFAULT NULL, note text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'lead_assigned', jsonb_build_object('agent_id', agent_id, 'note', note), reason, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.assign_lead(text, text, text, text, text, timestamptz) IS
	'Gives a lead to an agent; from whom, the database fills in. Errors: ZE005 another_agent if it is his already, ZE004 unknown reason, ZE006 no such lead.';

CREATE FUNCTION crm.log_contact(lead_id text, channel text, direction text DEFAULT 'outbound', outcome text DEFAULT NULL, reason text DEFAULT NULL,
		note text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF direction IS NULL OR direction NOT IN ('outbound', 'inbound') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('direction "%s" is unknown', direction),
			DETAIL = 'A contact goes out or comes in.',
			HINT = 'Give outbound or inbound.';
	END IF;
	RETURN crm.append_to_lead(lead_id, CASE direction WHEN 'outbound' THEN 'contact_attempted' ELSE 'contact_received' END,
				jsonb_build_object('channel', channel, 'outcome', outcome, 'note', note), reason, actor, occurred_at);
END
$$;
COMMENT ON FUNCTION crm.log_contact(text, text, text, text, text, text, text, timestamptz) IS
	'Logs an attempt to reach a lead (outbound; the first one stops the SLA and moves a NEW lead to CONTACTING), or that the lead got in touch (inbound). Channels: phone, email, text, in_person, other. Errors: ZE005 restricted_needs_reason or not_by_a_program where a flag forbids the channel, ZE007 bad data, 22023 bad direction.';

CREATE FUNCTION crm.record_signal(lead_id text, signal text, property text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'lead_engaged', jsonb_build_object('signal', signal, 'property', property), NULL, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.record_signal(text, text, text, text, timestamptz) IS
	'Records a sign of interest, which counts for the temperature: tour_requested, pre_approval_uploaded, favorite_saved, replied, session_returned, search_saved, property_viewed. Errors: ZE007 another signal.';

CREATE FUNCTION crm.set_lead_flag(lead_id text, flag text, reason text DEFAULT NULL, evidence text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'flag_set', jsonb_build_object('flag', flag, 'evidence', evidence), reason, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.set_lead_flag(text, text, text, text, text, timestamptz) IS
	'Says that a lead may not be contacted in some way: unsubscribed, dnc, do_not_email, do_not_text, do_not_call. Errors: ZE005 flag_is_not_set if it is set, ZE007 another flag.';

CREATE FUNCTION crm.clear_lead_flag(lead_id text, flag text, reason text DEFAULT NULL, evidence text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'flag_cleared', jsonb_build_object('flag', flag, 'evidence', evidence), reason, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.clear_lead_flag(text, text, text, text, text, timestamptz) IS
	'Ends a flag; when it was set stays known. Errors: ZE005 flag_is_set if it is not set, ZE007 another flag.';

CREATE FUNCTION crm.add_lead_note(lead_id text, note text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'note_added', jsonb_build_object('text', note), NULL, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.add_lead_note(text, text, text, timestamptz) IS 'Adds a note; its text counts as personal. Errors: ZE007 empty.';

-- Idempotent by the lead and the key; what a second run finds, it leaves alone.
CREATE FUNCTION crm.backfill_lead(lead_id text, state text, created_at timestamptz, changed_at timestamptz DEFAULT NULL, agent_id text DEFAULT NULL,
		name text DEFAULT NULL, email text DEFAULT NULL, phone text DEFAULT NULL, source text DEFAULT NULL, flags text[] DEFAULT '{}',
		legacy_status text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	stream CONSTANT text := 'lead-' || lead_id;
BEGIN
	IF (SELECT s.version FROM eventsource.lock_stream(stream) s) > 0 THEN
		RETURN false;
	END IF;
	PERFORM eventsource.append(stream, 'lead_imported', jsonb_strip_nulls(jsonb_build_object('state', state,
				'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'agent_id', agent_id, 'name', name, 'email', email,
				'phone', phone, 'source', source, 'legacy_status', legacy_status,
				'flags', (SELECT jsonb_object_agg(f.flag, '{}'::jsonb) FROM unnest(flags) f (flag)))),
			actor => 'system:backfill', metadata => '{"import": true}', occurred_at => greatest(changed_at, created_at), idempotency_key => 'backfill');
	RETURN true;
END
$$;
COMMENT ON FUNCTION crm.backfill_lead(text, text, timestamptz, timestamptz, text, text, text, text, text, text[], text) IS
	'Brings in a lead of a system before, where it stood: occurred when it last changed there, recorded now, marked as an import and left out of reports. Returns false, and does nothing, if the lead is there: so a run may be repeated. Use it over the old table: SELECT count(*) FILTER (WHERE crm.backfill_lead(...)) FROM old_leads. Errors: ZE007 unknown state or flag.';

-- The timeouts of the state machine archive leads when run_due() or the worker finds
-- them due, and are asked once.  This finds those that they leave: a sixth attempt
-- that came later than 21 days, and leads from before.  Each lead is judged again under its
-- lock, so that runs side by side append once, and a late run tells when it was due.
CREATE FUNCTION crm.tick_leads(at timestamptz DEFAULT now(), max_rows integer DEFAULT 1000) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	l record;
	archived integer := 0;
BEGIN
	FOR l IN SELECT d.lead_id FROM crm.lead_timeouts d WHERE d.due_at <= at ORDER BY d.due_at, d.lead_id LOOP
		EXIT WHEN archived >= max_rows;
		PERFORM eventsource.lock_stream('lead-' || l.lead_id);
		BEGIN
			PERFORM crm.append_to_lead(d.lead_id, d.event_type, actor => 'system:scribe', occurred_at => greatest(d.due_at, d.updated_at))
			   FROM crm.lead_timeouts d
			  WHERE d.lead_id = l.lead_id AND d.due_at <= at;
			archived := archived + FOUND::integer;
		EXCEPTION WHEN SQLSTATE 'ZE009' THEN
			-- Of who was erased nothing is recorded any more; the others go on.
			NULL;
		END;
	END LOOP;
	RETURN archived;
END
$$;
COMMENT ON FUNCTION crm.tick_leads(timestamptz, integer) IS
	'Archives leads whose time is up, see lead_timeouts, and that the timeouts of the state machine left: those with a late sixth attempt, and those from before. At most max_rows, the oldest first. Returns how many. Call it from time to time, by pg_cron, say; the event says when it was due, however late the call.';

CREATE FUNCTION crm.lead_state_at(lead_id text, at timestamptz, basis text DEFAULT 'occurred') RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.state_at('lead-' || lead_id, at, basis => basis)
$$;
COMMENT ON FUNCTION crm.lead_state_at(text, timestamptz, text) IS
	'The state that a lead was in; basis occurred: as is known now; recorded: as was known then. NULL: it was not there.';

CREATE FUNCTION crm.lead_owner_at(lead_id text, at timestamptz) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.agent_id FROM crm.lead_assignments a
	 WHERE a.lead_id = lead_owner_at.lead_id AND a.assigned_at <= at AND (a.assigned_until IS NULL OR a.assigned_until > at)
	 ORDER BY a.version DESC LIMIT 1
$$;
COMMENT ON FUNCTION crm.lead_owner_at(text, timestamptz) IS 'Whose a lead was, by when changes occurred; NULL: nobody''s.';

CREATE FUNCTION crm.may_contact_lead(lead_id text, channel text) RETURNS TABLE (allowed boolean, needs_reason boolean, reasons text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT count(f.flag) = 0, count(f.flag) > 0, string_agg(f.flag, ' > ' ORDER BY f.flag)
	  FROM (SELECT l.flags FROM crm.leads l WHERE l.lead_id = may_contact_lead.lead_id) l
	  LEFT JOIN LATERAL unnest(string_to_array(l.flags, ' > ')) f (flag)
		ON f.flag = 'dnc' OR f.flag = 'unsubscribed' AND channel IN ('email', 'text')
		   OR f.flag = 'do_not_' || CASE channel WHEN 'phone' THEN 'call' ELSE channel END
	HAVING count(*) > 0
$$;
COMMENT ON FUNCTION crm.may_contact_lead(text, text) IS
	'May a lead be contacted on a channel? allowed: by anybody and any program; needs_reason: by a person who logs a reason; reasons: the flags that stand in the way. No row: no such lead.';
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
		jsonb_build_object('token_is_right', $$event.data->>'tokenHash' = row.token_hash$$),
		jsonb_build_object('token_is_good', $$coalesce(event.occurred_at <= row.token_expires_at, true)$$)));
	open CONSTANT jsonb := jsonb_build_object(
		'TermsAccepted', '{}'::jsonb, 'EmailVerificationRequested', '{}'::jsonb, 'EmailVerified', proof,
		'CustomerEmailUpdated', '{}'::jsonb, 'CustomerNameUpdated', '{}'::jsonb, 'CustomerPhoneUpdated', '{}'::jsonb, 'CustomerAddressUpdated', '{}'::jsonb,
		'CustomerDateOfBirthUpdated', '{}'::jsonb, 'CustomerSegmentAdded', jsonb_build_object('guard', jsonb_build_object('not_in_segment', $$NOT row.segments ? (event.data->>'segmentId')$$)),
		'ConsentGranted', grant_once, 'ConsentRenewed', there, 'PreferencesUpdated', '{}'::jsonb, 'ProductAffinityDetected', jsonb_build_object('guard', jsonb_build_object('affinity_is_new', $$NOT row.affinities ? (event.data->>'category')$$)),
		'ProductAffinityEnded', jsonb_build_object('guard', jsonb_build_object('affinity_is_there', $$row.affinities ? (event.data->>'category')$$)),
		'ReviewRequested', '{}'::jsonb, 'ReviewSubmitted', '{}'::jsonb,
		'CustomerDeactivated', '{"target": "deactivated", "kind": "backward", "fill": {"previousStatus": "state"}}'::jsonb);
	-- What may come even after the account is closed.
	closing CONSTANT jsonb := jsonb_build_object(
		'ConsentRevoked', there,
		'ConsentExpired', jsonb_build_object('guard', jsonb_build_object('consent_is_over', format($$%s->>'expires_at' IS NOT NULL AND NOT %s$$, consent, lasts))),
		'CustomerEmailInvalidated', '{}'::jsonb, 'CampaignsPaused', '{}'::jsonb, 'CampaignsResumed', '{}'::jsonb,
		'CustomerSegmentRemoved', jsonb_build_object('guard', jsonb_build_object('in_segment', $$row.segments ? (event.data->>'segmentId')$$)), 'CustomerDataDeletionRequested', '{}'::jsonb, 'CustomerDataDeleted', '{"target": "deleted"}'::jsonb);
BEGIN
	RETURN jsonb_build_object(
		'description', 'From the registration to the end',
		'initial', 'pending-verification',
		'create', '{"CustomerCreated": "pending-verification"}'::jsonb,
		'states', jsonb_build_object(
			'pending-verification', jsonb_build_object('on', open || closing),
			'active', jsonb_build_object('on', open || closing),
			'deactivated', jsonb_build_object('on', closing || jsonb_build_object('CustomerReactivated',
				'[{"target": "active", "kind": "forward", "guard": {"was_active": "row.is_verified"}}, {"target": "pending-verification", "kind": "forward"}]'::jsonb)),
			'deleted', '{"type": "final"}'::jsonb));
END
$fn$;
COMMENT ON FUNCTION crm.customer_machine() IS 'Private, for install(): the life of a customer.';

CREATE FUNCTION crm.make_customers() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.customer (
		customer_id      text PRIMARY KEY,
		status           text,
		email            text,
		email_key        text CONSTRAINT customer_email_is_taken UNIQUE,
		is_same_email    boolean NOT NULL DEFAULT false CONSTRAINT customer_email_must_differ CHECK (NOT is_same_email),
		is_verified      boolean NOT NULL DEFAULT false,
		is_deliverable   boolean NOT NULL DEFAULT true,
		token_hash       text,
		token_expires_at timestamptz,
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
	);
	COMMENT ON TABLE crm.customer IS 'Private: customers as they are now, a projection. Read the view customers.';

	CREATE TABLE IF NOT EXISTS crm.consent_change (
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
	);
	COMMENT ON TABLE crm.consent_change IS 'Private: consents granted and taken back, a projection. Read the views consents and consent_history.';
	CREATE INDEX IF NOT EXISTS consent_change_idx ON crm.consent_change (customer_id, purpose, channel, version);

	CREATE TABLE IF NOT EXISTS crm.preference (
		customer_id text,
		field       text,
		value       jsonb,
		changed_at  timestamptz,
		actor       text,
		PRIMARY KEY (customer_id, field)
	);
	COMMENT ON TABLE crm.preference IS 'Private: preferences, field by field, a projection. Read the view preferences.';
END
$$;
COMMENT ON FUNCTION crm.make_customers() IS 'Private, for install(): tables of customers.';

CREATE FUNCTION crm.put_customers() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	always CONSTANT text := $rule$ status = event.to_state, updated_at = event.occurred_at, version = event.version $rule$;
	granted CONSTANT text := $rule$ consents = row.consents || jsonb_build_object((event.data->>'purpose') || '/' || (event.data->>'channel'),
		jsonb_build_object('expires_at', coalesce((event.data->>'expiresAt')::timestamptz, event.occurred_at + interval '2 years'))) $rule$;
	ended CONSTANT text := $rule$ consents = row.consents || jsonb_build_object((event.data->>'purpose') || '/' || (event.data->>'channel'),
		jsonb_build_object('ended_at', event.occurred_at)) $rule$;
	key CONSTANT jsonb := '{"customer_id": "event.key", "version": "event.version"}';
	changed CONSTANT text := $rule$ purpose = event.data->>'purpose', channel = event.data->>'channel', change = event.type, changed_at = event.occurred_at, actor = event.actor $rule$;
	evidence CONSTANT text := changed || $rule$, expires_at = coalesce((event.data->>'expiresAt')::timestamptz, event.occurred_at + interval '2 years'),
		consent_method = event.data->>'consentMethod', notice_version = event.data->>'noticeVersion', legal_basis = event.data->>'legalBasis',
		ip_address = event.data->>'ipAddress', user_agent = event.data->>'userAgent' $rule$;
BEGIN
	RETURN crm.put_projection('crm.customer', 'customer', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (VALUES
				('*', NULL),
				('CustomerCreated', $rule$ email = event.data->>'email', email_key = lower(event.data->>'email'), first_name = event.data->>'firstName',
					last_name = event.data->>'lastName', phone = event.data->>'phone', date_of_birth = event.data->>'dateOfBirth',
					source = event.data->>'source', created_at = event.occurred_at $rule$),
				('TermsAccepted', $rule$ terms_version = event.data->>'termsVersion', terms_at = event.occurred_at $rule$),
				('EmailVerificationRequested', $rule$ token_hash = event.data->>'tokenHash', token_expires_at = (event.data->>'expiresAt')::timestamptz $rule$),
				('EmailVerified', $rule$ is_verified = true, token_hash = NULL, token_expires_at = NULL $rule$),
				('CustomerEmailUpdated', $rule$ is_same_email = coalesce(lower(event.data->>'newEmail') = row.email_key, false), email = event.data->>'newEmail',
					email_key = lower(event.data->>'newEmail'), is_verified = false, is_deliverable = true, token_hash = NULL, token_expires_at = NULL $rule$),
				('CustomerNameUpdated', $rule$ first_name = event.data->>'newFirstName', last_name = event.data->>'newLastName' $rule$),
				('CustomerPhoneUpdated', $rule$ phone = event.data->>'newPhone' $rule$),
				('CustomerAddressUpdated', $rule$ address = nullif(event.data->'newAddress', 'null') $rule$),
				('CustomerDateOfBirthUpdated', $rule$ date_of_birth = event.data->>'newDateOfBirth' $rule$),
				('CustomerEmailInvalidated', $rule$ is_deliverable = false $rule$),
				('CustomerDeactivated', $rule$ deactivated_at = event.occurred_at $rule$),
				('CustomerReactivated', $rule$ deactivated_at = NULL $rule$),
				('CustomerSegmentAdded', $rule$ segments = row.segments || jsonb_build_object(event.data->>'segmentId', event.occurred_at) $rule$),
				('CustomerSegmentRemoved', $rule$ segments = row.segments - (event.data->>'segmentId') $rule$),
				('ProductAffinityDetected', $rule$ affinities = row.affinities || jsonb_build_object(event.data->>'category', event.data->'affinityScore') $rule$),
				('ProductAffinityEnded', $rule$ affinities = row.affinities - (event.data->>'category') $rule$),
				('CampaignsPaused', $rule$ paused = row.paused || CASE WHEN event.data->>'channel' IS NULL THEN jsonb_build_object('email', event.data->'reason', 'sms', event.data->'reason', 'push', event.data->'reason')
					ELSE jsonb_build_object(event.data->>'channel', event.data->'reason') END $rule$),
				('CampaignsResumed', $rule$ paused = CASE WHEN event.data->>'channel' IS NULL THEN '{}' ELSE row.paused - (event.data->>'channel') END $rule$),
				('ConsentGranted', granted),
				('ConsentRenewed', granted),
				('ConsentRevoked', ended),
				('ConsentExpired', ended)
			) rule (type, set)))
		+ crm.put_projection('crm.consent_change', 'customer', jsonb_build_object('ConsentGranted', evidence, 'ConsentRenewed', evidence,
			'ConsentRevoked', changed || $rule$, reason = event.data->>'reason' $rule$, 'ConsentExpired', changed), key)
		-- Of two changes of a field the later one holds, whichever arrives first; of two at one time, the one that was recorded last.
		+ crm.put_projection('crm.preference', 'customer', jsonb_build_object('PreferencesUpdated', jsonb_build_object(
			'each', $rule$ jsonb_object_keys(event.data->'preferences') $rule$, 'key', '{"customer_id": "event.key", "field": "item"}'::jsonb,
			'where', 'coalesce(event.occurred_at >= row.changed_at, true)',
			'set', $rule$ value = event.data->'preferences'->item, changed_at = event.occurred_at, actor = event.actor $rule$)),
			'{"customer_id": "event.key", "field": "event.type"}')
		+ crm.put_state_machine('crm_customer', crm.customer_machine());
END
$$;
COMMENT ON FUNCTION crm.put_customers() IS 'Private, for install(): tables, projections and state machine of customers.';

CREATE FUNCTION crm.put_customer_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('customers', 'Customers as they are now, one row each.', jsonb_build_object(
			'customer_id', 'The customer; the stream is customer-<customer_id>.', 'status', 'pending-verification, active, deactivated or deleted.',
			'email', 'E-mail address; *** for who may not see personal data.', 'is_email_verified', 'True if it was proved.', 'is_email_deliverable', 'False if it takes no mail.',
			'first_name', 'First name; *** likewise.', 'last_name', 'Last name; *** likewise.', 'phone', 'Phone number; *** likewise.', 'date_of_birth', 'Date of birth; *** likewise.',
			'address', 'Address as JSON text; *** likewise.', 'source', 'web, mobile, api or import.', 'terms_version', 'Version of the terms that were accepted.',
			'terms_accepted_at', 'When.', 'paused_channels', 'Channels on which campaigns are paused, joined by '' > ''; NULL: none.', 'segments', 'Segments, joined by '' > ''.', 'affinities', 'Categories that most is spent on, joined by '' > ''.', 'deactivated_at', 'When the account was closed; NULL: it is open.', 'created_at', 'When the customer registered.',
			'updated_at', 'When the last event happened.', 'version', 'Version of that event.'), $view$
		SELECT c.customer_id, c.status, crm.masked(c.email) AS email, c.is_verified AS is_email_verified, c.is_deliverable AS is_email_deliverable,
			   crm.masked(c.first_name) AS first_name, crm.masked(c.last_name) AS last_name, crm.masked(c.phone) AS phone,
			   crm.masked(c.date_of_birth) AS date_of_birth, crm.masked(c.address::text) AS address,
			   c.source, c.terms_version, c.terms_at AS terms_accepted_at,
			   (SELECT string_agg(p.channel, ' > ' ORDER BY p.channel) FROM jsonb_object_keys(c.paused) p (channel)) AS paused_channels,
			   (SELECT string_agg(s.segment, ' > ' ORDER BY s.segment) FROM jsonb_object_keys(c.segments) s (segment)) AS segments,
			   (SELECT string_agg(a.category, ' > ' ORDER BY a.category) FROM jsonb_object_keys(c.affinities) a (category)) AS affinities, c.deactivated_at, c.created_at, c.updated_at, c.version
		  FROM crm.customer c
		 WHERE eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('consent_history', 'Consents over time: one row for each grant and renewal, until when it held.', jsonb_build_object(
			'customer_id', 'The customer.', 'purpose', 'marketing, analytics or essential.', 'channel', 'email, sms or push.', 'version', 'Version of the event.', 'change', 'ConsentGranted or ConsentRenewed.',
			'granted_at', 'From when.', 'expires_at', 'Until when, if nothing happens; it holds no more at that moment.', 'ended_at', 'Until when it held; NULL: it holds, or runs out at expires_at.',
			'ended_by', 'Event that ended it; NULL: none.', 'end_reason', 'Why it was taken back.', 'consent_method', 'How it was given.', 'notice_version', 'Which notice was shown.', 'legal_basis', 'Legal basis.',
			'ip_address', 'From where; *** for who may not see personal data.', 'user_agent', 'With what; *** likewise.', 'granted_by', 'Actor.'), $view$
		SELECT h.customer_id, h.purpose, h.channel, h.version, h.change, h.changed_at AS granted_at, h.expires_at,
			   CASE WHEN h.next_at IS NOT NULL THEN least(h.next_at, h.expires_at) WHEN h.expires_at <= now() THEN h.expires_at END AS ended_at,
			   h.ended_by, h.end_reason, h.consent_method, h.notice_version, h.legal_basis,
			   crm.masked(h.ip_address) AS ip_address, crm.masked(h.user_agent) AS user_agent, h.actor AS granted_by
		  FROM (SELECT x.*, lead(x.changed_at) OVER w AS next_at, lead(x.change) OVER w AS ended_by, lead(x.reason) OVER w AS end_reason
				  FROM crm.consent_change x WINDOW w AS (PARTITION BY x.customer_id, x.purpose, x.channel ORDER BY x.version)) h
		 WHERE h.change IN ('ConsentGranted', 'ConsentRenewed') AND eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('consents', 'Consents as they are now, one row per customer, purpose and channel.', jsonb_build_object(
			'customer_id', 'The customer.', 'purpose', 'marketing, analytics or essential.', 'channel', 'email, sms or push.', 'is_active', 'True if it holds now.',
			'status', 'granted, revoked or expired.', 'changed_at', 'When it was granted, renewed or taken back.', 'expires_at', 'Until when it holds; NULL: taken back.',
			'consent_method', 'How it was given.', 'notice_version', 'Which notice was shown.', 'legal_basis', 'Legal basis.', 'version', 'Version of the event.'), $view$
		SELECT c.customer_id, c.purpose, c.channel, coalesce(c.expires_at > now(), false) AS is_active,
			   CASE WHEN c.change = 'ConsentRevoked' THEN 'revoked' WHEN coalesce(c.expires_at <= now(), true) THEN 'expired' ELSE 'granted' END AS status,
			   c.changed_at, c.expires_at, c.consent_method, c.notice_version, c.legal_basis, c.version
		  FROM (SELECT DISTINCT ON (x.customer_id, x.purpose, x.channel) x.* FROM crm.consent_change x
				 ORDER BY x.customer_id, x.purpose, x.channel, x.version DESC) c
		 WHERE eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('preferences', 'Preferences as they are now, one row per customer who has any; NULL: not said.', jsonb_build_object(
			'customer_id', 'The customer.', 'email_frequency', 'daily, weekly or never.', 'categories', 'Categories of interest, joined by '' > ''.', 'timezone', 'Time zone.',
			'is_email_enabled', 'May e-mail be sent?', 'is_sms_enabled', 'May text messages be sent?', 'is_push_enabled', 'May push messages be sent?',
			'is_sms_for_promotions', 'May promotions be sent by text message?', 'push_categories', 'Categories of push messages that are wanted, joined by '' > ''.', 'updated_at', 'When one was changed last.'), $view$
		SELECT p.customer_id, max(p.value #>> '{}') FILTER (WHERE p.field = 'emailFrequency') AS email_frequency,
			   max((SELECT string_agg(c, ' > ') FROM jsonb_array_elements_text(CASE WHEN p.field = 'categories' THEN p.value ELSE '[]' END) c)) AS categories,
			   max(p.value #>> '{}') FILTER (WHERE p.field = 'timezone') AS timezone,
			   bool_or((p.value #>> '{}') = 'true') FILTER (WHERE p.field = 'emailEnabled') AS is_email_enabled,
			   bool_or((p.value #>> '{}') = 'true') FILTER (WHERE p.field = 'smsEnabled') AS is_sms_enabled,
			   bool_or((p.value #>> '{}') = 'true') FILTER (WHERE p.field = 'pushEnabled') AS is_push_enabled,
			   bool_or((p.value #>> '{}') = 'true') FILTER (WHERE p.field = 'smsForPromotions') AS is_sms_for_promotions,
			   max((SELECT string_agg(c, ' > ') FROM jsonb_array_elements_text(CASE WHEN p.field = 'pushCategories' THEN p.value ELSE '[]' END) c)) AS push_categories,
			   max(p.changed_at) AS updated_at
		  FROM crm.preference p
		 WHERE eventsource.may_read_category('customer')
		 GROUP BY p.customer_id $view$);

	PERFORM crm.put_view('customer_audit_trail', 'What changed about a customer, one row per field; old values are those of the events before.', jsonb_build_object(
			'customer_id', 'The customer.', 'version', 'Version of the event.', 'changed_at', 'When.', 'event_type', 'What happened.', 'field', 'Which field.',
			'old_value', 'Its value before; *** for who may not see personal data.', 'new_value', 'Its value; *** likewise.', 'changed_by', 'Actor.',
			'ip_address', 'From where; the network for who may not see personal data.', 'user_agent', 'With what; *** likewise.'), $view$
		SELECT t.customer_id, t.version, t.changed_at, t.event_type, t.field, t.old_value, t.new_value, t.changed_by, t.ip_address, t.user_agent
		  FROM (SELECT e.key AS customer_id, e.version, e.occurred_at AS changed_at, e.type AS event_type, f.field,
					   lag(f.value) OVER (PARTITION BY e.stream, f.field ORDER BY e.version) AS old_value, f.value AS new_value, e.actor AS changed_by,
					   e.data->>'ipAddress' AS ip_address, e.data->>'userAgent' AS user_agent
				  FROM eventsource.events e
				 CROSS JOIN LATERAL (VALUES
					('email', coalesce(e.data->>'email', e.data->>'newEmail'), e.type IN ('CustomerCreated', 'CustomerEmailUpdated')),
					('first_name', coalesce(e.data->>'firstName', e.data->>'newFirstName'), e.type IN ('CustomerCreated', 'CustomerNameUpdated')),
					('last_name', coalesce(e.data->>'lastName', e.data->>'newLastName'), e.type IN ('CustomerCreated', 'CustomerNameUpdated')),
					('phone', coalesce(e.data->>'phone', e.data->>'newPhone'), e.type IN ('CustomerCreated', 'CustomerPhoneUpdated')),
					('date_of_birth', coalesce(e.data->>'dateOfBirth', e.data->>'newDateOfBirth'), e.type IN ('CustomerCreated', 'CustomerDateOfBirthUpdated')),
					('address', e.data->>'newAddress', e.type = 'CustomerAddressUpdated'),
					('status', e.to_state, e.from_state IS DISTINCT FROM e.to_state)) f (field, value, is_told)
				 WHERE e.category = 'customer' AND f.is_told) t
		 WHERE t.old_value IS DISTINCT FROM t.new_value $view$);
END
$$;
COMMENT ON FUNCTION crm.put_customer_views() IS 'Private, for install(): views of customers.';
-- Commands about customers.  Those of several events are all or nothing.

CREATE FUNCTION crm.setting(setting_name text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT s.value FROM crm.settings s WHERE s.setting_name = setting.setting_name
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
COMMENT ON FUNCTION crm.token_hash(text) IS 'Private, for commands: what is stored of a token.';

-- As text, in UTC, where a year after 29 February is 28 February.
CREATE FUNCTION crm.consent_expiry(purpose text, granted_at timestamptz) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT to_char(granted_at AT TIME ZONE 'UTC' + crm.setting('consent_term_' || purpose)::interval, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
COMMENT ON FUNCTION crm.consent_expiry(text, timestamptz) IS 'Private, for commands: until when a consent lasts by the settings; NULL: an unknown purpose.';

CREATE FUNCTION crm.register_customer(email text, terms_version text, source text DEFAULT 'web', first_name text DEFAULT NULL, last_name text DEFAULT NULL,
		phone text DEFAULT NULL, marketing_consent boolean DEFAULT false, ip_address text DEFAULT NULL, user_agent text DEFAULT NULL,
		customer_id text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL,
		OUT id text, OUT verification_token text) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at CONSTANT timestamptz := coalesce(occurred_at, now());
	seen CONSTANT jsonb := jsonb_build_object('ipAddress', ip_address, 'userAgent', user_agent);
BEGIN
	IF terms_version IS NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'the terms must be accepted',
			DETAIL = 'No version of the terms was given.',
			HINT = 'Give terms_version: the version that the customer accepted.';
	END IF;
	id := coalesce(customer_id, gen_random_uuid()::text);
	verification_token := crm.new_token();
	PERFORM eventsource.append_events((
		SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('stream', 'customer-' || id, 'type', e.type, 'data', e.data, 'actor', actor, 'occurred_at', at)) ORDER BY e.n)
		  FROM (VALUES
			(1, 'CustomerCreated', jsonb_build_object('email', email, 'source', source, 'firstName', first_name, 'lastName', last_name, 'phone', phone) || seen, true),
			(2, 'TermsAccepted', jsonb_build_object('termsVersion', terms_version) || seen, true),
			(3, 'ConsentGranted', jsonb_build_object('purpose', 'marketing', 'channel', 'email', 'consentMethod', 'registration-checkbox',
				'legalBasis', 'consent', 'expiresAt', crm.consent_expiry('marketing', at)) || seen, marketing_consent),
			(4, 'EmailVerificationRequested', jsonb_build_object('email', email, 'tokenHash', crm.token_hash(verification_token),
				'expiresAt', to_char((at + crm.setting('verification_term')::interval) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), true)
		  ) e (n, type, data, is_wanted)
		 WHERE e.is_wanted));
END
$$;
COMMENT ON FUNCTION crm.register_customer(text, text, text, text, text, text, boolean, text, text, text, text, timestamptz) IS
	'Registers a customer: who it is, that the terms were accepted, perhaps consent to marketing by e-mail, and that the address is to be proved; all of it or nothing. Returns the customer and the token to send; the log has its hash alone. Errors: 23505 customer_email_is_taken, ZE007 bad e-mail address or source, 22023 no terms.';

CREATE FUNCTION crm.verify_email(customer_id text, token text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM eventsource.append('customer-' || customer_id, 'EmailVerified', jsonb_build_object('tokenHash', crm.token_hash(token)), actor => actor, occurred_at => occurred_at)
$$;
COMMENT ON FUNCTION crm.verify_email(text, text, text, timestamptz) IS
	'Proves the address by the token that was sent to it, once. Errors: ZE005 token_is_right, token_is_good (not too late), terms_are_accepted.';

CREATE FUNCTION crm.change_email(customer_id text, new_email text, ip_address text DEFAULT NULL, user_agent text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at CONSTANT timestamptz := coalesce(occurred_at, now());
	token CONSTANT text := crm.new_token();
BEGIN
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerEmailUpdated', jsonb_strip_nulls(jsonb_build_object('newEmail', new_email,
				'requiresVerification', true, 'ipAddress', ip_address, 'userAgent', user_agent)), actor => actor, occurred_at => at);
	PERFORM eventsource.append('customer-' || customer_id, 'EmailVerificationRequested', jsonb_build_object('email', new_email, 'tokenHash', crm.token_hash(token),
				'expiresAt', to_char((at + crm.setting('verification_term')::interval) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), actor => actor, occurred_at => at);
	RETURN token;
END
$$;
COMMENT ON FUNCTION crm.change_email(text, text, text, text, text, timestamptz) IS
	'Gives a customer another address, which is to be proved anew; returns the token to send there. Errors: 23514 customer_email_must_differ (also if only the case differs), 23505 customer_email_is_taken, ZE002 closed or deleted, ZE007 bad address.';

CREATE FUNCTION crm.update_profile(customer_id text, changes jsonb, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c crm.customers%ROWTYPE;
	unknown text;
	n integer;
BEGIN
	SELECT string_agg(k, ', ' ORDER BY k) INTO unknown FROM jsonb_object_keys(changes) k
	 WHERE k NOT IN ('firstName', 'lastName', 'phone', 'dateOfBirth', 'address');
	IF unknown IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'unknown field of a profile',
			DETAIL = format('There is no %s.', unknown),
			HINT = 'Fields are firstName, lastName, phone, dateOfBirth and address; change_email() changes the e-mail address.';
	END IF;
	IF NOT eventsource.sees_personal_data() THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'permission denied to compare personal data',
			DETAIL = 'What is the same is not recorded, so a profile is compared with what there is.',
			HINT = 'Let the owner of the extension call eventsource.grant_personal_data() for your role.';
	END IF;
	PERFORM eventsource.lock_stream('customer-' || customer_id);
	SELECT * INTO c FROM crm.customers v WHERE v.customer_id = update_profile.customer_id;
	SELECT count(eventsource.append('customer-' || customer_id, e.type, e.data, actor => actor, occurred_at => occurred_at)) INTO n
	  FROM (VALUES
		('CustomerNameUpdated', jsonb_build_object(
			'newFirstName', CASE WHEN changes ? 'firstName' THEN changes->>'firstName' ELSE c.first_name END,
			'newLastName', CASE WHEN changes ? 'lastName' THEN changes->>'lastName' ELSE c.last_name END),
			changes ? 'firstName' AND changes->>'firstName' IS DISTINCT FROM c.first_name OR changes ? 'lastName' AND changes->>'lastName' IS DISTINCT FROM c.last_name),
		('CustomerPhoneUpdated', jsonb_build_object('newPhone', changes->'phone'), changes ? 'phone' AND changes->>'phone' IS DISTINCT FROM c.phone),
		('CustomerAddressUpdated', jsonb_build_object('newAddress', changes->'address'), changes ? 'address' AND nullif(changes->'address', 'null') IS DISTINCT FROM c.address::jsonb),
		('CustomerDateOfBirthUpdated', jsonb_build_object('newDateOfBirth', changes->'dateOfBirth'), changes ? 'dateOfBirth' AND changes->>'dateOfBirth' IS DISTINCT FROM c.date_of_birth)
	  ) e (type, data, is_new)
	 WHERE e.is_new;
	RETURN n;
END
$$;
COMMENT ON FUNCTION crm.update_profile(text, jsonb, text, timestamptz) IS
	'Changes what is given of firstName, lastName, phone, dateOfBirth, address: an event for each that is different; null takes away. Returns how many. Errors: 42501 unless the caller may see personal data, 22023 unknown field, ZE002 closed, deleted or unknown customer, ZE007 bad data.';

CREATE FUNCTION crm.deactivate_customer(customer_id text, reason text, notes text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at CONSTANT timestamptz := coalesce(occurred_at, now());
	n integer;
BEGIN
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerDeactivated', jsonb_strip_nulls(jsonb_build_object('reason', reason, 'notes', notes)),
							   actor => actor, occurred_at => at);
	SELECT count(crm.revoke_consent(c.customer_id, c.purpose, c.channel, 'account-deactivated', actor => actor, occurred_at => at)) INTO n
	  FROM (SELECT * FROM crm.consents k WHERE k.customer_id = deactivate_customer.customer_id AND k.purpose = 'marketing' AND k.status <> 'revoked' ORDER BY k.channel) c;
	PERFORM crm.remove_from_segment(m.customer_id, m.segment_id, 'account-deactivated', actor)
	   FROM (SELECT * FROM crm.segment_members s WHERE s.customer_id = deactivate_customer.customer_id ORDER BY s.segment_id) m;
	RETURN n;
END
$$;
COMMENT ON FUNCTION crm.deactivate_customer(text, text, text, text, timestamptz) IS
	'Closes an account and takes back its consents to marketing, no others; the customer leaves all segments and campaigns. Returns how many consents. Reasons: customer-request, fraud, terms-violation, other. Errors: ZE002 closed, deleted or unknown, ZE007 another reason.';

CREATE FUNCTION crm.reactivate_customer(customer_id text, notes text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM eventsource.append('customer-' || customer_id, 'CustomerReactivated', jsonb_strip_nulls(jsonb_build_object('notes', notes)), actor => actor, occurred_at => occurred_at)
$$;
COMMENT ON FUNCTION crm.reactivate_customer(text, text, text, timestamptz) IS
	'Opens a closed account again, in the status that its address was proved for; consents are not given back. Errors: ZE002 not closed.';

CREATE FUNCTION crm.grant_consent(customer_id text, purpose text, channel text, consent_method text DEFAULT NULL, notice_version text DEFAULT NULL,
		ip_address text DEFAULT NULL, user_agent text DEFAULT NULL, legal_basis text DEFAULT 'consent', expires_at timestamptz DEFAULT NULL,
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM eventsource.append('customer-' || customer_id, 'ConsentGranted', jsonb_strip_nulls(jsonb_build_object('purpose', purpose, 'channel', channel,
		'consentMethod', consent_method, 'noticeVersion', notice_version, 'ipAddress', ip_address, 'userAgent', user_agent, 'legalBasis', legal_basis,
		'expiresAt', coalesce(to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), crm.consent_expiry(purpose, coalesce(occurred_at, now()))))),
		actor => actor, occurred_at => coalesce(occurred_at, now()))
$$;
COMMENT ON FUNCTION crm.grant_consent(text, text, text, text, text, text, text, text, timestamptz, text, timestamptz) IS
	'Records consent for a purpose (marketing, analytics, essential) and a channel (email, sms, push), with its evidence; it lasts as the settings consent_term_... say unless expires_at is given. Errors: ZE005 consent_is_not_granted if it holds already, consent_is_not_from_before if it was taken back after occurred_at, ZE002 closed or deleted, ZE007 another purpose or channel.';

CREATE FUNCTION crm.renew_consent(customer_id text, purpose text, channel text, consent_method text DEFAULT NULL, notice_version text DEFAULT NULL,
		ip_address text DEFAULT NULL, user_agent text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM eventsource.append('customer-' || customer_id, 'ConsentRenewed', jsonb_strip_nulls(jsonb_build_object('purpose', purpose, 'channel', channel,
		'consentMethod', consent_method, 'noticeVersion', notice_version, 'ipAddress', ip_address, 'userAgent', user_agent, 'legalBasis', 'consent',
		'expiresAt', crm.consent_expiry(purpose, coalesce(occurred_at, now())))), actor => actor, occurred_at => coalesce(occurred_at, now()))
$$;
COMMENT ON FUNCTION crm.renew_consent(text, text, text, text, text, text, text, text, timestamptz) IS
	'Records that a consent was given again before or after it ran out. Errors: ZE005 consent_is_there if it was never given, or taken back.';

CREATE FUNCTION crm.revoke_consent(customer_id text, purpose text, channel text, reason text DEFAULT NULL, ip_address text DEFAULT NULL,
		user_agent text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result eventsource.appended;
BEGIN
	SELECT * INTO result FROM eventsource.append('customer-' || customer_id, 'ConsentRevoked', jsonb_strip_nulls(jsonb_build_object('purpose', purpose, 'channel', channel,
		'reason', reason, 'ipAddress', ip_address, 'userAgent', user_agent)), actor => actor, occurred_at => occurred_at);
	PERFORM crm.recheck_messages(customer_id);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.revoke_consent(text, text, text, text, text, text, text, timestamptz) IS
	'Takes a consent back; from then on it holds no more, and messages that wait are skipped, in this very transaction. Errors: ZE005 consent_is_there if there is none.';

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

CREATE FUNCTION crm.update_preferences(customer_id text, preferences jsonb, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result eventsource.appended;
BEGIN
	SELECT * INTO result FROM eventsource.append('customer-' || customer_id, 'PreferencesUpdated', jsonb_build_object('preferences', preferences), actor => actor, occurred_at => occurred_at);
	PERFORM crm.recheck_messages(customer_id);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.update_preferences(text, jsonb, text, timestamptz) IS
	'Changes preferences; what is not named stays. Of two changes of a field the later by occurred_at holds, in whatever order they arrive. Messages that wait and are not wanted any more are skipped, in this transaction. Fields: emailFrequency (daily, weekly, never), categories, timezone, emailEnabled, smsEnabled, pushEnabled, smsForPromotions, pushCategories. Errors: ZE007 another field or value.';

CREATE FUNCTION crm.pause_campaigns(customer_id text, channel text DEFAULT NULL, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result eventsource.appended;
BEGIN
	SELECT * INTO result FROM eventsource.append('customer-' || customer_id, 'CampaignsPaused', jsonb_strip_nulls(jsonb_build_object('channel', channel, 'reason', reason)), actor => actor);
	PERFORM crm.recheck_messages(customer_id);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.pause_campaigns(text, text, text, text) IS
	'A customer gets no marketing on a channel (NULL: on any) until resume_campaigns(); messages that wait are skipped. Errors: ZE002 deleted or unknown customer, ZE007 unknown channel.';

CREATE FUNCTION crm.resume_campaigns(customer_id text, channel text DEFAULT NULL, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM eventsource.append('customer-' || customer_id, 'CampaignsResumed', jsonb_strip_nulls(jsonb_build_object('channel', channel, 'reason', reason)), actor => actor)
$$;
COMMENT ON FUNCTION crm.resume_campaigns(text, text, text, text) IS
	'Ends what pause_campaigns() began; what was skipped meanwhile stays skipped. Errors: ZE002 deleted or unknown customer, ZE007 unknown channel.';

-- Who takes consent back gets no campaigns on that channel until he gives it again.
CREATE FUNCTION crm.put_customer_reactions() RETURNS integer
	LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.put_reaction('crm_consent_revoked', 'customer', 'ConsentRevoked', jsonb_build_object('append', 'CampaignsPaused', 'occurred_at', 'event.occurred_at', 'stream', 'event.stream',
			'data', $expr$ jsonb_build_object('channel', event.data->'channel', 'reason', 'consent-revoked') $expr$),
			condition => $expr$ event.data->>'purpose' = 'marketing' AND NOT row.paused ? (event.data->>'channel') $expr$)
		 + crm.put_reaction('crm_consent_granted', 'customer', 'ConsentGranted', jsonb_build_object('append', 'CampaignsResumed', 'occurred_at', 'event.occurred_at', 'stream', 'event.stream',
			'data', $expr$ jsonb_build_object('channel', event.data->'channel', 'reason', 'consent-granted') $expr$),
			condition => $expr$ event.data->>'purpose' = 'marketing' AND row.paused->>(event.data->>'channel') = 'consent-revoked' $expr$)
$$;
COMMENT ON FUNCTION crm.put_customer_reactions() IS 'Private, for install(): what follows from events of customers.';
-- Messages: what is to be sent, was sent, and was not, and why.  A message is a
-- stream; its decision says what allowed it, or forbade it.

CREATE FUNCTION crm.message_machine() RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $fn$
	SELECT '{
		"description": "From the queue to the recipient",
		"initial": "queued",
		"create": {"MessageQueued": "queued", "MessageSent": "sent", "MessageSkipped": "skipped", "MessageFailed": "failed"},
		"states": {
			"queued": {"on": {
				"MessageSent": "sent", "MessageSkipped": "skipped",
				"MessageFailed": [{"target": "failed", "guard": {"is_given_up": "coalesce(event.data->>''retryable'' = ''false'', true)"}}, {}]}},
			"failed": {"on": {"MessageQueued": "queued"}},
			"sent": {"on": {"MessageDelivered": "delivered", "MessageBounced": "bounced"}},
			"delivered": {"on": {"MessageBounced": "bounced"}},
			"bounced": {"type": "final"},
			"skipped": {"type": "final"}},
		"on": {
			"MessageOpened": {"guard": {"message_was_sent": "row.sent_at IS NOT NULL"}},
			"MessageClicked": {"guard": {"message_was_sent": "row.sent_at IS NOT NULL"}}}
	}'::jsonb
$fn$;
COMMENT ON FUNCTION crm.message_machine() IS 'Private, for install(): the life of a message.';

CREATE FUNCTION crm.make_messages() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.message (
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
	);
	COMMENT ON TABLE crm.message IS 'Private: messages as they are now, a projection. Read the view messages.';
	CREATE INDEX IF NOT EXISTS message_customer_idx ON crm.message (customer_id, channel, queued_at);
	CREATE INDEX IF NOT EXISTS message_failed_idx ON crm.message (failed_at) WHERE status = 'failed';

	CREATE TABLE IF NOT EXISTS crm.contact_rule (
		rule_id    text PRIMARY KEY,
		change     text,
		rule       jsonb,
		changed_at timestamptz,
		changed_by text
	);
	COMMENT ON TABLE crm.contact_rule IS 'Private: caps and channel rules that were changed, a projection. Read the views frequency_caps and channel_rules.';
END
$$;
COMMENT ON FUNCTION crm.make_messages() IS 'Private, for install(): tables of messages.';

CREATE FUNCTION crm.put_messages() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	about CONSTANT text := $rule$ customer_id = event.data->>'customerId', channel = event.data->>'channel', message_class = coalesce(event.data->>'messageClass', row.message_class),
		topic = coalesce(event.data->>'topic', row.topic), campaign_id = coalesce(event.data->>'campaignId', row.campaign_id),
		template_id = coalesce(event.data->>'templateId', row.template_id), content = coalesce(nullif(event.data->'content', 'null'), row.content),
		decision = coalesce(nullif(event.data->'decision', 'null'), row.decision) $rule$;
	always CONSTANT text := $rule$ status = event.to_state, version = event.version $rule$;
BEGIN
	RETURN crm.put_projection('crm.message', 'message', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (VALUES
				('*', NULL),
				('MessageQueued', about || $rule$, queued_at = event.occurred_at, failed_at = NULL $rule$),
				('MessageSent', about || $rule$, sent_at = event.occurred_at, provider_message_id = event.data->>'messageId', failed_at = NULL,
					queued_at = coalesce(row.queued_at, event.occurred_at) $rule$),
				('MessageSkipped', about || $rule$, skipped_at = event.occurred_at, skip_reason = event.data->>'reason' $rule$),
				('MessageFailed', $rule$ customer_id = event.data->>'customerId', channel = event.data->>'channel', failures = row.failures + 1, error_type = event.data->>'errorType',
					failed_at = CASE WHEN event.to_state = 'failed' THEN event.occurred_at END $rule$),
				('MessageDelivered', $rule$ delivered_at = event.occurred_at $rule$),
				('MessageBounced', $rule$ bounced_at = event.occurred_at, bounce_type = event.data->>'bounceType' $rule$),
				('MessageOpened', $rule$ opened_at = coalesce(row.opened_at, event.occurred_at) $rule$),
				('MessageClicked', $rule$ clicked_at = coalesce(row.clicked_at, event.occurred_at) $rule$)
			) rule (type, set)))
		+ crm.put_projection('crm.contact_rule', 'crm_rule', jsonb_build_object('*',
			$rule$ change = event.type, rule = event.data, changed_at = event.occurred_at, changed_by = event.actor $rule$))
		+ crm.put_state_machine('crm_message', crm.message_machine());
END
$$;
COMMENT ON FUNCTION crm.put_messages() IS 'Private, for install(): tables, projections and state machine of messages.';

-- What the documents say of channels: the rules, and how often.
CREATE FUNCTION crm.channel_rule_defaults() RETURNS TABLE (channel text, message_class text, is_allowed boolean, is_consent_needed boolean, is_optional boolean,
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

CREATE FUNCTION crm.frequency_cap_defaults() RETURNS TABLE (cap_id text, channel text, message_class text, frequency text, period interval, max_messages integer)
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
			'channel', 'email, sms or push.', 'message_class', 'transactional, marketing or urgent-marketing.', 'is_allowed', 'May such messages be sent on it at all?',
			'is_consent_needed', 'Is consent to marketing on it needed?', 'is_optional', 'Does the customer''s <channel>Enabled = false count?',
			'needs_preference', 'Preference that must be true; NULL: none.', 'is_topic_needed', 'Must the topic be one of the customer''s pushCategories?',
			'is_capped', 'Do frequency caps hold, and does it count for them?', 'is_default', 'True if it was not changed.'), $view$
		SELECT d.channel, d.message_class, coalesce((r.rule #>> '{rule,isAllowed}')::boolean, d.is_allowed) AS is_allowed,
			   coalesce((r.rule #>> '{rule,needsConsent}')::boolean, d.is_consent_needed) AS is_consent_needed,
			   coalesce((r.rule #>> '{rule,canBeDisabled}')::boolean, d.is_optional) AS is_optional,
			   CASE WHEN r.rule->'rule' ? 'needsPreference' THEN r.rule #>> '{rule,needsPreference}' ELSE d.needs_preference END AS needs_preference,
			   coalesce((r.rule #>> '{rule,needsTopic}')::boolean, d.is_topic_needed) AS is_topic_needed,
			   coalesce((r.rule #>> '{rule,isCapped}')::boolean, d.is_capped) AS is_capped, r.rule_id IS NULL AS is_default
		  FROM crm.channel_rule_defaults() d
		  LEFT JOIN crm.contact_rule r ON r.rule_id = 'channel:' || d.channel || '/' || d.message_class $view$);

	PERFORM crm.put_view('frequency_caps', 'How often a customer may be sent messages, one row per cap.', jsonb_build_object(
			'cap_id', 'Name of the cap.', 'channel', 'Channel that it is for.', 'message_class', 'Class that it is for and counts; NULL: all that are capped.',
			'frequency', 'For customers who prefer this frequency of e-mail; NULL: for all.', 'period', 'In how long; a message that is exactly as old counts no more. NULL: ever.',
			'max_messages', 'How many may be sent in it; NULL: the cap is off.', 'is_default', 'True if it was not changed.'), $view$
		SELECT d.cap_id, d.channel, d.message_class, d.frequency, d.period, d.max_messages, true AS is_default
		  FROM crm.frequency_cap_defaults() d
		 WHERE NOT EXISTS (SELECT FROM crm.contact_rule r WHERE r.rule_id = 'cap:' || d.cap_id)
		 UNION ALL
		SELECT substr(r.rule_id, 5), r.rule->>'channel', r.rule->>'messageClass', r.rule->>'frequency', (r.rule->>'window')::interval, (r.rule->>'max')::integer, false
		  FROM crm.contact_rule r
		 WHERE r.change = 'FrequencyCapChanged' $view$);

	PERFORM crm.put_view('messages', 'Messages, one row each: what was sent, and what was not, and why.', jsonb_build_object(
			'message_id', 'The message; its stream is message-<message_id>.', 'customer_id', 'To whom.', 'channel', 'email, sms or push.', 'message_class', 'transactional, marketing or urgent-marketing.',
			'topic', 'What it is about, for push categories.', 'campaign_id', 'Campaign that sent it; NULL: none.', 'template_id', 'Template of its text.', 'content', 'What else who sends it is told.',
			'status', 'queued, sent, delivered, bounced, skipped or failed.', 'is_sent', 'True if it went out.', 'skip_reason', 'Why it was not sent.',
			'queued_at', 'When it was to be sent.', 'sent_at', 'When it went out.', 'delivered_at', 'When it arrived.', 'opened_at', 'When it was opened first.', 'clicked_at', 'When a link was followed first.',
			'bounced_at', 'When it came back.', 'bounce_type', 'permanent or transient.', 'skipped_at', 'When it was skipped.', 'failed_at', 'When it was given up.', 'failure_count', 'Failed attempts.',
			'error_type', 'Code of the last failure.', 'provider_message_id', 'What the provider calls it.', 'decision', 'What was found when it was decided on: account, consent, preferences, caps.'), $view$
		SELECT m.message_id, m.customer_id, m.channel, m.message_class, m.topic, m.campaign_id, m.template_id, m.content, m.status, m.sent_at IS NOT NULL AS is_sent, m.skip_reason,
			   m.queued_at, m.sent_at, m.delivered_at, m.opened_at, m.clicked_at, m.bounced_at, m.bounce_type, m.skipped_at, m.failed_at, m.failures AS failure_count,
			   m.error_type, m.provider_message_id, m.decision
		  FROM crm.message m
		 WHERE eventsource.may_read_category('message') $view$);

	PERFORM crm.put_view('suppressions', 'Why customers get no marketing on a channel whatever is sent, one row per customer, channel and reason.', jsonb_build_object(
			'customer_id', 'The customer.', 'channel', 'email, sms or push.', 'reason', 'account-closed, erased, address-invalid, no-phone, channel-disabled, frequency-never or campaigns-paused.'), $view$
		SELECT c.customer_id, ch.channel, s.reason
		  FROM crm.customers c
		 CROSS JOIN (VALUES ('email'), ('sms'), ('push')) ch (channel)
		  LEFT JOIN crm.preferences p ON p.customer_id = c.customer_id
		 CROSS JOIN LATERAL (VALUES
			('account-closed', c.status = 'deactivated'), ('erased', c.status = 'deleted'), ('address-invalid', ch.channel = 'email' AND NOT c.is_email_deliverable),
			('no-phone', ch.channel = 'sms' AND c.phone IS NULL),
			('channel-disabled', CASE ch.channel WHEN 'email' THEN p.is_email_enabled WHEN 'sms' THEN p.is_sms_enabled ELSE p.is_push_enabled END = false),
			('frequency-never', ch.channel = 'email' AND p.email_frequency = 'never'),
			('campaigns-paused', c.paused_channels LIKE '%' || ch.channel || '%')) s (reason, holds)
		 WHERE s.holds $view$);
END
$$;
COMMENT ON FUNCTION crm.put_message_views() IS 'Private, for install(): views of messages.';
-- May a customer be sent a message?  One function decides, from what is there at the
-- moment and under the customer's lock when something is sent; what it found is
-- stored with the message.

-- A time zone that nobody knows is that of the setting.
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
		zone := crm.setting('default_timezone');
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

CREATE FUNCTION crm.can_contact(customer_id text, channel text, message_class text DEFAULT 'marketing', topic text DEFAULT NULL, at timestamptz DEFAULT now(),
		message_id text DEFAULT NULL) RETURNS TABLE (allowed boolean, reason text, reasons text, decision jsonb)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH found AS MATERIALIZED (
		SELECT a.customer_id, r.is_allowed, r.is_consent_needed, r.is_optional, r.needs_preference, r.is_topic_needed, r.is_capped,
			   c.status, c.is_email_deliverable, c.phone IS NOT NULL AS has_phone, c.paused_channels,
			   p.timezone, p.email_frequency, coalesce(p.email_frequency, f.value) AS frequency, p.push_categories, p.is_sms_for_promotions,
			   CASE a.channel WHEN 'email' THEN p.is_email_enabled WHEN 'sms' THEN p.is_sms_enabled WHEN 'push' THEN p.is_push_enabled END AS is_enabled,
			   CASE WHEN r.is_consent_needed THEN crm.has_consent(a.customer_id, 'marketing', a.channel, a.at) END AS has_consent,
			   CASE WHEN r.is_capped THEN (
					SELECT string_agg(cap.cap_id, ' > ' ORDER BY cap.cap_id)
					  FROM crm.frequency_caps cap
					 WHERE cap.channel = a.channel AND coalesce(cap.message_class = a.message_class, true) AND cap.max_messages IS NOT NULL
					   AND (cap.frequency IS NULL OR cap.frequency = coalesce(p.email_frequency, f.value))
					   AND cap.max_messages <= (
						SELECT count(*) FROM crm.messages m JOIN crm.channel_rules mr ON mr.channel = m.channel AND mr.message_class = m.message_class
						 WHERE m.customer_id = a.customer_id AND m.channel = cap.channel AND (cap.message_class IS NULL OR m.message_class = cap.message_class) AND mr.is_capped
						   AND (m.status = 'queued' OR m.is_sent) AND m.message_id IS DISTINCT FROM a.message_id
						   AND coalesce(m.sent_at, m.queued_at) > coalesce(a.at - cap.period, '-infinity') AND coalesce(m.sent_at, m.queued_at) <= a.at)) END AS caps
		  FROM (SELECT can_contact.customer_id, can_contact.channel, can_contact.message_class, can_contact.at, can_contact.message_id) a
		  JOIN crm.settings f ON f.setting_name = 'email_frequency'
		  LEFT JOIN crm.channel_rules r ON r.channel = a.channel AND r.message_class = a.message_class
		  LEFT JOIN crm.customers c ON c.customer_id = a.customer_id
		  LEFT JOIN crm.preferences p ON p.customer_id = a.customer_id
	)
	SELECT count(x.reason) = 0, (array_agg(x.reason ORDER BY x.n) FILTER (WHERE x.reason IS NOT NULL))[1], string_agg(x.reason, ' > ' ORDER BY x.n),
		   jsonb_strip_nulls(jsonb_build_object('at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'channel', channel, 'class', message_class, 'topic', topic,
				'status', max(f.status), 'consent', bool_or(f.has_consent), 'frequency', CASE WHEN bool_or(f.is_capped) AND channel = 'email' THEN max(f.frequency) END,
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
		(12, 'topic-not-wanted', f.is_topic_needed AND (topic = ANY (string_to_array(f.push_categories, ' > '))) IS DISTINCT FROM true),
		(13, 'frequency-never', f.is_capped AND channel = 'email' AND f.frequency = 'never'),
		(14, 'frequency-cap', f.caps IS NOT NULL AND NOT (channel = 'email' AND f.frequency = 'never')),
		(15, 'quiet-hours', message_class <> 'transactional' AND channel <> 'email' AND crm.quiet_until(at, f.timezone) IS NOT NULL)
	  ) y (n, reason, holds)
	 CROSS JOIN LATERAL (SELECT y.n, CASE WHEN y.holds THEN y.reason END) x (n, reason)
$$;
COMMENT ON FUNCTION crm.can_contact(text, text, text, text, timestamptz, text) IS
	'May a customer be sent a message on a channel (email, sms, push) at that time? message_class: transactional (needs no consent, and has no caps), marketing, urgent-marketing; topic: for push messages, what it is about; message_id: a message that is not counted. One row: allowed, the first reason against it, all of them, and the decision as it is stored with messages. Reasons: unknown-customer, unknown-channel, erased, address-invalid, no-phone, channel-rule, account-closed, no-consent, channel-disabled, campaigns-paused, preference, topic-not-wanted, frequency-never, frequency-cap, quiet-hours (the message waits for their end). Rules and caps are those of now.';

CREATE FUNCTION crm.choose_channels(customer_id text, message_class text DEFAULT 'marketing', topic text DEFAULT NULL, at timestamptz DEFAULT now())
	RETURNS TABLE (channel text, display_order integer, allowed boolean, reason text, reasons text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT k.channel, k.n, d.allowed AND s.is_considered, CASE WHEN s.is_considered THEN d.reason ELSE coalesce(d.reason, 'not-a-default') END,
		   nullif(concat_ws(' > ', d.reasons, CASE WHEN NOT s.is_considered THEN 'not-a-default' END), '')
	  FROM (VALUES ('email', 1), ('sms', 2), ('push', 3)) k (channel, n)
	 CROSS JOIN LATERAL crm.can_contact(choose_channels.customer_id, k.channel, choose_channels.message_class, choose_channels.topic, choose_channels.at) d
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

CREATE FUNCTION crm.set_frequency_cap(cap_id text, channel text, max_messages integer, period interval DEFAULT NULL, frequency text DEFAULT NULL, message_class text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF period <= '0' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'the period of a cap must be longer than nothing',
			DETAIL = format('It is %s.', period),
			HINT = 'NULL means ever.';
	END IF;
	PERFORM eventsource.append('crm_rule-cap:' || cap_id, 'FrequencyCapChanged',
							   jsonb_build_object('channel', channel, 'messageClass', message_class, 'frequency', frequency, 'window', period, 'max', max_messages));
END
$$;
COMMENT ON FUNCTION crm.set_frequency_cap(text, text, integer, interval, text, text) IS
	'Changes a cap, or makes one: how many messages a customer may be sent on a channel in a period; frequency: only for who prefers that. max_messages NULL: the cap is off. It is an event. Errors: ZE007 unknown channel, class or frequency, 22023 bad period.';
-- Sending.  Whether a message may go out is decided under the lock of its customer's
-- stream, when it is queued and again when it is handed to who sends it; so two
-- messages cannot pass one cap.  Jobs are in the queues crm_email, crm_sms and
-- crm_push.

CREATE FUNCTION crm.send_message(customer_id text, channel text, template_id text DEFAULT NULL, message_class text DEFAULT 'marketing', topic text DEFAULT NULL,
		campaign_id text DEFAULT NULL, message_id text DEFAULT NULL, actor text DEFAULT NULL, content jsonb DEFAULT NULL, OUT id text, OUT is_queued boolean, OUT skip_reason text) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	d record;
BEGIN
	id := coalesce(message_id, gen_random_uuid()::text);
	PERFORM eventsource.lock_stream('customer-' || customer_id);
	IF (SELECT s.version FROM eventsource.lock_stream('message-' || id) s) > 0 THEN
		-- It was asked for before: what was said then holds.
		SELECT m.status <> 'skipped', m.skip_reason INTO is_queued, skip_reason FROM crm.messages m WHERE m.message_id = id;
		RETURN;
	END IF;
	SELECT * INTO d FROM crm.can_contact(customer_id, channel, message_class, topic, clock_timestamp());
	-- What comes at a quiet hour waits in the queue.
	is_queued := d.allowed OR d.reasons = 'quiet-hours';
	skip_reason := CASE WHEN NOT is_queued THEN d.reason END;
	PERFORM eventsource.append('message-' || id, CASE WHEN is_queued THEN 'MessageQueued' ELSE 'MessageSkipped' END,
		jsonb_strip_nulls(jsonb_build_object('customerId', customer_id, 'channel', channel, 'messageClass', message_class, 'topic', topic,
			'campaignId', campaign_id, 'templateId', template_id, 'content', nullif(content, '{}'), 'reason', skip_reason)) || jsonb_build_object('decision', d.decision),
		actor => actor, occurred_at => clock_timestamp());
END
$$;
COMMENT ON FUNCTION crm.send_message(text, text, text, text, text, text, text, text, jsonb) IS
	'Has a message sent to a customer, or records why it may not be; see can_contact(). message_id: asked for again with the same, it is what it was; content: for who sends it, nothing personal. Returns the message, whether it is queued, and why not. What is queued is a job of queue crm_<channel>; see claim_messages(). Errors: ZE007 unknown channel or class, ZE009 who is erased.';

CREATE FUNCTION crm.skip_message(message_id text, reason text, decision jsonb) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.append('message-' || m.message_id, 'MessageSkipped', jsonb_build_object('customerId', m.customer_id, 'channel', m.channel,
								'reason', skip_message.reason, 'decision', skip_message.decision), occurred_at => clock_timestamp())
	  FROM crm.messages m
	 WHERE m.message_id = skip_message.message_id
$$;
COMMENT ON FUNCTION crm.skip_message(text, text, jsonb) IS 'Private, for commands: says that a message which was queued is not sent. Its job is cancelled by a reaction.';

CREATE FUNCTION crm.recheck_messages(customer_id text) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
	n integer := 0;
BEGIN
	FOR m IN SELECT q.message_id, d.reason, d.decision
			   FROM crm.messages q
			  CROSS JOIN LATERAL crm.can_contact(q.customer_id, q.channel, q.message_class, q.topic, clock_timestamp(), q.message_id) d
			  WHERE q.customer_id = recheck_messages.customer_id AND q.status = 'queued' AND NOT d.allowed AND d.reasons <> 'quiet-hours'
			  ORDER BY q.message_id LOOP
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

CREATE FUNCTION crm.claim_messages(channel text, max_messages integer DEFAULT 1, lease interval DEFAULT NULL, worker text DEFAULT NULL)
	RETURNS TABLE (job_id bigint, attempt integer, message_id text, customer_id text, recipient text, message_class text, topic text, campaign_id text, template_id text, content jsonb)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	j record;
	m record;
	d record;
BEGIN
	FOR j IN SELECT * FROM eventsource.claim('crm_' || channel, max_messages, lease, worker) LOOP
		PERFORM eventsource.lock_stream(j.subject);
		SELECT * INTO m FROM crm.messages v WHERE v.message_id = j.payload->>'message_id';
		SELECT * INTO d FROM crm.can_contact(m.customer_id, m.channel, m.message_class, m.topic, clock_timestamp(), m.message_id);
		IF m.status <> 'queued' THEN
			PERFORM eventsource.complete(j.job_id, jsonb_build_object('status', m.status), worker, j.attempt);
		ELSIF d.reasons = 'quiet-hours' THEN
			PERFORM eventsource.fail(j.job_id, 'QUIET_HOURS', NULL, (SELECT crm.quiet_until(clock_timestamp(), max(p.timezone)) FROM crm.preferences p WHERE p.customer_id = m.customer_id), worker, j.attempt);
		ELSIF NOT d.allowed THEN
			PERFORM crm.skip_message(m.message_id, d.reason, d.decision);
		ELSE
			job_id := j.job_id;
			attempt := j.attempt;
			message_id := m.message_id;
			customer_id := m.customer_id;
			message_class := m.message_class;
			topic := m.topic;
			campaign_id := m.campaign_id;
			template_id := m.template_id;
			content := m.content;
			SELECT CASE m.channel WHEN 'email' THEN c.email WHEN 'sms' THEN c.phone END INTO recipient FROM crm.customers c WHERE c.customer_id = m.customer_id;
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.claim_messages(text, integer, interval, text) IS
	'Lends at most max_messages messages of a channel to who sends them, after asking again whether they may be sent; those that may not are skipped. recipient: address or number, *** for who may not see personal data. Send them with message_id as the provider''s idempotency key, then call complete_message() or fail_message() for each. For workers of queue crm_<channel> who write to the CRM; see eventsource.claim(). Errors: those of claim().';

CREATE FUNCTION crm.complete_message(message_id text, job_id bigint DEFAULT NULL, provider_message_id text DEFAULT NULL, worker text DEFAULT NULL, attempt integer DEFAULT NULL,
		actor text DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
	result eventsource.appended;
BEGIN
	SELECT v.customer_id, v.channel INTO m FROM crm.messages v WHERE v.message_id = complete_message.message_id;
	SELECT * INTO result FROM eventsource.append('message-' || message_id, 'MessageSent', jsonb_strip_nulls(jsonb_build_object('customerId', m.customer_id,
			'channel', m.channel, 'messageId', provider_message_id)), actor => actor, occurred_at => clock_timestamp());
	IF job_id IS NOT NULL THEN
		PERFORM eventsource.complete(job_id, jsonb_strip_nulls(jsonb_build_object('provider_message_id', provider_message_id)), worker, attempt);
	END IF;
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.complete_message(text, bigint, text, text, integer, text) IS
	'Says that a message went out; job_id, attempt, worker: as claim_messages() was told and said. Errors: ZE002 sent or skipped already, 55000 if it is not lent to this worker (any more).';

CREATE FUNCTION crm.fail_message(message_id text, job_id bigint, error_code text, error_message text DEFAULT NULL, worker text DEFAULT NULL, attempt integer DEFAULT NULL,
		actor text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
	job_state text;
BEGIN
	PERFORM eventsource.lock_stream('message-' || message_id);
	SELECT v.customer_id, v.channel INTO m FROM crm.messages v WHERE v.message_id = fail_message.message_id;
	-- What the provider says may tell of a person: it goes into the event, where it is personal, and not to the job.
	job_state := eventsource.fail(job_id, error_code, NULL, NULL, worker, attempt);
	PERFORM eventsource.append('message-' || message_id, 'MessageFailed', jsonb_strip_nulls(jsonb_build_object('customerId', m.customer_id, 'channel', m.channel,
			'errorType', error_code, 'errorMessage', error_message, 'retryable', job_state = 'scheduled', 'attempt', attempt)), actor => actor, occurred_at => clock_timestamp());
	RETURN CASE job_state WHEN 'scheduled' THEN 'queued' ELSE 'failed' END;
END
$$;
COMMENT ON FUNCTION crm.fail_message(text, bigint, text, text, text, integer, text) IS
	'Says that a message could not be sent, with a code of eventsource.error_codes: it is tried again, if the code says that this may help and attempts are left, or given up, and a dead letter. INVALID_RECIPIENT by e-mail says that the address takes no mail. Returns queued or failed. Errors: 55000 if it is not lent to this worker (any more).';

CREATE FUNCTION crm.record_message_event(message_id text, event_type text, data jsonb DEFAULT '{}', actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.* FROM crm.messages m
	 CROSS JOIN LATERAL eventsource.append('message-' || m.message_id, record_message_event.event_type,
				jsonb_build_object('customerId', m.customer_id, 'channel', m.channel)
				|| CASE WHEN record_message_event.event_type IN ('MessageOpened', 'MessageClicked') AND m.campaign_id IS NOT NULL THEN jsonb_build_object('campaignId', m.campaign_id) ELSE '{}' END
				|| record_message_event.data,
				actor => record_message_event.actor, occurred_at => record_message_event.occurred_at) a
	 WHERE m.message_id = record_message_event.message_id
$$;
COMMENT ON FUNCTION crm.record_message_event(text, text, jsonb, text, timestamptz) IS
	'Records what became of a message: MessageDelivered, MessageBounced ({"bounceType": "permanent" or "transient"}; a permanent one says that the address takes no mail), MessageOpened, MessageClicked. No row, no event: there is no such message. Errors: ZE002 not sent, ZE007 bad data.';

CREATE FUNCTION crm.put_message_reactions() RETURNS integer
	LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT sum(crm.put_reaction('crm_queue_' || c.channel, 'message', 'MessageQueued', jsonb_build_object('enqueue', 'crm_' || c.channel,
				'payload', $expr$ jsonb_build_object('message_id', event.key) $expr$),
				condition => format($expr$ event.data->>'channel' = %L $expr$, c.channel), key => 'event.key'))::integer
		 + crm.put_reaction('crm_unqueue', 'message', 'MessageSkipped', '{"cancel": ["crm_queue_email", "crm_queue_sms", "crm_queue_push"]}', key => 'event.key')
		 + crm.put_reaction('crm_bounced', 'message', 'MessageBounced', jsonb_build_object('append', 'CustomerEmailInvalidated', 'occurred_at', 'event.occurred_at', 'stream', $expr$ 'customer-' || (event.data->>'customerId') $expr$,
				'data', $expr$ jsonb_build_object('reason', 'bounced-permanent') $expr$),
				condition => $expr$ event.data->>'channel' = 'email' AND event.data->>'bounceType' = 'permanent' $expr$)
		 + crm.put_reaction('crm_invalid_recipient', 'message', 'MessageFailed', jsonb_build_object('append', 'CustomerEmailInvalidated', 'occurred_at', 'event.occurred_at', 'stream', $expr$ 'customer-' || (event.data->>'customerId') $expr$,
				'data', $expr$ jsonb_build_object('reason', 'bounced-permanent') $expr$),
				condition => $expr$ event.data->>'channel' = 'email' AND event.data->>'errorType' = 'INVALID_RECIPIENT' $expr$)
	  FROM (VALUES ('email'), ('sms'), ('push')) c (channel)
$$;
COMMENT ON FUNCTION crm.put_message_reactions() IS 'Private, for install(): what follows from events of messages.';
-- Carts: what lies in them, and when they were left alone.  An hour without a change
-- is one definition, of the state machine; each time somebody comes back begins anew.

CREATE FUNCTION crm.cart_machine() RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $fn$
	SELECT jsonb_build_object(
		'description', 'From the first item to the order',
		'initial', 'open',
		'create', '{"CartCreated": "open", "ItemAddedToCart": "open", "CartConverted": "ordered"}'::jsonb,
		'states', jsonb_build_object(
			'open', jsonb_build_object('after', '{"60 minutes": "CartAbandoned"}'::jsonb, 'on', jsonb_build_object(
				'ItemAddedToCart', added || '{"target": "open"}', 'ItemRemovedFromCart', removed || '{"target": "open"}',
				'CartAbandoned', jsonb_build_object('target', 'abandoned', 'guard', '{"cart_is_not_empty": "row.item_count > 0"}'::jsonb,
					'fill', jsonb_build_object('items', $$jsonb_path_query_array(row.items, '$.*')$$, 'totalValue', 'row.total_value', 'currency', 'row.currency',
						'customerId', 'row.customer_id', 'timeInCart', 'extract(epoch FROM event.occurred_at - row.created_at)')),
				'CheckoutStarted', started)),
			'checkout', jsonb_build_object('after', '{"60 minutes": "CheckoutAbandoned"}'::jsonb, 'on', jsonb_build_object(
				'ItemAddedToCart', added || '{"target": "open"}', 'ItemRemovedFromCart', removed || '{"target": "open"}',
				'CheckoutStepCompleted', '{"target": "checkout"}'::jsonb,
				'CheckoutAbandoned', jsonb_build_object('target', 'abandoned',
					'fill', jsonb_build_object('abandonedValue', 'row.total_value', 'currency', 'row.currency', 'customerId', 'row.customer_id',
						'lastCompletedStep', 'row.last_step', 'timeInCheckout', 'extract(epoch FROM event.occurred_at - row.checkout_at)')))),
			'abandoned', jsonb_build_object('on', jsonb_build_object(
				'ItemAddedToCart', added || '{"target": "open"}', 'ItemRemovedFromCart', removed || '{"target": "open"}', 'CheckoutStarted', started)),
			'ordered', '{"on": {"CartReopened": "open"}}'::jsonb),
		'on', '{"CartConverted": "ordered", "CartReopened": {}}'::jsonb)
	  FROM (VALUES ('{"guard": {"one_currency": "coalesce(event.data->>''currency'' = row.currency, true)"}}'::jsonb,
			'{"guard": {"item_is_there": "coalesce((row.items->(event.data->>''productId'')->>''quantity'')::integer >= (event.data->>''quantity'')::integer, false)"}}'::jsonb,
			'{"target": "checkout", "guard": {"cart_is_not_empty": "row.item_count > 0"},
			  "fill": {"cartValue": "row.total_value", "itemCount": "row.item_count", "currency": "row.currency"}}'::jsonb)) edge (added, removed, started)
$fn$;
COMMENT ON FUNCTION crm.cart_machine() IS 'Private, for install(): the life of a cart.';

CREATE FUNCTION crm.make_carts() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.cart (
		cart_id      text PRIMARY KEY,
		customer_id  text,
		session_id   text,
		source       text,
		status       text,
		currency     text,
		items        jsonb NOT NULL DEFAULT '{}',
		item_count   integer NOT NULL DEFAULT 0,
		total_value  numeric NOT NULL DEFAULT 0,
		last_step    text,
		checkout_at  timestamptz,
		abandoned_at timestamptz,
		abandonments integer NOT NULL DEFAULT 0,
		order_id     text,
		ordered_at   timestamptz,
		created_at   timestamptz,
		updated_at   timestamptz,
		version      bigint
	);
	COMMENT ON TABLE crm.cart IS 'Private: carts as they are now, a projection. Read the view carts.';
	CREATE INDEX IF NOT EXISTS cart_customer_idx ON crm.cart (customer_id);
END
$$;
COMMENT ON FUNCTION crm.make_carts() IS 'Private, for install(): tables of carts.';

CREATE FUNCTION crm.put_carts() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	always CONSTANT text := $rule$ status = event.to_state, customer_id = coalesce(event.data->>'customerId', row.customer_id), updated_at = event.occurred_at,
		created_at = coalesce(row.created_at, event.occurred_at), version = event.version $rule$;
	-- An item that is added at another price has that price from then on.
	old_value CONSTANT text := $rule$ coalesce((row.items->(event.data->>'productId')->>'quantity')::numeric * (row.items->(event.data->>'productId')->>'price')::numeric, 0) $rule$;
	old_quantity CONSTANT text := $rule$ coalesce((row.items->(event.data->>'productId')->>'quantity')::integer, 0) $rule$;
	changed CONSTANT text := $rule$ (event.data->>'quantity')::integer $rule$;
BEGIN
	RETURN crm.put_projection('crm.cart', 'cart', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (VALUES
				('*', NULL),
				('CartCreated', $rule$ session_id = event.data->>'sessionId', source = event.data->>'source' $rule$),
				('ItemAddedToCart', format($rule$ currency = event.data->>'currency', abandoned_at = NULL, checkout_at = NULL, last_step = NULL,
					items = row.items || jsonb_build_object(event.data->>'productId', jsonb_strip_nulls(jsonb_build_object('productId', event.data->'productId',
						'productName', coalesce(nullif(event.data->'productName', 'null'), row.items->(event.data->>'productId')->'productName'),
						'category', coalesce(nullif(event.data->'productCategory', 'null'), row.items->(event.data->>'productId')->'category'),
						'quantity', %1$s + %2$s, 'price', event.data->'price'))),
					item_count = row.item_count + %2$s,
					total_value = row.total_value - %3$s + (%1$s + %2$s) * (event.data->>'price')::numeric $rule$, old_quantity, changed, old_value)),
				('ItemRemovedFromCart', format($rule$ abandoned_at = NULL, checkout_at = NULL, last_step = NULL,
					items = CASE WHEN %1$s > %2$s THEN jsonb_set(row.items, ARRAY[event.data->>'productId', 'quantity'], to_jsonb(%1$s - %2$s)) ELSE row.items - (event.data->>'productId') END,
					item_count = row.item_count - %2$s,
					total_value = row.total_value - %2$s * (row.items->(event.data->>'productId')->>'price')::numeric $rule$, old_quantity, changed)),
				('CheckoutStarted', $rule$ checkout_at = event.occurred_at, last_step = NULL, abandoned_at = NULL $rule$),
				('CheckoutStepCompleted', $rule$ last_step = event.data->>'step' $rule$),
				('CartAbandoned', $rule$ abandoned_at = event.occurred_at, abandonments = row.abandonments + 1 $rule$),
				('CheckoutAbandoned', $rule$ abandoned_at = event.occurred_at, abandonments = row.abandonments + 1 $rule$),
				('CartReopened', $rule$ order_id = NULL, ordered_at = NULL $rule$),
				('CartConverted', $rule$ order_id = event.data->>'orderId', ordered_at = event.occurred_at, abandoned_at = NULL $rule$)
			) rule (type, set)))
		+ crm.put_state_machine('crm_cart', crm.cart_machine());
END
$$;
COMMENT ON FUNCTION crm.put_carts() IS 'Private, for install(): table, projection and state machine of carts.';

CREATE FUNCTION crm.put_cart_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('carts', 'Carts, one row each.', jsonb_build_object(
			'cart_id', 'The cart; its stream is cart-<cart_id>.', 'customer_id', 'Whose it is; NULL: not known.', 'session_id', 'Session that it was begun in.', 'source', 'web, mobile, api or import.',
			'status', 'open, checkout, abandoned or ordered.', 'is_abandoned', 'True if it is left alone now.', 'currency', 'Currency of its prices.', 'item_count', 'How many pieces lie in it.', 'total_value', 'What they cost.',
			'last_step', 'Last step of the checkout that was done: shipping, payment or review.', 'created_at', 'When it was begun.', 'checkout_at', 'When its checkout began; NULL: it did not.',
			'abandoned_at', 'When it was left alone; NULL: it is not.', 'abandonment_count', 'How often it was left alone.', 'order_id', 'Order that it became.', 'ordered_at', 'When.', 'updated_at', 'When its last event happened.'), $view$
		SELECT c.cart_id, c.customer_id, c.session_id, c.source, c.status, c.status = 'abandoned' AS is_abandoned, c.currency, c.item_count, c.total_value, c.last_step,
			   c.created_at, c.checkout_at, c.abandoned_at, c.abandonments AS abandonment_count, c.order_id, c.ordered_at, c.updated_at
		  FROM crm.cart c
		 WHERE eventsource.may_read_category('cart') $view$);

	PERFORM crm.put_view('cart_items', 'What lies in carts, one row per cart and product.', jsonb_build_object(
			'cart_id', 'The cart.', 'product_id', 'The product.', 'product_name', 'Its name.', 'product_category', 'Its category.', 'quantity', 'How many.', 'price', 'Price of one.', 'currency', 'Currency of it.'), $view$
		SELECT c.cart_id, i.key AS product_id, i.value->>'productName' AS product_name, i.value->>'category' AS product_category, (i.value->>'quantity')::integer AS quantity,
			   (i.value->>'price')::numeric AS price, c.currency
		  FROM crm.cart c
		 CROSS JOIN LATERAL jsonb_each(c.items) i
		 WHERE eventsource.may_read_category('cart') $view$);

	PERFORM crm.put_view('abandoned_carts', 'Carts that are left alone now, one row each.', jsonb_build_object(
			'cart_id', 'The cart.', 'customer_id', 'Whose it is; NULL: not known.', 'abandoned_at', 'When it was left alone.', 'idle_time', 'How long that is ago.', 'total_value', 'What lies in it costs.', 'currency', 'Currency of it.',
			'item_count', 'How many pieces lie in it.', 'last_step', 'Last step of the checkout that was done; NULL: none.'), $view$
		SELECT c.cart_id, c.customer_id, c.abandoned_at, greatest(now() - c.abandoned_at, '0') AS idle_time, c.total_value, c.currency, c.item_count, c.last_step
		  FROM crm.cart c
		 WHERE c.status = 'abandoned' AND eventsource.may_read_category('cart') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_cart_views() IS 'Private, for install(): views of carts.';
-- Orders with their payments and refunds: one state machine, three projections.  No
-- more is paid than is owed and no more paid back than was paid, by whatever door it
-- is recorded; money is numeric, in one currency per order.

CREATE FUNCTION crm.order_machine(retries integer, refund_reasons_after_delivery text[]) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
	amount CONSTANT text := $$(event.data->>'amount')::numeric$$;
	payment CONSTANT text := $$(row.payments->>(event.data->>'paymentId'))$$;
	refund CONSTANT text := $$(row.refunds->(event.data->>'refundId'))$$;
	customer CONSTANT jsonb := '{"same_customer": "event.data->>''customerId'' = row.customer_id"}';
	currency CONSTANT jsonb := '{"same_currency": "event.data->>''currency'' = row.currency"}';
	owed CONSTANT jsonb := jsonb_build_object('no_more_than_is_owed', amount || ' <= row.total - row.paid');
	payment_is_open CONSTANT jsonb := jsonb_build_object('payment_is_open', format($$coalesce(%s = 'initiated', true)$$, payment));
	plain CONSTANT jsonb := jsonb_build_object('guard', jsonb_build_array(customer));
	initiated CONSTANT jsonb := jsonb_build_object('guard', jsonb_build_array(customer, currency, owed,
		jsonb_build_object('payment_is_new', format($$%s IS NULL$$, payment))), 'target', 'pending-payment');
	-- The part that completes it confirms the order.
	succeeded CONSTANT jsonb := jsonb_build_array(
		jsonb_build_object('target', 'confirmed', 'kind', 'forward',
			'guard', jsonb_build_array(customer, currency, payment_is_open, owed, jsonb_build_object('all_is_paid', amount || ' = row.total - row.paid'))),
		jsonb_build_object('target', 'pending-payment', 'guard', jsonb_build_array(customer, currency, payment_is_open, owed)));
	failed CONSTANT jsonb := jsonb_build_object('target', 'payment-failed', 'kind', 'backward', 'guard', jsonb_build_array(customer, currency, payment_is_open),
		'fill', jsonb_build_object('attempt', 'row.failures + 1', 'givenUp', format($$event.data->>'retryable' <> 'true' OR row.failures + 1 > %s$$, retries)));
	retried CONSTANT jsonb := jsonb_build_object('target', 'pending-payment', 'guard', jsonb_build_array(customer,
		jsonb_build_object('attempts_left', format('row.failures BETWEEN 1 AND %s', retries)),
		jsonb_build_object('attempt_is_next', $$(event.data->>'attempt')::integer = row.failures$$)));
	cancelled CONSTANT jsonb := plain || '{"target": "cancelled", "kind": "backward"}';
	completed CONSTANT jsonb := jsonb_build_object('guard', jsonb_build_array(customer, currency,
		jsonb_build_object('refund_is_open', format($$coalesce(%s->>'status' = 'initiated', false)$$, refund)),
		jsonb_build_object('same_amount', format($$%s = (%s->>'amount')::numeric$$, amount, refund))));
	-- When all of the total is paid back, nothing more can come.
	all_back CONSTANT jsonb := jsonb_build_array(jsonb_build_object('target', 'refunded', 'kind', 'backward',
		'guard', completed->'guard' || jsonb_build_object('all_is_paid_back', 'row.refunded + ' || amount || ' = row.total')), completed);
	refunds CONSTANT jsonb := jsonb_build_object(
		'RefundInitiated', jsonb_build_object('guard', jsonb_build_array(customer, currency,
			jsonb_build_object('refund_is_new', format('%s IS NULL', refund)),
			jsonb_build_object('refund_is_something', amount || ' > 0'),
			jsonb_build_object('no_more_than_was_paid', format('row.refund_reserved + row.refunded + %s <= row.paid', amount)),
			jsonb_build_object('full_is_all', format($$event.data->>'refundType' <> 'full' OR row.refund_reserved + row.refunded + %s = row.paid$$, amount)),
			jsonb_build_object('reason_holds_after_delivery', format($$row.delivered_at IS NULL OR event.data->>'reason' = ANY (%L::text[])$$, refund_reasons_after_delivery)))),
		'RefundCompleted', completed,
		'RefundFailed', jsonb_build_object('guard', jsonb_build_array(customer,
			jsonb_build_object('refund_is_open', format($$coalesce(%s->>'status' = 'initiated', false)$$, refund)))));
	-- Money that comes after the order was cancelled is there all the same, and can be paid back.
	late CONSTANT jsonb := jsonb_build_object('PaymentSucceeded', jsonb_build_object('guard', jsonb_build_array(customer, currency, payment_is_open, owed)),
		'PaymentFailed', jsonb_build_object('guard', jsonb_build_array(customer, currency, payment_is_open),
			'fill', '{"attempt": "row.failures + 1", "givenUp": "true"}'::jsonb));
BEGIN
	RETURN jsonb_build_object(
		'description', 'From the order to the doorstep, and back',
		'initial', 'pending-payment',
		'create', jsonb_build_object('OrderPlaced', jsonb_build_object('target', 'pending-payment', 'guard', jsonb_build_object('total_adds_up',
			$$(event.data->>'subtotal')::numeric + (event.data->>'tax')::numeric + (event.data->>'shipping')::numeric = (event.data->>'total')::numeric$$))),
		'states', jsonb_build_object(
			'pending-payment', jsonb_build_object('on', refunds || jsonb_build_object('PaymentInitiated', initiated, 'PaymentSucceeded', succeeded, 'PaymentFailed', failed, 'OrderCancelled', cancelled)),
			'payment-failed', jsonb_build_object('on', refunds || jsonb_build_object('PaymentInitiated', initiated, 'PaymentRetried', retried, 'PaymentSucceeded', succeeded, 'PaymentFailed', failed,
				'RetryScheduled', jsonb_build_object('guard', jsonb_build_array(customer, jsonb_build_object('attempt_is_next', $$(event.data->>'attempt')::integer = row.failures$$))),
				'OrderCancelled', cancelled)),
			'confirmed', jsonb_build_object('on', refunds || jsonb_build_object(
				'OrderConfirmed', jsonb_build_object('guard', jsonb_build_array(customer, '{"not_confirmed_yet": "row.confirmation_number IS NULL"}'::jsonb)),
				'OrderShipped', plain || '{"target": "in-transit", "kind": "forward"}', 'OrderCancelled', cancelled)),
			'in-transit', jsonb_build_object('on', refunds || jsonb_build_object('OrderDelivered', plain || '{"target": "completed", "kind": "forward"}')),
			'completed', jsonb_build_object('on', refunds || jsonb_build_object('RefundCompleted', all_back)),
			'cancelled', jsonb_build_object('on', refunds || late || jsonb_build_object('RefundCompleted', all_back)),
			'refunded', '{"type": "final"}'::jsonb));
END
$fn$;
COMMENT ON FUNCTION crm.order_machine(integer, text[]) IS 'Private, for install(): the life of an order.';

CREATE FUNCTION crm.make_orders() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.purchase (
		order_id            text PRIMARY KEY,
		customer_id         text,
		cart_id             text,
		status              text,
		payment_status      text NOT NULL DEFAULT 'unpaid',
		shipping_status     text NOT NULL DEFAULT 'none',
		currency            text,
		subtotal            numeric,
		tax                 numeric,
		shipping            numeric,
		total               numeric,
		paid                numeric NOT NULL DEFAULT 0,
		refund_reserved     numeric NOT NULL DEFAULT 0,
		refunded            numeric NOT NULL DEFAULT 0,
		failures            integer NOT NULL DEFAULT 0,
		last_error_code     text,
		payments            jsonb NOT NULL DEFAULT '{}',
		refunds             jsonb NOT NULL DEFAULT '{}',
		categories          jsonb NOT NULL DEFAULT '[]',
		channel             text,
		campaign_id         text,
		confirmation_number text,
		placed_at           timestamptz,
		paid_at             timestamptz,
		confirmed_at        timestamptz,
		shipped_at          timestamptz,
		delivered_at        timestamptz,
		cancelled_at        timestamptz,
		updated_at          timestamptz,
		version             bigint,
		CONSTRAINT order_is_not_overpaid CHECK (paid <= total),
		CONSTRAINT refunds_are_not_above_payments CHECK (refund_reserved + refunded <= paid)
	);
	COMMENT ON TABLE crm.purchase IS 'Private: orders as they are now, a projection. Read the view orders.';
	CREATE INDEX IF NOT EXISTS purchase_customer_idx ON crm.purchase (customer_id, placed_at);

	CREATE TABLE IF NOT EXISTS crm.order_line (
		order_id         text,
		product_id       text,
		product_name     text,
		product_category text,
		quantity         integer NOT NULL DEFAULT 0,
		amount           numeric NOT NULL DEFAULT 0,
		PRIMARY KEY (order_id, product_id)
	);
	COMMENT ON TABLE crm.order_line IS 'Private: what was ordered, a projection. Read the view order_items.';

	CREATE TABLE IF NOT EXISTS crm.payment (
		order_id       text,
		payment_id     text,
		customer_id    text,
		status         text,
		method         text,
		provider       text,
		amount         numeric,
		currency       text,
		transaction_id text,
		error_code     text,
		is_retryable   boolean,
		initiated_at   timestamptz,
		succeeded_at   timestamptz,
		failed_at      timestamptz,
		PRIMARY KEY (order_id, payment_id)
	);
	COMMENT ON TABLE crm.payment IS 'Private: payments, a projection. Read the view payments.';

	CREATE TABLE IF NOT EXISTS crm.payment_failure (
		order_id     text,
		version      bigint,
		payment_id   text,
		customer_id  text,
		amount       numeric,
		currency     text,
		error_code   text,
		is_retryable boolean,
		attempt      integer,
		failed_at    timestamptz,
		PRIMARY KEY (order_id, version)
	);
	COMMENT ON TABLE crm.payment_failure IS 'Private: payments that failed, a projection. Read the view payment_failures.';

	CREATE TABLE IF NOT EXISTS crm.refund (
		order_id       text,
		refund_id      text,
		customer_id    text,
		status         text,
		refund_type    text,
		reason         text,
		amount         numeric,
		currency       text,
		transaction_id text,
		error_code     text,
		initiated_at   timestamptz,
		completed_at   timestamptz,
		failed_at      timestamptz,
		PRIMARY KEY (order_id, refund_id)
	);
	COMMENT ON TABLE crm.refund IS 'Private: refunds, a projection. Read the view refunds.';
END
$$;
COMMENT ON FUNCTION crm.make_orders() IS 'Private, for install(): tables of orders.';

CREATE FUNCTION crm.put_orders() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	amount CONSTANT text := $rule$(event.data->>'amount')::numeric$rule$;
	always CONSTANT text := $rule$ status = event.to_state, updated_at = event.occurred_at, version = event.version $rule$;
	key CONSTANT jsonb := $rule$ {"order_id": "event.key", "payment_id": "event.data->>'paymentId'"} $rule$;
	refund_key CONSTANT jsonb := $rule$ {"order_id": "event.key", "refund_id": "event.data->>'refundId'"} $rule$;
	payment CONSTANT text := $rule$ customer_id = event.data->>'customerId', amount = (event.data->>'amount')::numeric, currency = event.data->>'currency' $rule$;
	pays CONSTANT text := $rule$ payments = row.payments || jsonb_build_object(event.data->>'paymentId', %L) $rule$;
	refund_ended CONSTANT text := $rule$ refunds = row.refunds || jsonb_build_object(event.data->>'refundId', (row.refunds->(event.data->>'refundId')) || '{"status": "%s"}'),
		refund_reserved = row.refund_reserved - (row.refunds->(event.data->>'refundId')->>'amount')::numeric $rule$;
BEGIN
	RETURN crm.put_projection('crm.purchase', 'order', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (VALUES
				('*', NULL),
				('OrderPlaced', $rule$ customer_id = event.data->>'customerId', cart_id = event.data->>'cartId', currency = event.data->>'currency', subtotal = (event.data->>'subtotal')::numeric,
					tax = (event.data->>'tax')::numeric, shipping = (event.data->>'shipping')::numeric, total = (event.data->>'total')::numeric,
					categories = jsonb_path_query_array(event.data->'items', '$[*].category'), channel = event.data->>'channel', campaign_id = event.data->>'campaignId',
					placed_at = event.occurred_at $rule$),
				('PaymentInitiated', format(pays, 'initiated') || $rule$, payment_status = 'initiated' $rule$),
				('PaymentSucceeded', format(pays, 'succeeded') || format($rule$, paid = row.paid + %1$s, payment_status = CASE WHEN row.paid + %1$s = row.total THEN 'paid' ELSE 'partly-paid' END,
					paid_at = CASE WHEN row.paid + %1$s = row.total THEN event.occurred_at END, last_error_code = NULL $rule$, amount)),
				('PaymentFailed', format(pays, 'failed') || $rule$, payment_status = 'failed', failures = row.failures + 1, last_error_code = event.data->>'errorCode' $rule$),
				('PaymentRetried', format(pays, 'initiated') || $rule$, payment_status = 'initiated' $rule$),
				('OrderConfirmed', $rule$ confirmation_number = event.data->>'confirmationNumber', confirmed_at = event.occurred_at $rule$),
				('OrderShipped', $rule$ shipping_status = 'shipped', shipped_at = event.occurred_at $rule$),
				('OrderDelivered', $rule$ shipping_status = 'delivered', delivered_at = event.occurred_at $rule$),
				('OrderCancelled', $rule$ cancelled_at = event.occurred_at $rule$),
				('RefundInitiated', format($rule$ refunds = row.refunds || jsonb_build_object(event.data->>'refundId', jsonb_build_object('amount', event.data->'amount', 'status', 'initiated')),
					refund_reserved = row.refund_reserved + %s $rule$, amount)),
				('RefundCompleted', format(refund_ended, 'completed') || format($rule$, refunded = row.refunded + %1$s,
					payment_status = CASE WHEN row.refunded + %1$s = row.paid THEN 'refunded' ELSE 'partly-refunded' END $rule$, amount)),
				('RefundFailed', format(refund_ended, 'failed'))
			) rule (type, set)))
		+ crm.put_projection('crm.order_line', 'order', jsonb_build_object('OrderPlaced', jsonb_build_object(
			'each', $rule$ jsonb_array_elements(event.data->'items') $rule$, 'key', $rule$ {"order_id": "event.key", "product_id": "item->>'productId'"} $rule$::jsonb,
			'set', $rule$ product_name = item->>'productName', product_category = item->>'category', quantity = row.quantity + (item->>'quantity')::integer,
				amount = row.amount + (item->>'quantity')::integer * (item->>'price')::numeric $rule$)), $rule$ {"order_id": "event.key", "product_id": "event.type"} $rule$)
		+ crm.put_projection('crm.payment', 'order', jsonb_build_object(
			'PaymentInitiated', payment || $rule$, status = 'initiated', method = event.data->>'paymentMethod', provider = event.data->>'paymentProvider', initiated_at = event.occurred_at $rule$,
			'PaymentRetried', $rule$ status = 'initiated' $rule$,
			'PaymentSucceeded', payment || $rule$, status = 'succeeded', transaction_id = event.data->>'transactionId', succeeded_at = event.occurred_at, error_code = NULL $rule$,
			'PaymentFailed', payment || $rule$, status = 'failed', error_code = event.data->>'errorCode', is_retryable = (event.data->>'retryable')::boolean, failed_at = event.occurred_at $rule$), key)
		+ crm.put_projection('crm.payment_failure', 'order', jsonb_build_object(
			'PaymentFailed', payment || $rule$, payment_id = event.data->>'paymentId', error_code = event.data->>'errorCode', is_retryable = (event.data->>'retryable')::boolean,
				attempt = (event.data->>'attempt')::integer, failed_at = event.occurred_at $rule$), '{"order_id": "event.key", "version": "event.version"}')
		+ crm.put_projection('crm.refund', 'order', jsonb_build_object(
			'RefundInitiated', payment || $rule$, status = 'initiated', refund_type = event.data->>'refundType', reason = event.data->>'reason', initiated_at = event.occurred_at $rule$,
			'RefundCompleted', $rule$ status = 'completed', transaction_id = event.data->>'transactionId', completed_at = event.occurred_at $rule$,
			'RefundFailed', $rule$ status = 'failed', error_code = event.data->>'errorCode', failed_at = event.occurred_at $rule$), refund_key)
		+ crm.put_state_machine('crm_order', crm.order_machine(crm.setting('payment_retries')::integer,
			string_to_array(replace(crm.setting('refund_reasons_after_delivery'), ' ', ''), ',')));
END
$$;
COMMENT ON FUNCTION crm.put_orders() IS 'Private, for install(): tables, projections and state machine of orders.';

-- A payment that completes an order confirms it, once; one that failed is tried again
-- later, so often; a cart that was ordered is not left alone.
CREATE FUNCTION crm.put_order_reactions() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	wait CONSTANT text := format($expr$ event.occurred_at + %L::interval * %s ^ (row.failures) $expr$, crm.setting('payment_backoff'), crm.setting('payment_backoff_factor'));
BEGIN
	RETURN crm.put_reaction('crm_confirm_order', 'order', 'PaymentSucceeded', jsonb_build_object('append', 'OrderConfirmed', 'occurred_at', 'event.occurred_at', 'stream', 'event.stream',
			'data', $expr$ jsonb_build_object('customerId', event.data->'customerId', 'confirmationNumber', 'C-' || event.position) $expr$), condition => $expr$ state = 'confirmed' $expr$)
		+ crm.put_reaction('crm_schedule_retry', 'order', 'PaymentFailed', jsonb_build_object('append', 'RetryScheduled', 'occurred_at', 'event.occurred_at', 'stream', 'event.stream',
			'data', format($expr$ jsonb_build_object('customerId', event.data->'customerId', 'paymentId', event.data->'paymentId', 'attempt', event.data->'attempt', 'maxAttempts', %s,
				'retryAt', to_char(%s, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) $expr$, crm.setting('payment_retries')::integer, wait)), condition => $expr$ event.data->>'givenUp' = 'false' $expr$)
		+ crm.put_reaction('crm_retry_payment', 'order', 'RetryScheduled', jsonb_build_object('enqueue', 'crm_payment',
			'payload', $expr$ jsonb_build_object('order_id', event.key, 'payment_id', event.data->'paymentId', 'attempt', event.data->'attempt') $expr$),
			key => 'event.key', run_at => $expr$ (event.data->>'retryAt')::timestamptz $expr$)
		+ (SELECT sum(crm.put_reaction('crm_no_retry_' || lower(t.type), 'order', t.type, '{"cancel": "crm_retry_payment"}', key => 'event.key'))::integer
			 FROM (VALUES ('PaymentSucceeded'), ('OrderCancelled'), ('PaymentInitiated')) t (type))
		+ crm.put_reaction('crm_convert_cart', 'order', 'OrderPlaced', jsonb_build_object('append', 'CartConverted', 'occurred_at', 'event.occurred_at', 'stream', $expr$ 'cart-' || (event.data->>'cartId') $expr$,
			'data', $expr$ jsonb_build_object('orderId', event.key, 'customerId', event.data->'customerId') $expr$), condition => $expr$ event.data->>'cartId' IS NOT NULL $expr$)
		+ crm.put_reaction('crm_reopen_cart', 'order', 'OrderCancelled', jsonb_build_object('append', 'CartReopened', 'occurred_at', 'event.occurred_at', 'stream', $expr$ 'cart-' || row.cart_id $expr$,
			'data', $expr$ jsonb_build_object('orderId', event.key, 'customerId', event.data->'customerId') $expr$), condition => $expr$ row.cart_id IS NOT NULL $expr$)
		+ crm.put_reaction('crm_charge', 'order', 'PaymentSucceeded', jsonb_build_object('append', 'ChargePosted', 'occurred_at', 'event.occurred_at', 'stream', $expr$ 'account-' || (event.data->>'customerId') $expr$,
			'data', $expr$ jsonb_build_object('customerId', event.data->'customerId', 'orderId', event.key, 'amount', event.data->'amount', 'currency', event.data->'currency',
				'reference', 'payment ' || (event.data->>'paymentId')) $expr$), condition => $expr$ (event.data->>'amount')::numeric > 0 $expr$, settings => '{"imports": true}')
		+ crm.put_reaction('crm_pay_back', 'order', 'RefundCompleted', jsonb_build_object('append', 'RefundPosted', 'occurred_at', 'event.occurred_at', 'stream', $expr$ 'account-' || (event.data->>'customerId') $expr$,
			'data', $expr$ jsonb_build_object('customerId', event.data->'customerId', 'orderId', event.key, 'amount', event.data->'amount', 'currency', event.data->'currency',
				'reference', 'refund ' || (event.data->>'refundId')) $expr$), settings => '{"imports": true}');
END
$$;
COMMENT ON FUNCTION crm.put_order_reactions() IS 'Private, for install(): what follows from events of orders.';
-- What is read of orders, payments and refunds.

CREATE FUNCTION crm.put_order_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('orders', 'Orders, one row each.', jsonb_build_object(
			'order_id', 'The order; its stream is order-<order_id>.', 'customer_id', 'Who ordered.', 'cart_id', 'Cart that it came from; NULL: none.', 'status', 'pending-payment, payment-failed, confirmed, in-transit, completed, cancelled or refunded.',
			'payment_status', 'unpaid, initiated, failed, partly-paid, paid, partly-refunded or refunded.', 'shipping_status', 'none, shipped or delivered.', 'currency', 'Currency of its amounts.',
			'subtotal', 'Price of the items.', 'tax', 'Tax.', 'shipping', 'Price of the shipping.', 'total', 'Sum of these.', 'paid_amount', 'What was paid.', 'refunded_amount', 'What was paid back.',
			'open_refund_amount', 'What is to be paid back and is not yet.', 'net_amount', 'What was paid and not paid back.', 'failed_payment_count', 'How often a payment failed.', 'last_error_code', 'Code of the last failure; NULL: none, or paid since.',
			'channel', 'Channel that the order came by.', 'campaign_id', 'Campaign that it came by.', 'confirmation_number', 'Confirmation number.', 'is_cancellable', 'Can it be cancelled now?', 'is_refundable', 'Is there money to pay back, and was it not delivered?',
			'placed_at', 'When it was placed.', 'paid_at', 'When all was paid.', 'confirmed_at', 'When it was confirmed.', 'shipped_at', 'When it was sent.', 'delivered_at', 'When it arrived.', 'cancelled_at', 'When it was cancelled.', 'updated_at', 'When its last event happened.'), $view$
		SELECT o.order_id, o.customer_id, o.cart_id, o.status, o.payment_status, o.shipping_status, o.currency, o.subtotal, o.tax, o.shipping, o.total,
			   o.paid AS paid_amount, o.refunded AS refunded_amount, o.refund_reserved AS open_refund_amount, o.paid - o.refunded AS net_amount,
			   o.failures AS failed_payment_count, o.last_error_code, o.channel, o.campaign_id, o.confirmation_number,
			   o.status IN ('pending-payment', 'payment-failed', 'confirmed') AS is_cancellable,
			   o.paid > o.refunded + o.refund_reserved AND o.delivered_at IS NULL AS is_refundable,
			   o.placed_at, o.paid_at, o.confirmed_at, o.shipped_at, o.delivered_at, o.cancelled_at, o.updated_at
		  FROM crm.purchase o
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('order_items', 'What was ordered, one row per order and product.', jsonb_build_object(
			'order_id', 'The order.', 'customer_id', 'Who ordered.', 'product_id', 'The product.', 'product_name', 'Its name.', 'product_category', 'Its category.', 'quantity', 'How many.',
			'amount', 'What they cost.', 'currency', 'Currency of it.', 'placed_at', 'When it was ordered.', 'is_cancelled', 'True if the order was cancelled.'), $view$
		SELECT l.order_id, o.customer_id, l.product_id, l.product_name, l.product_category, l.quantity, l.amount, o.currency, o.placed_at, o.cancelled_at IS NOT NULL AS is_cancelled
		  FROM crm.order_line l
		  JOIN crm.purchase o ON o.order_id = l.order_id
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('payments', 'Payments, one row each.', jsonb_build_object(
			'order_id', 'The order.', 'payment_id', 'The payment; one that is tried again is the same.', 'customer_id', 'Who pays.', 'status', 'initiated, succeeded or failed.', 'payment_method', 'credit-card, paypal or bank-transfer.',
			'payment_provider', 'Who carries it out.', 'amount', 'How much.', 'currency', 'Currency of it.', 'transaction_id', 'What the provider calls it.', 'error_code', 'Why it failed last.', 'is_retryable', 'May it help to try again?',
			'initiated_at', 'When it was begun.', 'succeeded_at', 'When it succeeded.', 'failed_at', 'When it failed last.'), $view$
		SELECT p.order_id, p.payment_id, p.customer_id, p.status, p.method AS payment_method, p.provider AS payment_provider, p.amount, p.currency, p.transaction_id,
			   p.error_code, p.is_retryable, p.initiated_at, p.succeeded_at, p.failed_at
		  FROM crm.payment p
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('payment_failures', 'Payments that failed, one row per attempt.', jsonb_build_object(
			'order_id', 'The order.', 'version', 'Version of the event.', 'payment_id', 'The payment.', 'customer_id', 'Who pays.', 'amount', 'How much.', 'currency', 'Currency of it.', 'error_code', 'Why.', 'message', 'The same, as it can be said to a customer.',
			'is_retryable', 'May it help to try again?', 'attempt', 'Which failure of the order it is: 1, 2 ...', 'failed_at', 'When.'), $view$
		SELECT f.order_id, f.version, f.payment_id, f.customer_id, f.amount, f.currency, f.error_code, crm.payment_error_message(f.error_code) AS message, f.is_retryable, f.attempt, f.failed_at
		  FROM crm.payment_failure f
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('refunds', 'Refunds, one row each.', jsonb_build_object(
			'order_id', 'The order.', 'refund_id', 'The refund.', 'customer_id', 'Who gets it.', 'status', 'initiated, completed or failed.', 'refund_type', 'full or partial.', 'reason', 'Why.', 'amount', 'How much.', 'currency', 'Currency of it.',
			'transaction_id', 'What the provider calls it.', 'error_code', 'Why it failed.', 'initiated_at', 'When it was begun.', 'completed_at', 'When it was paid.', 'failed_at', 'When it failed.'), $view$
		SELECT r.order_id, r.refund_id, r.customer_id, r.status, r.refund_type, r.reason, r.amount, r.currency, r.transaction_id, r.error_code, r.initiated_at, r.completed_at, r.failed_at
		  FROM crm.refund r
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('order_state_visits', 'One row per visit of an order to a status.', jsonb_build_object(
			'order_id', 'The order.', 'status', 'The status.', 'visit_number', 'Which visit of the order to this status: 1, 2 ...', 'event_type', 'Event that led there.', 'entered_at', 'From when.', 'exited_at', 'Until when; NULL: now.',
			'duration', 'How long; until now where it lasts.', 'is_current', 'True where the order is now.'), $view$
		SELECT p.key AS order_id, p.state AS status, p.visit AS visit_number, p.arrival_type AS event_type, p.entered_at, p.exited_at, p.duration, p.is_current
		  FROM eventsource.state_periods p
		 WHERE p.category = 'order' $view$);

	PERFORM crm.put_view('order_timeline', 'Everything that happened to an order, one row per event; order by version.', jsonb_build_object(
			'order_id', 'The order.', 'version', 'Place in its history: 1, 2 ...', 'occurred_at', 'When it happened.', 'actor', 'Who did it.', 'event_type', 'What happened.', 'from_status', 'Status before.', 'to_status', 'Status after.',
			'amount', 'Money that it is about; NULL: none.', 'currency', 'Currency of it.', 'detail', 'Data of the event; personal fields as the reader may see them.'), $view$
		SELECT e.key AS order_id, e.version, e.occurred_at, e.actor, e.type AS event_type, e.from_state AS from_status, e.to_state AS to_status,
			   coalesce(e.data->>'amount', e.data->>'total')::numeric AS amount, e.data->>'currency' AS currency, e.data AS detail
		  FROM eventsource.events e
		 WHERE e.category = 'order' $view$);

	PERFORM crm.put_view('customer_purchases', 'What customers bought, one row per customer and currency; orders that were paid count.', jsonb_build_object(
			'customer_id', 'The customer.', 'currency', 'Currency of the amounts.', 'order_count', 'Orders that were paid and not paid back in full.', 'delivered_order_count', 'How many of them arrived.', 'paid_amount', 'What was paid.', 'refunded_amount', 'What was paid back.',
			'lifetime_value', 'What was paid and not paid back.', 'average_order_value', 'The same by order.', 'first_order_at', 'When the first was paid.', 'last_order_at', 'When the last was.'), $view$
		SELECT o.customer_id, o.currency, count(*) FILTER (WHERE o.paid > o.refunded) AS order_count, count(*) FILTER (WHERE o.delivered_at IS NOT NULL AND o.paid > o.refunded) AS delivered_order_count,
			   sum(o.paid) AS paid_amount, sum(o.refunded) AS refunded_amount, sum(o.paid - o.refunded) AS lifetime_value,
			   round(sum(o.paid - o.refunded) / nullif(count(*) FILTER (WHERE o.paid > o.refunded), 0), 2) AS average_order_value,
			   min(o.paid_at) FILTER (WHERE o.paid > o.refunded) AS first_order_at, max(o.paid_at) FILTER (WHERE o.paid > o.refunded) AS last_order_at
		  FROM crm.purchase o
		 WHERE o.paid_at IS NOT NULL AND eventsource.may_read_category('order')
		 GROUP BY o.customer_id, o.currency $view$);
END
$$;
COMMENT ON FUNCTION crm.put_order_views() IS 'Private, for install(): views of orders.';

CREATE FUNCTION crm.payment_error_message(error_code text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE error_code
			WHEN 'CARD_DECLINED' THEN 'Your card was declined. Please try another one.'
			WHEN 'INSUFFICIENT_FUNDS' THEN 'There is not enough money on the account. Please try another way to pay.'
			WHEN 'EXPIRED_CARD' THEN 'Your card has expired. Please use another one.'
			WHEN 'INVALID_CVC' THEN 'The security code was not right. Please enter it again.'
			WHEN 'TIMEOUT' THEN 'Your bank did not answer. We try again.'
			WHEN 'RATE_LIMIT' THEN 'There was a hold-up. We try again.'
			WHEN 'SERVICE_UNAVAILABLE' THEN 'Payments are not possible at the moment. We try again.'
			ELSE 'Your payment did not go through. Please try again, or another way to pay.'
		   END
$$;
COMMENT ON FUNCTION crm.payment_error_message(text) IS 'What a customer can be told of a code of a payment that failed.';
-- Commands about carts and orders.

CREATE FUNCTION crm.append_to_cart(cart_id text, type text, data jsonb, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM eventsource.append('cart-' || cart_id, type, jsonb_strip_nulls(data), actor => actor, occurred_at => occurred_at)
$$;
COMMENT ON FUNCTION crm.append_to_cart(text, text, jsonb, text, timestamptz) IS 'Private, for commands: appends to a cart; members of data that are null are left out.';

CREATE FUNCTION crm.add_to_cart(cart_id text, product_id text, quantity integer, price numeric, currency text, customer_id text DEFAULT NULL, product_name text DEFAULT NULL,
		product_category text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_cart(cart_id, 'ItemAddedToCart', jsonb_build_object('productId', product_id, 'quantity', quantity, 'price', price, 'currency', currency,
		'customerId', customer_id, 'productName', product_name, 'productCategory', product_category), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.add_to_cart(text, text, integer, numeric, text, text, text, text, text, timestamptz) IS
	'Puts something into a cart, which begins with it if it is not there; the price is that of one, and holds for all of the product. Errors: ZE005 one_currency, ZE002 ordered already, ZE007 bad data.';

CREATE FUNCTION crm.remove_from_cart(cart_id text, product_id text, quantity integer, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_cart(cart_id, 'ItemRemovedFromCart', jsonb_build_object('productId', product_id, 'quantity', quantity), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.remove_from_cart(text, text, integer, text, timestamptz) IS 'Takes something out of a cart. Errors: ZE005 item_is_there if there are not as many in it, ZE002 ordered already.';

CREATE FUNCTION crm.start_checkout(cart_id text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_cart(cart_id, 'CheckoutStarted', '{}', actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.start_checkout(text, text, timestamptz) IS 'Begins the checkout of a cart; what it is worth, the database says. Errors: ZE005 cart_is_not_empty, ZE002.';

CREATE FUNCTION crm.complete_checkout_step(cart_id text, step text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_cart(cart_id, 'CheckoutStepCompleted', jsonb_build_object('step', step,
		'stepNumber', CASE step WHEN 'shipping' THEN 1 WHEN 'payment' THEN 2 ELSE 3 END), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.complete_checkout_step(text, text, text, timestamptz) IS 'Records a step of the checkout: shipping, payment, review. Errors: ZE002 not in the checkout, ZE007 another step.';

CREATE FUNCTION crm.append_to_order(order_id text, type text, data jsonb, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	o record;
	result eventsource.appended;
BEGIN
	SELECT v.customer_id, v.currency INTO o FROM crm.orders v WHERE v.order_id = append_to_order.order_id;
	SELECT * INTO result FROM eventsource.append('order-' || order_id, type, jsonb_strip_nulls(jsonb_build_object('customerId', o.customer_id)
			|| CASE WHEN data ? 'amount' THEN jsonb_build_object('currency', o.currency) ELSE '{}' END || jsonb_strip_nulls(data)),
		actor => actor, occurred_at => occurred_at, idempotency_key => idempotency_key);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.append_to_order(text, text, jsonb, text, timestamptz, text) IS 'Private, for commands: appends to an order, with its customer and its currency unless data has them.';

CREATE FUNCTION crm.place_order(customer_id text, items jsonb, currency text, tax numeric DEFAULT 0, shipping numeric DEFAULT 0, order_id text DEFAULT NULL, cart_id text DEFAULT NULL,
		shipping_address jsonb DEFAULT NULL, billing_address jsonb DEFAULT NULL, channel text DEFAULT NULL, campaign_id text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id CONSTANT text := coalesce(order_id, gen_random_uuid()::text);
	subtotal numeric;
BEGIN
	SELECT sum((i->>'quantity')::numeric * (i->>'price')::numeric) INTO subtotal FROM jsonb_array_elements(items) i;
	PERFORM eventsource.append('order-' || id, 'OrderPlaced', jsonb_strip_nulls(jsonb_build_object('customerId', customer_id, 'items', items, 'subtotal', subtotal, 'tax', tax,
			'shipping', shipping, 'total', subtotal + tax + shipping, 'currency', currency, 'cartId', cart_id, 'shippingAddress', shipping_address,
			'billingAddress', billing_address, 'channel', channel, 'campaignId', campaign_id)), actor => actor, occurred_at => occurred_at, expected_version => 0);
	RETURN id;
END
$$;
COMMENT ON FUNCTION crm.place_order(text, jsonb, text, numeric, numeric, text, text, jsonb, jsonb, text, text, text, timestamptz) IS
	'Places an order and returns it; items: an array of {"productId", "quantity", "price"} and perhaps "productName" and "category". Sums are the database''s. Its cart, if it came from one, counts as ordered. Errors: 40001 if the order is there, ZE007 bad data.';

CREATE FUNCTION crm.initiate_payment(order_id text, payment_id text, payment_method text, amount numeric DEFAULT NULL, payment_provider text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'PaymentInitiated', jsonb_build_object('paymentId', payment_id, 'paymentMethod', payment_method,
		'amount', coalesce(initiate_payment.amount, (SELECT o.total - o.paid_amount FROM crm.orders o WHERE o.order_id = initiate_payment.order_id)), 'paymentProvider', payment_provider),
		actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.initiate_payment(text, text, text, numeric, text, text, timestamptz) IS
	'Begins a payment of an order; amount NULL: all that is owed. Methods: credit-card, paypal, bank-transfer. Errors: ZE005 no_more_than_is_owed, payment_is_new; ZE002 paid, cancelled or unknown.';

CREATE FUNCTION crm.record_payment(order_id text, payment_id text, amount numeric DEFAULT NULL, transaction_id text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'PaymentSucceeded', jsonb_build_object('paymentId', payment_id, 'transactionId', transaction_id,
		'amount', coalesce(record_payment.amount, (SELECT p.amount FROM crm.payments p WHERE p.order_id = record_payment.order_id AND p.payment_id = record_payment.payment_id))),
		actor, occurred_at, 'paid ' || payment_id)
$$;
COMMENT ON FUNCTION crm.record_payment(text, text, numeric, text, text, timestamptz) IS
	'Records that a payment succeeded; amount NULL: as it was begun. Told again in the same words it is one payment. When all is paid the order is confirmed. Errors: ZE005 no_more_than_is_owed, payment_is_open; ZE002 paid already.';

CREATE FUNCTION crm.fail_payment(order_id text, payment_id text, error_code text, is_retryable boolean DEFAULT NULL, error_message text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.* FROM crm.payments p
	 CROSS JOIN LATERAL crm.append_to_order(p.order_id, 'PaymentFailed', jsonb_build_object('paymentId', p.payment_id, 'amount', p.amount, 'errorCode', fail_payment.error_code, 'errorMessage', fail_payment.error_message,
		'retryable', coalesce(fail_payment.is_retryable, (SELECT c.is_retryable FROM eventsource.error_codes c WHERE c.code = fail_payment.error_code), false)), fail_payment.actor, fail_payment.occurred_at) a
	 WHERE p.order_id = fail_payment.order_id AND p.payment_id = fail_payment.payment_id
$$;
COMMENT ON FUNCTION crm.fail_payment(text, text, text, boolean, text, text, timestamptz) IS
	'Records that a payment failed; is_retryable NULL: as eventsource.error_codes says of the code, and no if it does not. Which attempt it was the database counts: it is tried again, by a job of queue crm_payment, so often as setting payment_retries says. No row, no event: there is no such payment. Errors: ZE005 payment_is_open, ZE002.';

CREATE FUNCTION crm.retry_payment(order_id text, payment_id text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.* FROM crm.orders o
	 CROSS JOIN LATERAL crm.append_to_order(o.order_id, 'PaymentRetried', jsonb_build_object('paymentId', retry_payment.payment_id, 'attempt', o.failed_payment_count),
		retry_payment.actor, retry_payment.occurred_at) a
	 WHERE o.order_id = retry_payment.order_id
$$;
COMMENT ON FUNCTION crm.retry_payment(text, text, text, timestamptz) IS
	'Says that a payment which failed is being tried again; what came of it, record_payment() or fail_payment() says. Errors: ZE005 attempts_left, ZE002 it did not fail.';

CREATE FUNCTION crm.ship_order(order_id text, tracking_number text DEFAULT NULL, carrier text DEFAULT NULL, estimated_delivery text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'OrderShipped', jsonb_build_object('trackingNumber', tracking_number, 'carrier', carrier, 'estimatedDelivery', estimated_delivery), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.ship_order(text, text, text, text, text, timestamptz) IS 'Records that an order is on its way. Errors: ZE002 not paid, or cancelled.';

CREATE FUNCTION crm.deliver_order(order_id text, signed_by text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'OrderDelivered', jsonb_build_object('signedBy', signed_by), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.deliver_order(text, text, text, timestamptz) IS 'Records that an order arrived. Errors: ZE002 not on its way.';

CREATE FUNCTION crm.cancel_order(order_id text, reason text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'OrderCancelled', jsonb_build_object('reason', reason), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.cancel_order(text, text, text, timestamptz) IS 'Cancels an order that is not on its way; what was paid is to be paid back by initiate_refund(). Errors: ZE002 shipped, delivered or cancelled.';

CREATE FUNCTION crm.initiate_refund(order_id text, refund_id text, reason text, amount numeric DEFAULT NULL, items jsonb DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.* FROM crm.orders o
	 CROSS JOIN LATERAL (SELECT o.paid_amount - o.refunded_amount - o.open_refund_amount) rest (amount)
	 CROSS JOIN LATERAL crm.append_to_order(o.order_id, 'RefundInitiated', jsonb_build_object('refundId', refund_id, 'amount', coalesce(initiate_refund.amount, rest.amount),
		'reason', initiate_refund.reason, 'refundType', CASE WHEN coalesce(initiate_refund.amount, rest.amount) = rest.amount THEN 'full' ELSE 'partial' END, 'items', initiate_refund.items),
		initiate_refund.actor, initiate_refund.occurred_at) a
	 WHERE o.order_id = initiate_refund.order_id
$$;
COMMENT ON FUNCTION crm.initiate_refund(text, text, text, numeric, jsonb, text, timestamptz) IS
	'Reserves money of an order to be paid back; amount NULL: all that is left. Reasons: customer-request, quality-issue, delivery-failed, other; after the delivery those of setting refund_reasons_after_delivery. No row, no event: there is no such order. Errors: ZE005 no_more_than_was_paid, refund_is_new, reason_holds_after_delivery, refund_is_something; ZE007.';

CREATE FUNCTION crm.complete_refund(order_id text, refund_id text, transaction_id text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.* FROM crm.refunds r
	 CROSS JOIN LATERAL crm.append_to_order(r.order_id, 'RefundCompleted', jsonb_build_object('refundId', r.refund_id, 'amount', r.amount, 'transactionId', complete_refund.transaction_id),
		complete_refund.actor, complete_refund.occurred_at) a
	 WHERE r.order_id = complete_refund.order_id AND r.refund_id = complete_refund.refund_id
$$;
COMMENT ON FUNCTION crm.complete_refund(text, text, text, text, timestamptz) IS 'Records that a refund was paid. No row, no event: there is no such refund. Errors: ZE005 refund_is_open if it is paid, or failed.';

CREATE FUNCTION crm.fail_refund(order_id text, refund_id text, error_code text, error_message text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'RefundFailed', jsonb_build_object('refundId', refund_id, 'errorCode', error_code, 'errorMessage', error_message), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.fail_refund(text, text, text, text, text, timestamptz) IS 'Records that a refund could not be paid; the money may be reserved again. Errors: ZE005 refund_is_open.';
-- The ledger: charges, refunds, credits and adjustments of accounts, one per
-- customer.  A balance is the sum of its entries, per currency, kept with them and
-- replayed to prove it.

CREATE FUNCTION crm.put_ledger() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	signed CONSTANT text := $rule$ CASE WHEN event.type IN ('RefundPosted', 'CreditPosted') THEN - (event.data->>'amount')::numeric ELSE (event.data->>'amount')::numeric END $rule$;
BEGIN
	CREATE TABLE IF NOT EXISTS crm.ledger_entry (
		account_id  text,
		version     bigint,
		kind        text,
		amount      numeric,
		currency    text,
		order_id    text,
		reference   text,
		posted_by   text,
		posted_at   timestamptz,
		recorded_at timestamptz,
		PRIMARY KEY (account_id, version)
	);
	COMMENT ON TABLE crm.ledger_entry IS 'Private: entries of the ledger, a projection. Read the view ledger_entries.';

	CREATE TABLE IF NOT EXISTS crm.account_balance (
		account_id  text,
		currency    text,
		balance     numeric NOT NULL DEFAULT 0,
		charged     numeric NOT NULL DEFAULT 0,
		refunded    numeric NOT NULL DEFAULT 0,
		entry_count bigint NOT NULL DEFAULT 0,
		updated_at  timestamptz,
		PRIMARY KEY (account_id, currency)
	);
	COMMENT ON TABLE crm.account_balance IS 'Private: balances, a projection. Read the view account_balances.';

	RETURN crm.put_projection('crm.ledger_entry', 'account', jsonb_build_object('*', format($rule$ kind = CASE event.type WHEN 'ChargePosted' THEN 'charge' WHEN 'RefundPosted' THEN 'refund'
				WHEN 'CreditPosted' THEN 'credit' ELSE 'adjustment' END, amount = %s, currency = event.data->>'currency', order_id = event.data->>'orderId',
				reference = event.data->>'reference', posted_by = event.actor, posted_at = event.occurred_at, recorded_at = event.recorded_at $rule$, signed)),
			'{"account_id": "event.key", "version": "event.version"}')
		+ crm.put_projection('crm.account_balance', 'account', jsonb_build_object('*', format($rule$ balance = row.balance + %s, entry_count = row.entry_count + 1, updated_at = event.occurred_at,
				charged = row.charged + CASE WHEN event.type = 'ChargePosted' THEN (event.data->>'amount')::numeric ELSE 0 END,
				refunded = row.refunded + CASE WHEN event.type = 'RefundPosted' THEN (event.data->>'amount')::numeric ELSE 0 END $rule$, signed)),
			'{"account_id": "event.key", "currency": "event.data->>''currency''"}');
END
$$;
COMMENT ON FUNCTION crm.put_ledger() IS 'Private, for install(): tables and projections of the ledger.';

CREATE FUNCTION crm.put_ledger_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('ledger_entries', 'Entries of the ledger, one row each.', jsonb_build_object(
			'account_id', 'The account: the customer, for orders.', 'version', 'Place in its history: 1, 2 ...', 'kind', 'charge, refund, credit or adjustment.', 'amount', 'What it adds to the balance: refunds and credits are below zero.', 'currency', 'Currency of it.',
			'order_id', 'Order that it is about; NULL: none.', 'reference', 'What it goes back to.', 'posted_by', 'Actor.', 'posted_at', 'When it happened.', 'recorded_at', 'When it was recorded.', 'running_balance', 'Balance of the account in this currency after it.'), $view$
		SELECT l.account_id, l.version, l.kind, l.amount, l.currency, l.order_id, l.reference, l.posted_by, l.posted_at, l.recorded_at,
			   sum(l.amount) OVER (PARTITION BY l.account_id, l.currency ORDER BY l.version) AS running_balance
		  FROM crm.ledger_entry l
		 WHERE eventsource.may_read_category('account') $view$);
	PERFORM crm.put_view('account_balances', 'Balances, one row per account and currency.', jsonb_build_object(
			'account_id', 'The account.', 'currency', 'The currency.', 'balance', 'Sum of its entries.', 'charged_amount', 'Sum of the charges.', 'refunded_amount', 'Sum of the refunds.', 'entry_count', 'How many entries.', 'updated_at', 'When the last one was.'), $view$
		SELECT b.account_id, b.currency, b.balance, b.charged AS charged_amount, b.refunded AS refunded_amount, b.entry_count, b.updated_at
		  FROM crm.account_balance b
		 WHERE eventsource.may_read_category('account') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_ledger_views() IS 'Private, for install(): views of the ledger.';

CREATE FUNCTION crm.post_to_ledger(account_id text, kind text, amount numeric, currency text, note text DEFAULT NULL, order_id text DEFAULT NULL, reference text DEFAULT NULL,
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	type text := CASE kind WHEN 'charge' THEN 'ChargePosted' WHEN 'refund' THEN 'RefundPosted' WHEN 'credit' THEN 'CreditPosted' WHEN 'adjustment' THEN 'AdjustmentPosted' END;
	result eventsource.appended;
BEGIN
	IF type IS NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('there is no entry of kind "%s"', kind),
			DETAIL = 'Entries are of four kinds.',
			HINT = 'Give charge, refund, credit or adjustment.';
	END IF;
	SELECT * INTO result FROM eventsource.append('account-' || account_id, type, jsonb_strip_nulls(jsonb_build_object('amount', amount, 'currency', currency, 'orderId', order_id,
			'reference', reference, 'note', note)), actor => actor, occurred_at => occurred_at, idempotency_key => idempotency_key);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.post_to_ledger(text, text, numeric, text, text, text, text, text, timestamptz, text) IS
	'Posts to an account: charge adds to its balance, refund and credit take from it, adjustment does what its sign says, and needs a note. Payments and refunds of orders are posted by themselves. Errors: ZE007 bad amount or currency, or no note; 22023 another kind.';

CREATE FUNCTION crm.balance(account_id text, currency text, at timestamptz DEFAULT NULL, basis text DEFAULT 'recorded') RETURNS numeric
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(sum(l.amount), 0) FROM crm.ledger_entries l
	 WHERE l.account_id = balance.account_id AND l.currency = balance.currency
	   AND (at IS NULL OR CASE basis WHEN 'occurred' THEN l.posted_at ELSE l.recorded_at END <= at)
$$;
COMMENT ON FUNCTION crm.balance(text, text, timestamptz, text) IS
	'Balance of an account in a currency, now or at a time, by when entries were recorded or occurred; 0 for one without entries.';

CREATE FUNCTION crm.reconcile() RETURNS TABLE (account_id text, currency text, problem text, expected numeric, found numeric, event_position bigint)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT v.key->>'account_id', v.key->>'currency', 'balance differs from the replay', (v.expected->>'balance')::numeric, (v.found->>'balance')::numeric, v.event_position
	  FROM eventsource.verify_projection('crm.account_balance') v
	 UNION ALL
	SELECT l.account_id, l.currency, 'entries differ from the balance', sum(l.amount), coalesce(max(b.balance), 0), NULL
	  FROM crm.ledger_entries l
	  LEFT JOIN crm.account_balances b ON b.account_id = l.account_id AND b.currency = l.currency
	 GROUP BY l.account_id, l.currency
	HAVING sum(l.amount) IS DISTINCT FROM max(b.balance)
	 UNION ALL
	SELECT coalesce(o.customer_id, b.account_id), coalesce(o.currency, b.currency), 'charges less refunds differ from the orders', coalesce(o.net, 0), coalesce(b.net, 0), NULL
	  FROM (SELECT p.customer_id, p.currency, sum(p.net_amount) AS net FROM crm.orders p GROUP BY p.customer_id, p.currency) o
	  FULL JOIN (SELECT l.account_id, l.currency, sum(l.amount) AS net FROM crm.ledger_entries l
				  WHERE l.kind IN ('charge', 'refund') AND l.order_id IS NOT NULL GROUP BY l.account_id, l.currency) b ON b.account_id = o.customer_id AND b.currency = o.currency
	 WHERE coalesce(o.net, 0) <> coalesce(b.net, 0)
	 ORDER BY 1, 2, 3
$$;
COMMENT ON FUNCTION crm.reconcile() IS
	'Compares balances to their replay, to their entries, and charges and refunds to the orders; one row per difference, with the first event from which they part where that is known. No rows: all is well.';
-- Journeys: what customers did, in order, from all categories; funnels, campaigns,
-- and attribution read it.

CREATE FUNCTION crm.put_journeys() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.journey_event (
		stream           text,
		version          bigint,
		event_position   bigint,
		category         text,
		type             text,
		customer_id      text,
		session_id       text,
		channel          text,
		campaign_id      text,
		product_id       text,
		product_category text,
		amount           numeric,
		currency         text,
		is_imported      boolean,
		occurred_at      timestamptz,
		PRIMARY KEY (stream, version)
	);
	COMMENT ON TABLE crm.journey_event IS 'Private: what customers did, a projection. Read the view journeys.';
	CREATE INDEX IF NOT EXISTS journey_event_customer_idx ON crm.journey_event (customer_id, occurred_at);
	CREATE INDEX IF NOT EXISTS journey_event_type_idx ON crm.journey_event (type, occurred_at);

	CREATE TABLE IF NOT EXISTS crm.visit_session (
		session_id  text PRIMARY KEY,
		customer_id text,
		channel     text,
		campaign_id text,
		event_count bigint NOT NULL DEFAULT 0,
		started_at  timestamptz,
		ended_at    timestamptz
	);
	COMMENT ON TABLE crm.visit_session IS 'Private: visits, a projection. Read the view sessions.';
	CREATE INDEX IF NOT EXISTS visit_session_customer_idx ON crm.visit_session (customer_id);

	RETURN crm.put_projection('crm.visit_session', 'visit', jsonb_build_object('*', $rule$ customer_id = coalesce(row.customer_id, event.data->>'customerId'),
			channel = coalesce(row.channel, event.data->>'channel'), campaign_id = CASE WHEN row.channel IS NULL THEN event.data->>'campaignId' ELSE row.campaign_id END,
			event_count = row.event_count + 1, started_at = least(row.started_at, event.occurred_at), ended_at = greatest(row.ended_at, event.occurred_at) $rule$))
		+ crm.put_projection('crm.journey_event', '{visit,cart,order,message,customer}'::text[], jsonb_build_object('*', $rule$
			event_position = event.position, category = event.category, type = event.type, occurred_at = event.occurred_at,
			customer_id = coalesce(event.data->>'customerId', CASE WHEN event.category = 'customer' THEN event.key END),
			session_id = CASE WHEN event.category = 'visit' THEN event.key ELSE event.data->>'sessionId' END,
			channel = event.data->>'channel', campaign_id = event.data->>'campaignId', product_id = event.data->>'productId', product_category = event.data->>'productCategory',
			amount = coalesce(event.data->>'amount', event.data->>'total', event.data->>'totalValue', event.data->>'cartValue')::numeric, currency = event.data->>'currency',
			is_imported = event.is_synthetic OR coalesce(event.metadata->>'import' = 'true', false) $rule$),
		'{"stream": "event.stream", "version": "event.version"}');
END
$$;
COMMENT ON FUNCTION crm.put_journeys() IS 'Private, for install(): table and projection of journeys.';

CREATE FUNCTION crm.put_journey_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- Of a visit, or a cart, whose customer became known later, all is his.  In parts, so that
	-- who asks for a customer has an index.
	PERFORM crm.put_view('journeys', 'What customers did, one row per event; order by event_position.', jsonb_build_object(
			'customer_id', 'Who; NULL: not known. Who became known later in a visit or for a cart is known from its beginning.', 'event_position', 'Place in the log.', 'occurred_at', 'When.', 'event_type', 'What happened.', 'category', 'visit, cart, order, message or customer.',
			'stream', 'Stream of the event.', 'version', 'Its version.', 'session_id', 'Session that it happened in.', 'channel', 'Channel that it came by.', 'campaign_id', 'Campaign that it came by.', 'product_id', 'Product that it is about.', 'product_category', 'Category of that.',
			'amount', 'Money that it is about.', 'currency', 'Currency of it.', 'is_imported', 'True if an import told it.'), $view$
		SELECT j.customer_id, j.event_position, j.occurred_at, j.type AS event_type, j.category, j.stream, j.version, j.session_id, j.channel, j.campaign_id, j.product_id, j.product_category, j.amount, j.currency, j.is_imported
		  FROM crm.journey_event j
		 WHERE j.customer_id IS NOT NULL AND eventsource.may_read_category(j.category)
		 UNION ALL
		SELECT c.customer_id, j.event_position, j.occurred_at, j.type, j.category, j.stream, j.version, j.session_id, j.channel, j.campaign_id, j.product_id, j.product_category, j.amount, j.currency, j.is_imported
		  FROM crm.cart c
		  JOIN crm.journey_event j ON j.stream = 'cart-' || c.cart_id
		 WHERE j.customer_id IS NULL AND c.customer_id IS NOT NULL AND eventsource.may_read_category('cart')
		 UNION ALL
		SELECT v.customer_id, j.event_position, j.occurred_at, j.type, j.category, j.stream, j.version, j.session_id, j.channel, j.campaign_id, j.product_id, j.product_category, j.amount, j.currency, j.is_imported
		  FROM crm.visit_session v
		  JOIN crm.journey_event j ON j.stream = 'visit-' || v.session_id
		 WHERE j.customer_id IS NULL AND v.customer_id IS NOT NULL AND eventsource.may_read_category('visit')
		 UNION ALL
		SELECT NULL, j.event_position, j.occurred_at, j.type, j.category, j.stream, j.version, j.session_id, j.channel, j.campaign_id, j.product_id, j.product_category, j.amount, j.currency, j.is_imported
		  FROM crm.journey_event j
		 WHERE j.customer_id IS NULL AND eventsource.may_read_category(j.category)
		   AND NOT EXISTS (SELECT FROM crm.cart c WHERE c.customer_id IS NOT NULL AND 'cart-' || c.cart_id = j.stream)
		   AND NOT EXISTS (SELECT FROM crm.visit_session v WHERE v.customer_id IS NOT NULL AND 'visit-' || v.session_id = j.stream) $view$);

	PERFORM crm.put_view('sessions', 'Visits, one row each.', jsonb_build_object(
			'session_id', 'The session; its stream is visit-<session_id>.', 'customer_id', 'Whose; NULL: not known.', 'started_at', 'When its first event happened.', 'ended_at', 'When its last did.', 'duration', 'In between.',
			'event_count', 'How many events.', 'product_count', 'How many different products were looked at.', 'channel', 'Channel that it came by: that of its first event with one.', 'campaign_id', 'Campaign of that event.'), $view$
		SELECT v.session_id, v.customer_id, v.started_at, v.ended_at, v.ended_at - v.started_at AS duration, v.event_count,
			   (SELECT count(DISTINCT j.product_id) FROM crm.journey_event j WHERE j.stream = 'visit-' || v.session_id) AS product_count, v.channel, v.campaign_id
		  FROM crm.visit_session v
		 WHERE eventsource.may_read_category('visit') $view$);

	PERFORM crm.put_view('customer_360', 'All about a customer in one row.', jsonb_build_object(
			'customer_id', 'The customer.', 'status', 'Status of the account.', 'email', 'E-mail address; *** for who may not see personal data.', 'first_name', 'First name; *** likewise.', 'last_name', 'Last name; *** likewise.',
			'created_at', 'When the customer registered.', 'consents', 'Consents that hold, as purpose/channel joined by '' > ''.', 'email_frequency', 'How often e-mail is wanted.', 'segments', 'Segments, joined by '' > ''.', 'affinities', 'Categories that most is spent on, joined by '' > ''.',
			'order_count', 'Orders that were paid.', 'lifetime_value', 'What was paid and not paid back, per currency, joined by '' > ''.', 'last_order_at', 'When the last order was paid.', 'open_cart_count', 'Carts that are open, or were left alone.',
			'message_count', 'Messages that went out.', 'last_message_at', 'When the last did.', 'last_seen_at', 'When anything happened last.'), $view$
		SELECT c.customer_id, c.status, c.email, c.first_name, c.last_name, c.created_at,
			   (SELECT string_agg(k.purpose || '/' || k.channel, ' > ' ORDER BY k.purpose, k.channel) FROM crm.consents k WHERE k.customer_id = c.customer_id AND k.is_active) AS consents,
			   p.email_frequency, c.segments, c.affinities, o.order_count, o.lifetime_value, o.last_order_at,
			   (SELECT count(*) FROM crm.cart k WHERE k.customer_id = c.customer_id AND k.status <> 'ordered') AS open_cart_count,
			   m.message_count, m.last_message_at, (SELECT max(j.occurred_at) FROM crm.journey_event j WHERE j.customer_id = c.customer_id) AS last_seen_at
		  FROM crm.customers c
		  LEFT JOIN crm.preferences p ON p.customer_id = c.customer_id
		 CROSS JOIN LATERAL (SELECT coalesce(sum(x.order_count), 0) AS order_count, string_agg(x.lifetime_value || ' ' || x.currency, ' > ' ORDER BY x.currency) AS lifetime_value, max(x.last_order_at) AS last_order_at
							   FROM crm.customer_purchases x WHERE x.customer_id = c.customer_id) o
		 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.is_sent) AS message_count, max(x.sent_at) AS last_message_at FROM crm.messages x WHERE x.customer_id = c.customer_id) m $view$);
END
$$;
COMMENT ON FUNCTION crm.put_journey_views() IS 'Private, for install(): views of journeys.';
-- Segments: rules as data, membership as events when somebody crosses the line, in
-- either direction.  They are worked out under the customer's lock.

CREATE FUNCTION crm.segment_defaults() RETURNS TABLE (segment_id text, name text, rule text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('buyers', 'Buyers', '$.orderFrequency >= 1'),
		('high-value-customers', 'High Value Customers', '$.ltv > 1000 && $.orderFrequency > 5')
$sql$;
COMMENT ON FUNCTION crm.segment_defaults() IS 'Private: segments of the documents, unless define_segment() has changed them.';

CREATE FUNCTION crm.put_segments() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.segment (
		segment_id text PRIMARY KEY,
		name       text,
		rule       text,
		is_dropped boolean NOT NULL DEFAULT false,
		defined_at timestamptz,
		defined_by text
	);
	COMMENT ON TABLE crm.segment IS 'Private: segments that were defined, a projection. Read the view segments.';

	CREATE TABLE IF NOT EXISTS crm.segment_change (
		customer_id text,
		version     bigint,
		segment_id  text,
		is_added    boolean NOT NULL DEFAULT false,
		reason      text,
		criteria    jsonb,
		actor       text,
		changed_at  timestamptz,
		PRIMARY KEY (customer_id, version)
	);
	COMMENT ON TABLE crm.segment_change IS 'Private: customers who entered and left segments, a projection. Read the view segment_history.';

	RETURN crm.put_projection('crm.segment', 'segment', jsonb_build_object(
			'SegmentDefined', $rule$ name = event.data->>'segmentName', rule = event.data->>'rule', is_dropped = false, defined_at = event.occurred_at, defined_by = event.actor $rule$,
			'SegmentDropped', $rule$ is_dropped = true, defined_at = event.occurred_at, defined_by = event.actor $rule$))
		+ crm.put_projection('crm.segment_change', 'customer', jsonb_build_object(
			'CustomerSegmentAdded', $rule$ segment_id = event.data->>'segmentId', is_added = true, criteria = event.data->'criteria', actor = event.actor, changed_at = event.occurred_at $rule$,
			'CustomerSegmentRemoved', $rule$ segment_id = event.data->>'segmentId', reason = event.data->>'reason', actor = event.actor, changed_at = event.occurred_at $rule$),
			'{"customer_id": "event.key", "version": "event.version"}');
END
$$;
COMMENT ON FUNCTION crm.put_segments() IS 'Private, for install(): tables and projections of segments.';

CREATE FUNCTION crm.put_segment_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('segment_history', 'Who was in which segment, from when to when: one row per stay.', jsonb_build_object(
			'customer_id', 'The customer.', 'segment_id', 'The segment.', 'version', 'Version of the event that began it.', 'entered_at', 'From when.', 'left_at', 'Until when; NULL: now.', 'duration', 'How long; until now where it lasts.',
			'criteria', 'What spoke for it.', 'left_reason', 'Why it ended.', 'is_current', 'True while it lasts.'), $view$
		SELECT s.customer_id, s.segment_id, s.version, s.changed_at AS entered_at, s.left_at, greatest(coalesce(s.left_at, now()) - s.changed_at, '0') AS duration, s.criteria, s.left_reason, s.left_at IS NULL AS is_current
		  FROM (SELECT x.*, lead(x.changed_at) OVER w AS left_at, lead(x.reason) OVER w AS left_reason
				  FROM crm.segment_change x WINDOW w AS (PARTITION BY x.customer_id, x.segment_id ORDER BY x.version)) s
		 WHERE s.is_added AND eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('segment_members', 'Who is in which segment now, one row per customer and segment.', jsonb_build_object(
			'segment_id', 'The segment.', 'customer_id', 'The customer.', 'entered_at', 'Since when.', 'criteria', 'What spoke for it.'), $view$
		SELECT h.segment_id, h.customer_id, h.entered_at, h.criteria FROM crm.segment_history h WHERE h.is_current $view$);

	PERFORM crm.put_view('segments', 'Segments, one row each.', jsonb_build_object(
			'segment_id', 'The segment.', 'segment_name', 'Its name.', 'rule', 'jsonpath over what customer_metrics() says; NULL: nobody enters or leaves by rule.', 'is_default', 'True if it is one of the documents and was not changed.', 'is_dropped', 'True if it is not worked out any more.',
			'member_count', 'How many are in it.'), $view$
		SELECT s.segment_id, s.segment_name, s.rule, s.is_default, s.is_dropped, (SELECT count(*) FROM crm.segment_members m WHERE m.segment_id = s.segment_id) AS member_count
		  FROM (SELECT d.segment_id, d.name AS segment_name, d.rule, true AS is_default, false AS is_dropped
				  FROM crm.segment_defaults() d WHERE NOT EXISTS (SELECT FROM crm.segment x WHERE x.segment_id = d.segment_id)
				 UNION ALL SELECT x.segment_id, x.name, x.rule, false, x.is_dropped FROM crm.segment x
				 UNION ALL SELECT DISTINCT c.segment_id, NULL, NULL, false, false FROM crm.segment_change c
							WHERE NOT EXISTS (SELECT FROM crm.segment x WHERE x.segment_id = c.segment_id)
							  AND NOT EXISTS (SELECT FROM crm.segment_defaults() d WHERE d.segment_id = c.segment_id)) s
		 WHERE eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('product_affinities', 'What customers spend on categories of products, one row per customer, currency and category.', jsonb_build_object(
			'customer_id', 'The customer.', 'currency', 'Currency of the amounts.', 'product_category', 'The category.', 'amount', 'What was spent on it, in orders that were paid and not paid back in full.', 'affinity_score', 'The same, of all that was spent: 0 to 1.'), $view$
		SELECT i.customer_id, o.currency, i.product_category, sum(i.amount) AS amount,
			   round(sum(i.amount) / nullif(sum(sum(i.amount)) OVER (PARTITION BY i.customer_id, o.currency), 0), 4) AS affinity_score
		  FROM crm.order_items i
		  JOIN crm.orders o ON o.order_id = i.order_id
		 WHERE o.paid_at IS NOT NULL AND o.net_amount > 0 AND i.product_category IS NOT NULL
		 GROUP BY i.customer_id, o.currency, i.product_category $view$);
END
$$;
COMMENT ON FUNCTION crm.put_segment_views() IS 'Private, for install(): views of segments.';

CREATE FUNCTION crm.customer_metrics(customer_id text) RETURNS SETOF jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('currency', p.currency, 'ltv', coalesce(p.lifetime_value, 0), 'orderFrequency', coalesce(p.order_count, 0), 'deliveredOrders', coalesce(p.delivered_order_count, 0),
				'averageOrderValue', p.average_order_value, 'daysSinceLastOrder', extract(epoch FROM now() - p.last_order_at) / 86400, 'status', c.status,
				'daysSinceRegistration', extract(epoch FROM now() - c.created_at) / 86400))
	  FROM crm.customers c
	  LEFT JOIN crm.customer_purchases p ON p.customer_id = c.customer_id
	 WHERE c.customer_id = customer_metrics.customer_id
$$;
COMMENT ON FUNCTION crm.customer_metrics(text) IS
	'What rules of segments see of a customer, one row per currency that something was bought in: ltv (paid and not paid back), orderFrequency (orders that were paid), deliveredOrders, averageOrderValue, daysSinceLastOrder, daysSinceRegistration, currency, status.';

CREATE FUNCTION crm.define_segment(segment_id text, rule text, name text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	unknown text;
BEGIN
	BEGIN
		PERFORM rule::jsonpath;
		-- A rule that says nothing, or no truth, of an example is a mistake.
		IF jsonb_path_match('{"currency": "EUR", "ltv": 1, "orderFrequency": 1, "deliveredOrders": 1, "averageOrderValue": 1, "daysSinceLastOrder": 1, "daysSinceRegistration": 1, "status": "active"}'::jsonb, rule::jsonpath) IS NULL THEN
			RAISE data_exception USING MESSAGE = 'it is neither true nor false of a customer';
		END IF;
	EXCEPTION WHEN data_exception OR syntax_error THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('invalid rule of segment "%s"', segment_id),
			DETAIL = format('"%s": %s.', rule, SQLERRM),
			HINT = 'Give a jsonpath predicate: $.ltv > 1000 && $.orderFrequency > 5.';
	END;
	SELECT string_agg(m[1], ', ') INTO unknown FROM regexp_matches(rule, '\$\.(\w+)', 'g') m
	 WHERE m[1] NOT IN ('currency', 'ltv', 'orderFrequency', 'deliveredOrders', 'averageOrderValue', 'daysSinceLastOrder', 'daysSinceRegistration', 'status');
	IF unknown IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('invalid rule of segment "%s"', segment_id),
			DETAIL = format('Nothing is known of %s.', unknown),
			HINT = 'See crm.customer_metrics() for what is known of customers.';
	END IF;
	PERFORM eventsource.append('segment-' || segment_id, 'SegmentDefined', jsonb_strip_nulls(jsonb_build_object('rule', rule, 'segmentName', name)));
END
$$;
COMMENT ON FUNCTION crm.define_segment(text, text, text) IS
	'Says who belongs to a segment: a jsonpath predicate over what customer_metrics() says; who bought in several currencies belongs to it if it holds for one. recalculate_segments() puts it into effect. Errors: 22023 bad rule.';

CREATE FUNCTION crm.drop_segment(segment_id text) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.append('segment-' || segment_id, 'SegmentDropped')
$$;
COMMENT ON FUNCTION crm.drop_segment(text) IS 'A segment is not worked out any more; who is in it leaves with the next recalculate_segments().';

CREATE FUNCTION crm.add_to_segment(customer_id text, segment_id text, criteria jsonb DEFAULT NULL, actor text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	PERFORM eventsource.lock_stream('customer-' || customer_id);
	IF EXISTS (SELECT FROM crm.segment_members m WHERE m.customer_id = add_to_segment.customer_id AND m.segment_id = add_to_segment.segment_id) THEN
		RETURN false;
	END IF;
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerSegmentAdded', jsonb_strip_nulls(jsonb_build_object('segmentId', segment_id, 'criteria', criteria,
			'segmentName', (SELECT s.segment_name FROM crm.segments s WHERE s.segment_id = add_to_segment.segment_id))), actor => actor);
	RETURN true;
END
$$;
COMMENT ON FUNCTION crm.add_to_segment(text, text, jsonb, text) IS 'Puts a customer into a segment; false: was in it. Errors: ZE002 closed, deleted or unknown customer.';

CREATE FUNCTION crm.remove_from_segment(customer_id text, segment_id text, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	PERFORM eventsource.lock_stream('customer-' || customer_id);
	IF NOT EXISTS (SELECT FROM crm.segment_members m WHERE m.customer_id = remove_from_segment.customer_id AND m.segment_id = remove_from_segment.segment_id) THEN
		RETURN false;
	END IF;
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerSegmentRemoved', jsonb_strip_nulls(jsonb_build_object('segmentId', segment_id, 'reason', reason)), actor => actor);
	RETURN true;
END
$$;
COMMENT ON FUNCTION crm.remove_from_segment(text, text, text, text) IS 'Takes a customer out of a segment; false: was not in it. Errors: ZE002 deleted or unknown customer.';

-- Only who crosses the line leads to an event.
CREATE FUNCTION crm.recalculate_segments(customer_id text) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
	s record;
	n integer := 0;
BEGIN
	PERFORM eventsource.lock_stream('customer-' || recalculate_segments.customer_id);
	SELECT v.status, v.segments, v.affinities INTO c FROM crm.customers v WHERE v.customer_id = recalculate_segments.customer_id;
	IF c.status IS NULL OR c.status IN ('deactivated', 'deleted') THEN
		RETURN 0;
	END IF;
	FOR s IN SELECT g.segment_id, m.criteria, m.criteria IS NOT NULL AND NOT g.is_dropped AS belongs,
					g.segment_id = ANY (string_to_array(coalesce(c.segments, ''), ' > ')) AS is_member, g.is_dropped
			   FROM crm.segments g
			   LEFT JOIN LATERAL (SELECT x AS criteria FROM crm.customer_metrics(recalculate_segments.customer_id) x
								   WHERE jsonb_path_match(x, g.rule::jsonpath, silent => true) ORDER BY x LIMIT 1) m ON true
			  WHERE g.rule IS NOT NULL OR g.is_dropped
			  ORDER BY g.segment_id LOOP
		IF s.belongs AND NOT s.is_member THEN
			n := n + crm.add_to_segment(recalculate_segments.customer_id, s.segment_id, s.criteria)::integer;
		ELSIF s.is_member AND NOT s.belongs THEN
			n := n + crm.remove_from_segment(recalculate_segments.customer_id, s.segment_id, CASE WHEN s.is_dropped THEN 'segment-dropped' ELSE 'rule' END)::integer;
		END IF;
	END LOOP;
	FOR s IN SELECT coalesce(a.product_category, k.category) AS category, coalesce(a.score, 0) AS score, coalesce(a.score, 0) > crm.setting('affinity_threshold')::numeric AS belongs, k.category IS NOT NULL AS is_member
			   FROM (SELECT p.product_category, max(p.affinity_score) AS score FROM crm.product_affinities p
					  WHERE p.customer_id = recalculate_segments.customer_id GROUP BY p.product_category) a
			   FULL JOIN unnest(string_to_array(c.affinities, ' > ')) k (category) ON k.category = a.product_category
			  ORDER BY 1 LOOP
		IF s.belongs <> s.is_member THEN
			PERFORM eventsource.append('customer-' || recalculate_segments.customer_id, CASE WHEN s.belongs THEN 'ProductAffinityDetected' ELSE 'ProductAffinityEnded' END,
						jsonb_build_object('category', s.category, 'affinityScore', s.score));
			n := n + 1;
		END IF;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION crm.recalculate_segments(text) IS
	'Works out the segments and affinities of a customer; returns how many changed. It is done by itself, by run_due, when an order is paid, delivered or paid back.';

CREATE FUNCTION crm.recalculate_segments() RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n integer;
BEGIN
	SELECT coalesce(sum(crm.recalculate_segments(c.customer_id)), 0) INTO n FROM (SELECT x.customer_id FROM crm.customers x ORDER BY x.customer_id) c;
	PERFORM eventsource.append('segment-all', 'SegmentationRecalculated', jsonb_build_object('segmentCount', (SELECT count(*) FROM crm.segments s WHERE NOT s.is_dropped)));
	RETURN n;
END
$$;
COMMENT ON FUNCTION crm.recalculate_segments() IS 'Works out the segments of all customers: after a rule was changed, and from time to time, for rules that look at days. Returns how many memberships changed.';

CREATE FUNCTION crm.segments_due(event eventsource.events, call jsonb) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.recalculate_segments(event.data->>'customerId');
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.segments_due(eventsource.events, jsonb) IS 'Private, for reactions: works out the segments of an order''s customer.';

CREATE FUNCTION crm.put_segment_reactions() RETURNS integer
	LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT sum(crm.put_reaction('crm_segments_' || lower(t.type), 'order', t.type, '{"call": "crm.segments_due(eventsource.events,jsonb)"}', key => $expr$ event.data->>'customerId' $expr$))::integer
	  FROM (VALUES ('PaymentSucceeded'), ('OrderDelivered'), ('RefundCompleted')) t (type)
$$;
COMMENT ON FUNCTION crm.put_segment_reactions() IS 'Private, for install(): what orders mean to segments.';
-- Recency, frequency, monetary value; customer lifetime value.  One basis for all
-- three: orders that were paid, net of what was paid back, in one currency, as of one
-- moment.

CREATE FUNCTION crm.paid_orders(as_of timestamptz DEFAULT now()) RETURNS TABLE (customer_id text, order_id text, currency text, paid_at timestamptz, net_amount numeric)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT o.customer_id, o.order_id, o.currency, o.paid_at, o.paid_amount - coalesce(sum(r.amount), 0)
	  FROM crm.orders o
	  LEFT JOIN crm.refunds r ON r.order_id = o.order_id AND r.status = 'completed' AND r.completed_at <= as_of
	 WHERE o.paid_at <= as_of
	 GROUP BY o.customer_id, o.order_id, o.currency, o.paid_at, o.paid_amount
	HAVING o.paid_amount > coalesce(sum(r.amount), 0)
$$;
COMMENT ON FUNCTION crm.paid_orders(timestamptz) IS
	'Orders that were paid by then, with what was paid and, by then, not paid back; those of which nothing is left are no purchases.';

CREATE FUNCTION crm.rfm_segment_rules() RETURNS TABLE (priority integer, segment text, min_r integer, max_r integer, min_f integer, max_f integer, min_m integer, max_m integer)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		(1, 'champions',       4, 5, 4, 5, 4, 5),
		(2, 'at-risk',         1, 2, 3, 5, 3, 5),
		(3, 'loyal-customers', 1, 5, 4, 5, 1, 5),
		(4, 'new-customers',   4, 5, 1, 2, 1, 5),
		(5, 'needs-attention', 1, 5, 1, 5, 1, 5)
$sql$;
COMMENT ON FUNCTION crm.rfm_segment_rules() IS
	'Segments by scores, first match by priority. Lapsed customers come before loyal ones: who bought often, and long ago, is at risk.';

CREATE FUNCTION crm.rfm(as_of timestamptz DEFAULT now(), method text DEFAULT 'percent_rank', currency text DEFAULT NULL,
		recency_breaks numeric[] DEFAULT '{30,60,90,180}', frequency_breaks numeric[] DEFAULT '{2,3,5,10}', monetary_breaks numeric[] DEFAULT '{50,100,500,1000}')
	RETURNS TABLE (customer_id text, currency_code text, recency_days numeric, frequency bigint, monetary numeric, r_score integer, f_score integer, m_score integer, rfm_score text, segment text, last_order_at timestamptz)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF method IS NULL OR method NOT IN ('percent_rank', 'ntile', 'fixed') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('method "%s" is unknown', method),
			DETAIL = 'Scores from 1 to 5 are given by rank, by groups of equal size, or by fixed limits.',
			HINT = 'Give percent_rank, ntile or fixed.';
	END IF;
	RETURN QUERY
	SELECT s.customer_id, s.currency, s.recency_days, s.frequency, s.monetary, s.r, s.f, s.m, s.r || '' || s.f || s.m, rule.segment, s.last_order_at
	  FROM (SELECT b.customer_id, b.currency, b.last_order_at, b.recency_days, b.frequency, b.monetary,
				   CASE rfm.method WHEN 'percent_rank' THEN least(1 + floor(5 * percent_rank() OVER (PARTITION BY b.currency ORDER BY b.last_order_at)), 5)::integer
						WHEN 'ntile' THEN ntile(5) OVER (PARTITION BY b.currency ORDER BY b.last_order_at, b.customer_id)
						ELSE 5 - width_bucket(b.recency_days, rfm.recency_breaks) END AS r,
				   CASE rfm.method WHEN 'percent_rank' THEN least(1 + floor(5 * percent_rank() OVER (PARTITION BY b.currency ORDER BY b.frequency)), 5)::integer
						WHEN 'ntile' THEN ntile(5) OVER (PARTITION BY b.currency ORDER BY b.frequency, b.customer_id)
						ELSE 1 + width_bucket(b.frequency::numeric, rfm.frequency_breaks) END AS f,
				   CASE rfm.method WHEN 'percent_rank' THEN least(1 + floor(5 * percent_rank() OVER (PARTITION BY b.currency ORDER BY b.monetary)), 5)::integer
						WHEN 'ntile' THEN ntile(5) OVER (PARTITION BY b.currency ORDER BY b.monetary, b.customer_id)
						ELSE 1 + width_bucket(b.monetary, rfm.monetary_breaks) END AS m
			  FROM (SELECT p.customer_id, p.currency, max(p.paid_at) AS last_order_at, round(extract(epoch FROM rfm.as_of - max(p.paid_at)) / 86400, 4) AS recency_days,
						   count(*) AS frequency, sum(p.net_amount) AS monetary
					  FROM crm.paid_orders(rfm.as_of) p
					 WHERE coalesce(p.currency = rfm.currency, true)
					 GROUP BY p.customer_id, p.currency) b) s
	 CROSS JOIN LATERAL (SELECT x.segment FROM crm.rfm_segment_rules() x
						  WHERE s.r BETWEEN x.min_r AND x.max_r AND s.f BETWEEN x.min_f AND x.max_f AND s.m BETWEEN x.min_m AND x.max_m ORDER BY x.priority LIMIT 1) rule
	 UNION ALL
	-- Who bought nothing has no scores: that is not the same as a bad one.
	SELECT c.customer_id, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, 'no-orders', NULL
	  FROM crm.customers c
	 WHERE c.created_at <= rfm.as_of AND rfm.currency IS NULL AND c.status <> 'deleted'
	   AND NOT EXISTS (SELECT FROM crm.paid_orders(rfm.as_of) p WHERE p.customer_id = c.customer_id);
END
$$;
COMMENT ON FUNCTION crm.rfm(timestamptz, text, text, numeric[], numeric[], numeric[]) IS
	'Recency, frequency and monetary value of customers as of a moment, one row per customer and currency, with scores from 1 to 5 (5 is best) among those who bought in the currency. method: percent_rank gives equal customers equal scores; ntile makes five groups of a size and parts equal ones by customer_id; fixed goes by the breaks, each of which is the beginning of the next score. Who bought nothing has NULLs. Errors: 22023 unknown method.';

CREATE FUNCTION crm.clv_summary(period_end timestamptz DEFAULT now(), currency text DEFAULT NULL)
	RETURNS TABLE (customer_id text, currency_code text, frequency bigint, recency integer, t integer, monetary_value numeric)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT d.customer_id, d.currency, count(*) - 1, max(d.day) - min(d.day), (period_end AT TIME ZONE 'UTC')::date - min(d.day),
		   coalesce(round(avg(d.amount) FILTER (WHERE d.day > d.first_day), 4), 0)
	  FROM (SELECT p.customer_id, p.currency, (p.paid_at AT TIME ZONE 'UTC')::date AS day, sum(p.net_amount) AS amount,
				   min(min((p.paid_at AT TIME ZONE 'UTC')::date)) OVER (PARTITION BY p.customer_id, p.currency) AS first_day
			  FROM crm.paid_orders(period_end) p
			 WHERE coalesce(p.currency = clv_summary.currency, true)
			 GROUP BY p.customer_id, p.currency, (p.paid_at AT TIME ZONE 'UTC')::date) d
	 GROUP BY d.customer_id, d.currency
$$;
COMMENT ON FUNCTION crm.clv_summary(timestamptz, text) IS
	'What models of customer lifetime value (BG/NBD, gamma-gamma) begin with, as package lifetimes has it: frequency: days with repeat purchases; recency: days from the first to the last; t: days from the first to the end of the period; monetary_value: mean of the repeat days, 0 without. Days are those of UTC.';

CREATE FUNCTION crm.put_rfm_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('rfm_segments', 'Recency, frequency and monetary value now, one row per customer and currency; see rfm().', jsonb_build_object(
			'customer_id', 'The customer.', 'currency', 'Currency; NULL: bought nothing.', 'recency_days', 'Days since the last order.', 'frequency', 'Orders.', 'monetary', 'What was paid and not paid back.', 'r_score', '1 to 5; 5: of late.', 'f_score', '1 to 5; 5: often.', 'm_score', '1 to 5; 5: much.',
			'rfm_score', 'The three digits.', 'segment', 'champions, at-risk, loyal-customers, new-customers, needs-attention or no-orders.', 'last_order_at', 'When the last order was paid.'), $view$
		SELECT r.customer_id, r.currency_code AS currency, r.recency_days, r.frequency, r.monetary, r.r_score, r.f_score, r.m_score, r.rfm_score, r.segment, r.last_order_at FROM crm.rfm() r $view$);
	PERFORM crm.put_view('customer_lifetime_values', 'What models of lifetime value begin with, as of now, one row per customer and currency; see clv_summary().', jsonb_build_object(
			'customer_id', 'The customer.', 'currency', 'Currency.', 'frequency', 'Days with repeat purchases.', 'recency', 'Days from the first purchase to the last.', 't', 'Days since the first.', 'monetary_value', 'Mean of the repeat days.'), $view$
		SELECT c.customer_id, c.currency_code AS currency, c.frequency, c.recency, c.t, c.monetary_value FROM crm.clv_summary() c $view$);
END
$$;
COMMENT ON FUNCTION crm.put_rfm_views() IS 'Private, for install(): views of RFM and lifetime value.';
-- Funnels: how far customers come, in order, and where they stop.  A stage is a set of
-- event types.  Stages that are skipped do not count unless one asks for it.

CREATE FUNCTION crm.window_funnel_step(state jsonb, period interval, mode text, ts timestamptz, VARIADIC conditions boolean[]) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN ts IS NULL THEN s.state ELSE jsonb_set(s.state, '{events}', s.state->'events' || jsonb_build_array(jsonb_build_array(extract(epoch FROM ts),
				(SELECT coalesce(jsonb_agg(c.n), '[0]') FROM unnest(conditions) WITH ORDINALITY c (holds, n) WHERE c.holds)))) END
	  FROM (SELECT coalesce(window_funnel_step.state, jsonb_build_object('period', extract(epoch FROM period), 'mode', coalesce(mode, ''), 'depth', cardinality(conditions), 'events', '[]'::jsonb))) s (state)
$$;
COMMENT ON FUNCTION crm.window_funnel_step(jsonb, interval, text, timestamptz, boolean[]) IS 'Private, for window_funnel().';

-- Per level, the chains that reached it: when they began, when they reached it, and the
-- events that they are made of.  Without strict_once the last one is enough.
CREATE FUNCTION crm.window_funnel_end(state jsonb) RETURNS integer
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	depth CONSTANT integer := coalesce((state->>'depth')::integer, 0);
	period CONSTANT numeric := (state->>'period')::numeric;
	modes CONSTANT text[] := string_to_array(replace(coalesce(state->>'mode', ''), ' ', ''), ',');
	once CONSTANT boolean := 'strict_once' = ANY (modes);
	in_order CONSTANT boolean := 'strict_order' = ANY (modes);
	increasing CONSTANT boolean := 'strict_increase' = ANY (modes);
	chains jsonb[] := array_fill('[]'::jsonb, ARRAY[greatest(depth, 1)]);
	found jsonb;
	best integer := 0;
	e record;
BEGIN
	IF NOT modes <@ '{strict_deduplication,strict_order,strict_increase,strict_once,allow_reentry}' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('mode "%s" is unknown', state->>'mode'),
			DETAIL = 'Modes are those of ClickHouse''s windowFunnel, joined by commas.',
			HINT = 'Give strict_deduplication, strict_order, strict_increase, strict_once or allow_reentry.';
	END IF;
	FOR e IN SELECT (x.event->>0)::numeric AS ts, l.level::integer AS level, x.n
			   FROM jsonb_array_elements(state->'events') WITH ORDINALITY x (event, n), jsonb_array_elements_text(x.event->1) l (level)
			  ORDER BY 1, 2, 3 LOOP
		IF e.level = 0 THEN
			-- Something else happened in between.
			EXIT WHEN in_order AND best > 0;
		ELSIF e.level = 1 THEN
			found := jsonb_build_array(jsonb_build_array(e.ts, e.ts, jsonb_build_array(e.n)));
			chains[1] := CASE WHEN once THEN chains[1] || found ELSE found END;
			best := greatest(best, 1);
		ELSIF 'strict_deduplication' = ANY (modes) AND chains[e.level] <> '[]' THEN
			RETURN best;
		ELSIF chains[e.level - 1] = '[]' THEN
			IF in_order AND best > 0 AND NOT 'allow_reentry' = ANY (modes) THEN
				RETURN best;
			END IF;
		ELSE
			SELECT jsonb_agg(jsonb_build_array(c.chain->0, e.ts, c.chain->2 || to_jsonb(e.n))) INTO found
			  FROM jsonb_array_elements(chains[e.level - 1]) c (chain)
			 WHERE e.ts <= (c.chain->>0)::numeric + period AND NOT (increasing AND (c.chain->>1)::numeric >= e.ts) AND NOT (once AND c.chain->2 @> to_jsonb(e.n));
			IF found IS NOT NULL THEN
				chains[e.level] := CASE WHEN once THEN chains[e.level] || found ELSE found END;
				best := greatest(best, e.level);
			END IF;
			EXIT WHEN best = depth;
		END IF;
	END LOOP;
	RETURN best;
END
$$;
COMMENT ON FUNCTION crm.window_funnel_end(jsonb) IS 'Private, for window_funnel(). Errors: 22023 unknown mode.';

CREATE AGGREGATE crm.window_funnel(period interval, mode text, ts timestamptz, VARIADIC conditions boolean[]) (
	SFUNC = crm.window_funnel_step, STYPE = jsonb, FINALFUNC = crm.window_funnel_end, PARALLEL = SAFE);
COMMENT ON AGGREGATE crm.window_funnel(interval, text, timestamptz, boolean[]) IS
	'How many of the conditions held, one after the other, within a period (inclusive) from when the first did: the deepest level that was reached. mode: '''' or strict_deduplication, strict_order, strict_increase, strict_once, allow_reentry, joined by commas, as ClickHouse''s windowFunnel has them. Of equal times the earlier condition counts first, and an event for which several conditions hold counts for each, unless strict_once. Errors: 22023 unknown mode.';

CREATE FUNCTION crm.funnel_defaults() RETURNS TABLE (funnel_id text, steps jsonb)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES ('purchase', '[{"name": "awareness", "events": ["PageViewed", "ProductViewed"]}, {"name": "consideration", "events": ["ProductCompared", "ReviewRead"]},
		{"name": "intent", "events": ["ItemAddedToCart", "CartCreated"]}, {"name": "checkout", "events": ["CheckoutStarted", "CheckoutStepCompleted"]},
		{"name": "purchase", "events": ["OrderPlaced", "PaymentSucceeded"]}]'::jsonb)
$sql$;
COMMENT ON FUNCTION crm.funnel_defaults() IS 'Private: the funnel of the documents, unless define_funnel() has changed it.';

CREATE FUNCTION crm.put_funnels() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.funnel_definition (
		funnel_id  text PRIMARY KEY,
		steps      jsonb,
		defined_at timestamptz,
		defined_by text
	);
	COMMENT ON TABLE crm.funnel_definition IS 'Private: funnels that were defined, a projection. Read the view funnel_stages.';
	RETURN crm.put_projection('crm.funnel_definition', 'funnel', jsonb_build_object('FunnelDefined', $rule$ steps = event.data->'steps', defined_at = event.occurred_at, defined_by = event.actor $rule$));
END
$$;
COMMENT ON FUNCTION crm.put_funnels() IS 'Private, for install(): table and projection of funnels.';

CREATE FUNCTION crm.put_funnel_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('funnel_stages', 'Funnels, one row per stage.', jsonb_build_object(
			'funnel_id', 'The funnel.', 'step_number', 'Place of the stage: 1, 2 ...', 'stage', 'Its name.', 'event_types', 'Events that reach it, joined by '' > ''.', 'is_default', 'True if it is the documents'' and was not changed.'), $view$
		SELECT f.funnel_id, s.n::integer AS step_number, s.step->>'name' AS stage, (SELECT string_agg(t, ' > ') FROM jsonb_array_elements_text(s.step->'events') t) AS event_types, f.is_default
		  FROM (SELECT d.funnel_id, d.steps, true AS is_default FROM crm.funnel_defaults() d WHERE NOT EXISTS (SELECT FROM crm.funnel_definition x WHERE x.funnel_id = d.funnel_id)
				 UNION ALL SELECT x.funnel_id, x.steps, false FROM crm.funnel_definition x) f
		 CROSS JOIN LATERAL jsonb_array_elements(f.steps) WITH ORDINALITY s (step, n) $view$);

	PERFORM crm.put_view('funnel_dropoffs', 'Where customers of funnel purchase stand who have not come to its end, one row each.', jsonb_build_object(
			'customer_id', 'The customer.', 'stage', 'Last stage that was reached.', 'next_stage', 'The one that was not.', 'last_activity_at', 'When the last stage was reached.', 'idle_time', 'How long that is ago.',
			'dropoff_likelihood', 'Of those who stood there and were idle for as long, how many did not go on: 0 to 1; NULL: there were none.'), $view$
		SELECT d.customer_id, d.stage, d.next_stage, d.last_activity_at, d.idle_time, d.dropoff_likelihood FROM crm.funnel_dropoff('purchase') d $view$);
END
$$;
COMMENT ON FUNCTION crm.put_funnel_views() IS 'Private, for install(): views of funnels.';

CREATE FUNCTION crm.funnel_steps(funnel_id text) RETURNS TABLE (n integer, name text, step jsonb)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT f.step_number, f.stage, jsonb_build_object('name', f.stage, 'events', to_jsonb(string_to_array(f.event_types, ' > ')))
	  FROM crm.funnel_stages f WHERE f.funnel_id = funnel_steps.funnel_id ORDER BY f.step_number
$$;
COMMENT ON FUNCTION crm.funnel_steps(text) IS 'Private: the stages of a funnel.';

CREATE FUNCTION crm.define_funnel(funnel_id text, steps jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	problems text;
BEGIN
	SELECT string_agg(p.problem, '; ') INTO problems FROM (
		SELECT 'a funnel has two stages or more' AS problem WHERE jsonb_typeof(steps) <> 'array' OR jsonb_array_length(steps) < 2
		 UNION ALL SELECT format('stage %s has no name or no events', s.n) FROM jsonb_array_elements(steps) WITH ORDINALITY s (step, n)
					WHERE s.step->>'name' IS NULL OR jsonb_typeof(s.step->'events') IS DISTINCT FROM 'array' OR s.step->'events' = '[]'
		 UNION ALL SELECT format('event type "%s" is in two stages', t) FROM jsonb_path_query(steps, '$[*].events[*]') x (v), LATERAL (SELECT x.v #>> '{}') y (t) GROUP BY t HAVING count(*) > 1
		 UNION ALL SELECT format('there is no event type "%s" of visits, carts, orders, messages or customers', x.v #>> '{}') FROM jsonb_path_query(steps, '$[*].events[*]') x (v)
					WHERE NOT EXISTS (SELECT FROM crm.catalogue() c WHERE c.type = x.v #>> '{}' AND c.category IN ('visit', 'cart', 'order', 'message', 'customer'))) p;
	IF problems IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('funnel "%s" is not valid', funnel_id),
			DETAIL = problems || '.',
			HINT = 'Give an array of {"name": text, "events": [event types]}.';
	END IF;
	PERFORM eventsource.append('funnel-' || funnel_id, 'FunnelDefined', jsonb_build_object('steps', steps));
END
$$;
COMMENT ON FUNCTION crm.define_funnel(text, jsonb) IS
	'Defines a funnel: stages in order, each with the event types that reach it. It is an event. Errors: 22023 with all that is wrong.';

-- When each customer reached each stage: the first event of it after the stage before.
-- In mode any, stages may be skipped, and the first event of a later one counts.
CREATE FUNCTION crm.funnel_entries(funnel_id text, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity', mode text DEFAULT 'strict', customer_id text DEFAULT NULL)
	RETURNS TABLE (customer_id_reached text, step_number integer, stage text, event_type text, entered_at timestamptz, event_position bigint)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	stages jsonb;
	m record;
	stands integer := 0;
	who text;
BEGIN
	IF mode IS NULL OR mode NOT IN ('strict', 'any') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('mode "%s" is unknown', mode),
			DETAIL = 'Stages come one after the other, or may be skipped.',
			HINT = 'Give strict or any.';
	END IF;
	SELECT jsonb_object_agg(t.type, jsonb_build_array(s.n, s.name)) INTO stages
	  FROM crm.funnel_steps(funnel_entries.funnel_id) s, jsonb_array_elements_text(s.step->'events') t (type);
	FOR m IN SELECT j.customer_id, j.occurred_at, j.event_position, j.event_type, (stages->j.event_type->>0)::integer AS n
			   FROM crm.journeys j
			  WHERE CASE WHEN funnel_entries.customer_id IS NULL THEN j.customer_id IS NOT NULL ELSE j.customer_id = funnel_entries.customer_id END
				AND j.event_type = ANY (ARRAY(SELECT jsonb_object_keys(stages))) AND j.occurred_at >= start_at AND j.occurred_at < end_at
			  ORDER BY j.customer_id, j.occurred_at, j.event_position LOOP
		IF who IS DISTINCT FROM m.customer_id THEN
			who := m.customer_id;
			stands := 0;
		END IF;
		IF m.n = stands + 1 OR mode = 'any' AND m.n > stands THEN
			stands := m.n;
			customer_id_reached := who;
			step_number := m.n;
			stage := stages->m.event_type->>1;
			event_type := m.event_type;
			entered_at := m.occurred_at;
			event_position := m.event_position;
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.funnel_entries(text, timestamptz, timestamptz, text, text) IS
	'When customers reached the stages of a funnel, by what occurred from start_at until before end_at, one row per customer and stage. mode strict: each stage after the one before; any: stages may be skipped. Errors: 22023 unknown mode.';

CREATE FUNCTION crm.funnel(funnel_id text, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity', period interval DEFAULT NULL, mode text DEFAULT 'strict')
	RETURNS TABLE (step_number integer, event_type text, unique_users bigint, pct_conversion numeric, pct_of_previous numeric, median_time_from_previous interval)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH entry AS (
		SELECT e.*, e.entered_at - lag(e.entered_at) OVER w AS since, first_value(e.entered_at) OVER w AS began_at
		  FROM crm.funnel_entries(funnel.funnel_id, start_at, end_at, mode) e
		WINDOW w AS (PARTITION BY e.customer_id_reached ORDER BY e.step_number)
	), counted AS (
		SELECT s.n, s.name, count(e.customer_id_reached) AS users, percentile_cont(0.5) WITHIN GROUP (ORDER BY e.since) AS median
		  FROM crm.funnel_steps(funnel.funnel_id) s
		  LEFT JOIN entry e ON e.step_number = s.n AND coalesce(e.entered_at <= e.began_at + period, true)
		 GROUP BY s.n, s.name
	)
	SELECT c.n, c.name, c.users, round(c.users / nullif(first_value(c.users) OVER w, 0)::numeric, 4), round(c.users / nullif(lag(c.users) OVER w, 0)::numeric, 4), c.median
	  FROM counted c
	WINDOW w AS (ORDER BY c.n)
$$;
COMMENT ON FUNCTION crm.funnel(text, timestamptz, timestamptz, interval, text) IS
	'How many customers reached each stage of a funnel: one row per stage, with shares of the first and of the one before (0 to 1; NULL: there were none), and the median time from the stage before. period: no later than so long after the first stage, inclusive. Only customers who are known count.';

CREATE FUNCTION crm.funnel_progress(funnel_id text, customer_id text, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity', mode text DEFAULT 'strict', as_of timestamptz DEFAULT now())
	RETURNS TABLE (step_number integer, stage text, is_reached boolean, event_type text, entered_at timestamptz, left_at timestamptz, time_in_stage interval, is_dropoff boolean, is_completed boolean)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH entry AS MATERIALIZED (
		SELECT e.* FROM crm.funnel_entries(funnel_progress.funnel_id, start_at, end_at, mode, coalesce(funnel_progress.customer_id, '')) e
	)
	SELECT x.n, x.name, x.entered_at IS NOT NULL, x.event_type, x.entered_at, x.next_at,
		   CASE WHEN x.entered_at IS NOT NULL AND NOT (x.n = x.last_n) THEN greatest(coalesce(x.next_at, as_of) - x.entered_at, '0') END,
		   x.entered_at IS NOT NULL AND x.next_at IS NULL AND x.n < x.last_n, bool_or(x.n = x.last_n AND x.entered_at IS NOT NULL) OVER ()
	  FROM (SELECT s.n, s.name, e.event_type, e.entered_at, max(s.n) OVER () AS last_n, (SELECT min(f.entered_at) FROM entry f WHERE f.step_number > s.n) AS next_at
			  FROM crm.funnel_steps(funnel_progress.funnel_id) s
			  LEFT JOIN entry e ON e.step_number = s.n) x
	 ORDER BY x.n
$$;
COMMENT ON FUNCTION crm.funnel_progress(text, text, timestamptz, timestamptz, text, timestamptz) IS
	'How far a customer came in a funnel: one row per stage, with how long it lasted (until the next was reached, or as_of; of the last one, nothing), where it stopped (is_dropoff) and whether all is done (is_completed). A customer without events has reached nothing.';

CREATE FUNCTION crm.funnel_dropoff(funnel_id text, as_of timestamptz DEFAULT now()) RETURNS TABLE (customer_id text, stage text, next_stage text, last_activity_at timestamptz, idle_time interval, dropoff_likelihood numeric)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH entry AS MATERIALIZED (
		SELECT e.customer_id_reached AS customer_id, e.step_number AS n, e.stage, e.entered_at, lead(e.entered_at) OVER w - e.entered_at AS took,
			   lead(e.step_number) OVER w IS NULL AS is_last
		  FROM crm.funnel_entries(funnel_dropoff.funnel_id, end_at => as_of) e
		WINDOW w AS (PARTITION BY e.customer_id_reached ORDER BY e.step_number)
	)
	SELECT e.customer_id, e.stage, s.name, e.entered_at, as_of - e.entered_at,
		   -- Of those who were idle there for longer than this one is, whoever went on did so late.
		   (SELECT round(1 - count(o.took)::numeric / nullif(count(*), 0), 4) FROM entry o
			 WHERE o.n = e.n AND o.customer_id <> e.customer_id AND (o.took > as_of - e.entered_at OR o.took IS NULL AND as_of - o.entered_at > as_of - e.entered_at))
	  FROM entry e
	  JOIN crm.funnel_steps(funnel_dropoff.funnel_id) s ON s.n = e.n + 1
	 WHERE e.is_last
$$;
COMMENT ON FUNCTION crm.funnel_dropoff(text, timestamptz) IS
	'Who stands where in a funnel and has not come to its end, one row per customer, with how likely it is that he stays there: of the others who stood there idle for longer, the share that did not go on; NULL: there were none.';
-- Campaigns: definitions are events, and each is a reaction of the log: its waits are
-- jobs that run_due() does, exactly, once, and never at a replay.  Whether a message
-- may be sent is asked when it is sent.

CREATE FUNCTION crm.put_campaigns() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	always CONSTANT text := $rule$ changed_at = event.occurred_at, changed_by = event.actor $rule$;
	run CONSTANT text := $rule$ customer_id = event.data->>'customerId', campaign_id = event.data->>'campaignId' $rule$;
BEGIN
	CREATE TABLE IF NOT EXISTS crm.campaign (
		campaign_id      text PRIMARY KEY,
		status           text,
		campaign_version integer NOT NULL DEFAULT 0,
		definition       jsonb,
		definitions      jsonb NOT NULL DEFAULT '{}',
		changed_at       timestamptz,
		changed_by       text
	);
	COMMENT ON TABLE crm.campaign IS 'Private: campaigns as they are now, a projection. Read the view campaigns.';

	CREATE TABLE IF NOT EXISTS crm.campaign_run (
		run_id           text PRIMARY KEY,
		campaign_id      text,
		campaign_version integer,
		customer_id      text,
		event_position   bigint,
		steps_done       integer NOT NULL DEFAULT 0,
		last_action      text,
		last_outcome     text,
		started_at       timestamptz,
		last_step_at     timestamptz,
		ended_at         timestamptz,
		end_reason       text
	);
	COMMENT ON TABLE crm.campaign_run IS 'Private: customers in campaigns, a projection. Read the view campaign_runs.';
	CREATE INDEX IF NOT EXISTS campaign_run_customer_idx ON crm.campaign_run (customer_id, campaign_id);

	RETURN crm.put_projection('crm.campaign', 'campaign', jsonb_build_object(
			'CampaignDefined', always || $rule$, status = 'running', campaign_version = row.campaign_version + 1, definition = event.data,
				definitions = row.definitions || jsonb_build_object((row.campaign_version + 1)::text, event.data) $rule$,
			'CampaignSuspended', always || $rule$, status = 'paused' $rule$, 'CampaignContinued', always || $rule$, status = 'running' $rule$, 'CampaignEnded', always || $rule$, status = 'ended' $rule$))
		+ crm.put_projection('crm.campaign_run', 'campaign_run', jsonb_build_object(
			'CampaignRunStarted', run || $rule$, campaign_version = (event.data->>'campaignVersion')::integer, event_position = (event.data->>'eventPosition')::bigint, started_at = event.occurred_at $rule$,
			'CampaignStepDone', run || $rule$, steps_done = row.steps_done + 1, last_action = event.data->>'action', last_outcome = event.data->>'outcome', last_step_at = event.occurred_at $rule$,
			'CampaignRunEnded', run || $rule$, ended_at = event.occurred_at, end_reason = event.data->>'reason' $rule$));
END
$$;
COMMENT ON FUNCTION crm.put_campaigns() IS 'Private, for install(): tables and projections of campaigns.';

CREATE FUNCTION crm.put_campaign_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('campaigns', 'Campaigns, one row each.', jsonb_build_object(
			'campaign_id', 'The campaign.', 'status', 'running, paused or ended.', 'campaign_version', 'Version of its definition.', 'trigger', 'What puts customers into it.', 'message_class', 'Class of its messages, unless a step says.',
			'exits', 'Events that end it for a customer, joined by '' > ''.', 'step_count', 'How many steps, waits included.', 'description', 'What it is for.', 'run_count', 'How many entered it.', 'active_run_count', 'How many are in it.', 'completed_run_count', 'How many came to its end.',
			'sent_count', 'Messages that went out.', 'skipped_count', 'Messages that were not sent.', 'clicked_count', 'Messages of which a link was followed.', 'changed_at', 'When it was changed last.', 'changed_by', 'Actor who did.'), $view$
		SELECT c.campaign_id, c.status, c.campaign_version, c.definition->'trigger' AS trigger, c.definition->>'messageClass' AS message_class,
			   (SELECT string_agg(x, ' > ') FROM jsonb_array_elements_text(CASE jsonb_typeof(c.definition->'exits') WHEN 'array' THEN c.definition->'exits' ELSE '[]' END) x) AS exits,
			   jsonb_array_length(c.definition->'steps') AS step_count, c.definition->>'description' AS description,
			   r.run_count, r.active_run_count, r.completed_run_count, m.sent_count, m.skipped_count, m.clicked_count, c.changed_at, c.changed_by
		  FROM crm.campaign c
		 CROSS JOIN LATERAL (SELECT count(*) AS run_count, count(*) FILTER (WHERE x.ended_at IS NULL) AS active_run_count, count(*) FILTER (WHERE x.end_reason = 'completed') AS completed_run_count
							   FROM crm.campaign_run x WHERE x.campaign_id = c.campaign_id) r
		 CROSS JOIN LATERAL (SELECT count(x.sent_at) AS sent_count, count(x.skipped_at) AS skipped_count, count(x.clicked_at) AS clicked_count
							   FROM crm.message x WHERE x.campaign_id = c.campaign_id) m
		 WHERE eventsource.may_read_category('campaign') $view$);

	PERFORM crm.put_view('campaign_steps', 'Steps of campaigns, one row each.', jsonb_build_object(
			'campaign_id', 'The campaign.', 'step_number', 'Place of the step: 1, 2 ...', 'action', 'send-email, send-sms, send-push, add-to-segment or wait.', 'config', 'What it says.'), $view$
		SELECT c.campaign_id, s.n::integer AS step_number, s.step->>'type' AS action, s.step->'config' AS config
		  FROM crm.campaign c
		 CROSS JOIN LATERAL jsonb_array_elements(c.definition->'steps') WITH ORDINALITY s (step, n)
		 WHERE eventsource.may_read_category('campaign') $view$);

	PERFORM crm.put_view('campaign_runs', 'Customers in campaigns, one row per entry.', jsonb_build_object(
			'run_id', 'The run.', 'campaign_id', 'The campaign.', 'campaign_version', 'Version of its definition that it goes by.', 'customer_id', 'The customer.', 'event_position', 'Event that led to it.', 'status', 'active, completed or left.', 'is_active', 'True while it lasts.',
			'steps_done', 'Steps that were done, waits not counted.', 'last_action', 'What was done last.', 'last_outcome', 'What came of it.', 'started_at', 'When it began.', 'last_step_at', 'When the last step was done.', 'ended_at', 'When it ended.', 'end_reason', 'completed, or why it was left.'), $view$
		SELECT r.run_id, r.campaign_id, r.campaign_version, r.customer_id, r.event_position,
			   CASE WHEN r.ended_at IS NULL THEN 'active' WHEN r.end_reason = 'completed' THEN 'completed' ELSE 'left' END AS status, r.ended_at IS NULL AS is_active,
			   r.steps_done, r.last_action, r.last_outcome, r.started_at, r.last_step_at, r.ended_at, r.end_reason
		  FROM crm.campaign_run r
		 WHERE eventsource.may_read_category('campaign_run') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_campaign_views() IS 'Private, for install(): views of campaigns.';

-- {"totalValue": {"$gte": 50}, "productCategory": "consumables"} as an expression.
CREATE FUNCTION crm.campaign_condition(event_type text, conditions jsonb) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
	ops jsonb;
	o record;
	field text;
	parts text[] := '{}';
BEGIN
	FOR c IN SELECT * FROM jsonb_each(conditions) LOOP
		IF NOT EXISTS (SELECT FROM crm.event_type_definitions() d WHERE d.type = event_type AND d.schema->'properties' ? c.key) THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('event type "%s" has no field "%s"', event_type, c.key),
				DETAIL = 'A condition on it would never hold.',
				HINT = format('Its fields: %s.', (SELECT string_agg(k, ', ' ORDER BY k) FROM crm.event_type_definitions() d, jsonb_object_keys(d.schema->'properties') k WHERE d.type = event_type));
		END IF;
		ops := CASE jsonb_typeof(c.value) WHEN 'object' THEN c.value ELSE jsonb_build_object('$eq', c.value) END;
		FOR o IN SELECT * FROM jsonb_each(ops) LOOP
			field := format('(event.data->%L)', c.key);
			IF o.key IN ('$gt', '$gte', '$lt', '$lte') AND jsonb_typeof(o.value) = 'number' THEN
				parts := parts || format('coalesce((event.data->>%L)::numeric %s %s, false)', c.key, CASE o.key WHEN '$gt' THEN '>' WHEN '$gte' THEN '>=' WHEN '$lt' THEN '<' ELSE '<=' END, o.value);
			ELSIF o.key = '$eq' THEN
				parts := parts || format('coalesce(%s = %L::jsonb, false)', field, o.value);
			ELSIF o.key = '$ne' THEN
				parts := parts || format('coalesce(%s <> %L::jsonb, true)', field, o.value);
			ELSIF o.key = '$in' AND jsonb_typeof(o.value) = 'array' THEN
				parts := parts || format('coalesce(%L::jsonb @> jsonb_build_array(%s), false)', o.value, field);
			ELSE
				RAISE invalid_parameter_value USING
					MESSAGE = format('condition "%s" on "%s" is none', o.key, c.key),
					DETAIL = format('It says %s.', o.value),
					HINT = 'Conditions are a value, or $eq, $ne, $in (an array), $gt, $gte, $lt, $lte (a number).';
			END IF;
		END LOOP;
	END LOOP;
	RETURN array_to_string(parts, ' AND ');
END
$$;
COMMENT ON FUNCTION crm.campaign_condition(text, jsonb) IS
	'Private, for create_campaign(): conditions on fields of an event as an expression. Errors: 22023 unknown field or operator.';

CREATE FUNCTION crm.check_campaign_step(step jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	kind CONSTANT text := step->>'type';
	config CONSTANT jsonb := coalesce(step->'config', '{}');
	unknown text;
BEGIN
	IF kind IS NULL OR kind NOT IN ('send-email', 'send-sms', 'send-push', 'add-to-segment', 'wait') THEN
		RETURN format('action "%s" is unknown', kind);
	END IF;
	SELECT string_agg(k, ', ') INTO unknown FROM jsonb_object_keys(config) k
	 WHERE NOT k = ANY (CASE kind WHEN 'wait' THEN '{duration}' WHEN 'add-to-segment' THEN '{segmentId}'
						ELSE '{templateId,personalization,message,title,body,messageClass,topic}' END::text[]);
	IF unknown IS NOT NULL THEN
		RETURN format('%s knows nothing of %s', kind, unknown);
	ELSIF kind = 'wait' THEN
		BEGIN
			IF (config->>'duration')::interval > '0' THEN
				RETURN NULL;
			END IF;
		EXCEPTION WHEN data_exception THEN
			NULL;
		END;
		RETURN format('wait needs a duration above zero, and not "%s"', config->>'duration');
	ELSIF kind = 'add-to-segment' AND config->>'segmentId' IS NULL THEN
		RETURN 'add-to-segment needs a segmentId';
	ELSIF kind LIKE 'send-%' AND config->>'templateId' IS NULL AND config->>'message' IS NULL AND config->>'title' IS NULL THEN
		RETURN format('%s needs a templateId, a message or a title', kind);
	ELSIF config->>'messageClass' NOT IN ('transactional', 'marketing', 'urgent-marketing') THEN
		RETURN format('message class "%s" is unknown', config->>'messageClass');
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.check_campaign_step(jsonb) IS 'Private, for create_campaign(): what is wrong with a step; NULL: nothing.';

-- Each action is a call of the function that does it, after the waits before it.
CREATE FUNCTION crm.campaign_reaction_steps(steps jsonb) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	call CONSTANT jsonb := '{"call": "crm.run_campaign_step(eventsource.events,jsonb)"}';
	result jsonb := jsonb_build_array(call);
	wait interval := '0';
	s jsonb;
BEGIN
	FOR s IN SELECT x FROM jsonb_array_elements(steps) WITH ORDINALITY t (x, n) ORDER BY n LOOP
		IF s->>'type' = 'wait' THEN
			wait := wait + (s #>> '{config,duration}')::interval;
		ELSE
			result := result || (call || CASE WHEN wait = '0' THEN '{}' ELSE jsonb_build_object('wait', wait) END);
			wait := '0';
		END IF;
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.campaign_reaction_steps(jsonb) IS 'Private, for create_campaign(): the steps of its reaction: one that enters, one per action.';

CREATE FUNCTION crm.campaign_triggers(trigger jsonb) RETURNS TABLE (type text, category text, condition text, key text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	types text[] := CASE WHEN trigger ? 'event' THEN ARRAY[trigger->>'event'] ELSE
		ARRAY(SELECT jsonb_array_elements_text(x.step->'events') FROM crm.funnel_steps(trigger->>'funnel') x WHERE x.name = trigger->>'stage') END;
	t text;
	home text;
BEGIN
	FOREACH t IN ARRAY types LOOP
		SELECT c.category INTO home FROM crm.catalogue() c WHERE c.type = t;
		IF home IS NULL OR home NOT IN ('visit', 'cart', 'order', 'message', 'customer') THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('event type "%s" cannot trigger a campaign', t),
				DETAIL = 'It is none of visits, carts, orders, messages or customers.',
				HINT = 'The view crm.event_types lists event types.';
		END IF;
		RETURN QUERY SELECT t, home, nullif(concat_ws(' AND ', nullif(crm.campaign_condition(t, coalesce(trigger->'conditions', '{}')), ''), '(' || (trigger->>'where') || ')'), ''),
			CASE WHEN trigger ? 'idle' THEN CASE home WHEN 'customer' THEN 'event.key' WHEN 'cart' THEN $e$ coalesce(event.data->>'customerId', row.customer_id) $e$ ELSE $e$ event.data->>'customerId' $e$ END
				ELSE 'event.stream' END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.campaign_triggers(jsonb) IS 'Private, for create_campaign(): the events that lead into it. Errors: 22023 unknown event, field or condition.';

CREATE FUNCTION crm.put_campaign_reactions(campaign_id text, version integer, trigger jsonb, steps jsonb) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	changed integer := 0;
BEGIN
	FOR t IN SELECT x.*, row_number() OVER () AS n FROM crm.campaign_triggers(trigger) x LOOP
		changed := changed + crm.put_reaction(format('campaign_%s.%s.%s', campaign_id, version, t.n), t.category, t.type, jsonb_build_object('steps', crm.campaign_reaction_steps(steps)),
					t.condition, t.key, run_at => format('event.occurred_at + %L::interval', coalesce((trigger->>'idle')::interval, '0')));
	END LOOP;
	RETURN changed + crm.put_reaction(format('campaign_%s.%s.0', campaign_id, version), 'campaign', 'CampaignTriggered', jsonb_build_object('steps', crm.campaign_reaction_steps(steps)),
				format('event.key = %L', campaign_id));
END
$$;
COMMENT ON FUNCTION crm.put_campaign_reactions(text, integer, jsonb, jsonb) IS 'Private, for create_campaign() and install(): the reactions of a campaign; returns how many were not there.';

CREATE FUNCTION crm.put_campaign_reactions() RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT coalesce(sum(crm.put_campaign_reactions(c.campaign_id, c.campaign_version, c.trigger, c.definition->'steps')), 0)::integer
	  FROM (SELECT x.campaign_id, x.campaign_version, x.definition->'trigger' AS trigger, x.definition FROM crm.campaign x WHERE x.status <> 'ended' ORDER BY x.campaign_id) c);
END
$$;
COMMENT ON FUNCTION crm.put_campaign_reactions() IS 'Private, for install(): the reactions of all campaigns that are not over.';

CREATE FUNCTION crm.create_campaign(campaign_id text, trigger jsonb, steps jsonb, message_class text DEFAULT 'marketing', exits text[] DEFAULT NULL, description text DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	problems text;
	version integer;
	idle interval;
	data jsonb;
BEGIN
	SELECT string_agg(p.problem, '; ') INTO problems FROM (
		SELECT format('step %s: %s', s.n, crm.check_campaign_step(s.step)) AS problem FROM jsonb_array_elements(steps) WITH ORDINALITY s (step, n) WHERE crm.check_campaign_step(s.step) IS NOT NULL
		 UNION ALL SELECT format('exit "%s" is no event type of visits, carts, orders, messages or customers', x) FROM unnest(exits) x
					WHERE NOT EXISTS (SELECT FROM crm.catalogue() c WHERE c.type = x AND c.category IN ('visit', 'cart', 'order', 'message', 'customer'))
		 UNION ALL SELECT 'it does nothing but wait' WHERE NOT jsonb_path_exists(steps, '$[*] ? (@.type != "wait")')
		 UNION ALL SELECT 'a campaign has a name of letters, digits, - and _' WHERE campaign_id !~ '^[A-Za-z0-9_-]{1,60}$'
		 UNION ALL SELECT format('message class "%s" is unknown', message_class) WHERE message_class IS NULL OR message_class NOT IN ('transactional', 'marketing', 'urgent-marketing')
		 UNION ALL SELECT format('trigger knows nothing of %s', k) FROM jsonb_object_keys(trigger) k WHERE k NOT IN ('event', 'conditions', 'where', 'idle', 'funnel', 'stage', 'once', 'condition')
		 UNION ALL SELECT 'trigger needs an event, or a funnel, a stage and idle' WHERE NOT trigger ? 'event' AND NOT trigger ?& '{funnel,stage,idle}'
		 UNION ALL SELECT format('there is no stage "%s" in funnel "%s"', trigger->>'stage', trigger->>'funnel') WHERE trigger ? 'funnel'
				   AND NOT EXISTS (SELECT FROM crm.funnel_steps(trigger->>'funnel') f WHERE f.name = trigger->>'stage')
		 UNION ALL SELECT format('condition "%s" is unknown', trigger->>'condition') WHERE trigger->>'condition' NOT IN ('viewed-multiple-products-no-cart', 'started-checkout-not-completed')) p;
	BEGIN
		idle := (trigger->>'idle')::interval;
		IF idle <= '0' THEN
			problems := concat_ws('; ', problems, 'idle must be above zero');
		END IF;
	EXCEPTION WHEN data_exception THEN
		problems := concat_ws('; ', problems, format('idle "%s" is no interval', trigger->>'idle'));
	END;
	IF problems IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('campaign "%s" is not valid', campaign_id),
			DETAIL = problems || '.',
			HINT = 'Nothing was changed. Correct what is listed and create it again.';
	END IF;
	data := jsonb_strip_nulls(jsonb_build_object('trigger', trigger, 'steps', steps, 'messageClass', message_class, 'exits', to_jsonb(exits), 'description', description));
	PERFORM eventsource.lock_stream('campaign-' || campaign_id);
	SELECT c.campaign_version INTO version FROM crm.campaign c WHERE c.campaign_id = create_campaign.campaign_id AND c.definition = data AND c.status = 'running';
	IF FOUND THEN
		RETURN version;
	END IF;
	SELECT coalesce(max(c.campaign_version), 0) + 1 INTO version FROM crm.campaign c WHERE c.campaign_id = create_campaign.campaign_id;
	PERFORM crm.drop_campaign_reactions(campaign_id);
	PERFORM eventsource.append('campaign-' || campaign_id, 'CampaignDefined', data);
	PERFORM crm.put_campaign_reactions(campaign_id, version, trigger, steps);
	RETURN version;
END
$$;
COMMENT ON FUNCTION crm.create_campaign(text, jsonb, jsonb, text, text[], text) IS
	'Defines a campaign, or a new version of it (who is in it goes on by the old one), and returns the version. trigger: {"event": type, "conditions": {field: value or {"$gte": n, ...}}, "where": expression over event, state and row} or {"funnel": name, "stage": name}; with "idle": interval, when the customer did nothing in the funnel (or: none of these events) for so long; "condition": viewed-multiple-products-no-cart or started-checkout-not-completed; "once": "customer". steps: an array of {"type": send-email, send-sms, send-push, add-to-segment or wait, "config": {"templateId", "message", "personalization", "messageClass", "topic"; "segmentId"; "duration"}}. exits: events that end it for the customer. Needs the rights of eventsource.grant_admin(). Errors: 22023 with all that is wrong, ZE011.';

CREATE FUNCTION crm.drop_campaign_reactions(campaign_id text) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.drop_reaction(r.name) FROM eventsource.reactions r WHERE r.name ~ ('^campaign_' || drop_campaign_reactions.campaign_id || '\.\d+\.\d+$')
$$;
COMMENT ON FUNCTION crm.drop_campaign_reactions(text) IS 'Private: nobody enters a campaign any more; who is in it goes on.';

CREATE FUNCTION crm.pause_campaign(campaign_id text, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.append('campaign-' || c.campaign_id, 'CampaignSuspended', jsonb_strip_nulls(jsonb_build_object('reason', pause_campaign.reason)), actor => pause_campaign.actor)
	  FROM crm.campaigns c WHERE c.campaign_id = pause_campaign.campaign_id AND c.status = 'running'
$$;
COMMENT ON FUNCTION crm.pause_campaign(text, text, text) IS 'A campaign rests: customers enter it, but what is due waits for resume_campaign(). One that is not running is left as it is.';

CREATE FUNCTION crm.resume_campaign(campaign_id text, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.append('campaign-' || c.campaign_id, 'CampaignContinued', jsonb_strip_nulls(jsonb_build_object('reason', resume_campaign.reason)), actor => resume_campaign.actor)
	  FROM crm.campaigns c WHERE c.campaign_id = resume_campaign.campaign_id AND c.status = 'paused'
$$;
COMMENT ON FUNCTION crm.resume_campaign(text, text, text) IS 'A campaign that rested goes on; what was due meanwhile is done within setting campaign_retry.';

CREATE FUNCTION crm.end_campaign(campaign_id text, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.drop_campaign_reactions(campaign_id);
	PERFORM eventsource.append('campaign-' || campaign_id, 'CampaignEnded', jsonb_strip_nulls(jsonb_build_object('reason', reason)), actor => actor);
END
$$;
COMMENT ON FUNCTION crm.end_campaign(text, text, text) IS 'A campaign is over: nobody enters it, and who is in it leaves at the next step. create_campaign() begins it anew.';

CREATE FUNCTION crm.trigger_campaign(campaign_id text, customer_id text, data jsonb DEFAULT NULL, actor text DEFAULT NULL, idempotency_key text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	result eventsource.appended;
BEGIN
	IF NOT EXISTS (SELECT FROM crm.campaigns c WHERE c.campaign_id = trigger_campaign.campaign_id AND c.status <> 'ended') THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no campaign "%s"', campaign_id),
			DETAIL = 'It was not created, or it was ended.',
			HINT = 'The view crm.campaigns lists those there are.';
	END IF;
	SELECT * INTO result FROM eventsource.append('campaign-' || campaign_id, 'CampaignTriggered', jsonb_strip_nulls(jsonb_build_object('customerId', customer_id, 'data', data)),
												 actor => actor, idempotency_key => idempotency_key);
	RETURN result."position";
END
$$;
COMMENT ON FUNCTION crm.trigger_campaign(text, text, jsonb, text, text) IS 'Puts a customer into a campaign by hand; returns the position of the event, which its run is called after. Errors: 42704 no such campaign.';
-- Who comes back, and what people do next.

CREATE FUNCTION crm.retention(first_type text, return_type text, period interval DEFAULT '7 days', periods integer DEFAULT 8, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity')
	RETURNS TABLE (period_number integer, unique_users bigint, pct_users numeric)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF retention.period <= '0' OR retention.periods < 1 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'there must be periods, and each must be longer than nothing',
			DETAIL = format('There are %s of %s.', retention.periods, retention.period),
			HINT = 'For example period => ''7 days'', periods => 8.';
	END IF;
	RETURN QUERY
	WITH began AS MATERIALIZED (
		SELECT j.customer_id, min(j.occurred_at) AS at FROM crm.journeys j
		 WHERE j.event_type = first_type AND j.customer_id IS NOT NULL AND j.occurred_at >= start_at AND j.occurred_at < end_at GROUP BY j.customer_id
	), came AS (
		SELECT DISTINCT b.customer_id, floor(extract(epoch FROM j.occurred_at - b.at) / extract(epoch FROM retention.period))::integer AS n
		  FROM began b JOIN crm.journeys j ON j.customer_id = b.customer_id
		 WHERE j.event_type = return_type AND j.occurred_at > b.at AND extract(epoch FROM j.occurred_at - b.at) < extract(epoch FROM retention.period) * (retention.periods + 1)
	)
	SELECT k.n, CASE k.n WHEN 0 THEN (SELECT count(*) FROM began) ELSE count(c.customer_id) END,
		   round(CASE k.n WHEN 0 THEN (SELECT count(*) FROM began) ELSE count(c.customer_id) END / nullif((SELECT count(*) FROM began), 0)::numeric, 4)
	  FROM generate_series(0, retention.periods) k (n)
	  LEFT JOIN came c ON c.n = k.n
	 GROUP BY k.n
	 ORDER BY k.n;
END
$$;
COMMENT ON FUNCTION crm.retention(text, text, interval, integer, timestamptz, timestamptz) IS
	'Of the customers whose first event of one type occurred from start_at until before end_at (period 0), how many have an event of another in the first, second ... period after: one row per period; the first begins one period later, inclusive. Errors: 22023 no periods.';

CREATE FUNCTION crm.flows(first_type text, steps integer DEFAULT 3, direction text DEFAULT 'forward', start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity')
	RETURNS TABLE (event_path text, unique_users bigint)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF direction IS NULL OR direction NOT IN ('forward', 'backward') OR steps < 1 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('there is no way "%s" of %s steps', direction, steps),
			DETAIL = 'A flow goes on from an event, or leads to it.',
			HINT = 'Give forward or backward, and one step or more.';
	END IF;
	RETURN QUERY
	SELECT p.path, count(*)
	  FROM (SELECT f.customer_id, string_agg(x.event_type, ' > ' ORDER BY x.occurred_at, x.event_position) AS path
			  FROM (SELECT DISTINCT ON (j.customer_id) j.customer_id, j.occurred_at, j.event_position FROM crm.journeys j
					 WHERE j.event_type = first_type AND j.customer_id IS NOT NULL AND j.occurred_at >= start_at AND j.occurred_at < end_at
					 ORDER BY j.customer_id, j.occurred_at, j.event_position) f
			 CROSS JOIN LATERAL (
				SELECT j.event_type, j.occurred_at, j.event_position FROM crm.journeys j
				 WHERE j.customer_id = f.customer_id
				   AND CASE direction WHEN 'forward' THEN (j.occurred_at, j.event_position) >= (f.occurred_at, f.event_position) ELSE (j.occurred_at, j.event_position) <= (f.occurred_at, f.event_position) END
				 ORDER BY CASE direction WHEN 'forward' THEN extract(epoch FROM j.occurred_at) ELSE - extract(epoch FROM j.occurred_at) END,
						  CASE direction WHEN 'forward' THEN j.event_position ELSE - j.event_position END
				 LIMIT steps + 1) x
			 GROUP BY f.customer_id) p
	 GROUP BY p.path
	 ORDER BY 2 DESC, 1;
END
$$;
COMMENT ON FUNCTION crm.flows(text, integer, text, timestamptz, timestamptz) IS
	'What customers did after (or, backward, before) their first event of a type: paths of so many steps, joined by '' > '', with how many took them, most first. Errors: 22023 another direction.';
-- What a campaign does when a step is due.

CREATE FUNCTION crm.campaign_customer(event eventsource.events) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(event.data->>'customerId', CASE event.category WHEN 'customer' THEN event.key END, j.customer_id)
	  FROM (SELECT 1) one
	  LEFT JOIN crm.journeys j ON j.stream = event.stream AND j.version = event.version
$$;
COMMENT ON FUNCTION crm.campaign_customer(eventsource.events) IS 'Private, for campaigns: whom an event is about; NULL: nobody who is known.';

-- Why a customer does not enter; NULL: he does.
CREATE FUNCTION crm.campaign_entry_refusal(event eventsource.events, campaign_id text, definition jsonb, customer_id text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	trigger CONSTANT jsonb := definition->'trigger';
	types text[];
BEGIN
	IF trigger->>'once' = 'customer' AND EXISTS (SELECT FROM crm.campaign_runs r WHERE r.customer_id = campaign_entry_refusal.customer_id AND r.campaign_id = campaign_entry_refusal.campaign_id) THEN
		RETURN 'was in it before';
	END IF;
	IF event.type = 'CampaignTriggered' OR NOT trigger ? 'idle' THEN
		RETURN NULL;
	END IF;
	-- Idle is who has done nothing of the kind since; so of several events the last one leads on.
	types := CASE WHEN trigger ? 'event' THEN ARRAY[trigger->>'event'] ELSE ARRAY(SELECT jsonb_array_elements_text(f.step->'events') FROM crm.funnel_steps(trigger->>'funnel') f) END;
	IF EXISTS (SELECT FROM crm.journeys j WHERE j.customer_id = campaign_entry_refusal.customer_id AND j.event_type = ANY (types) AND j.event_position > event."position") THEN
		RETURN 'was active since';
	END IF;
	IF trigger->>'condition' = 'viewed-multiple-products-no-cart' AND (
			SELECT count(DISTINCT j.product_id) FROM crm.journeys j
			 WHERE j.customer_id = campaign_entry_refusal.customer_id AND j.event_type = 'ProductViewed' AND j.event_position <= event."position"
			   AND j.occurred_at > event.occurred_at - crm.setting('session_gap')::interval * 8) < 2 THEN
		RETURN 'looked at one product';
	END IF;
	IF trigger->>'condition' IN ('viewed-multiple-products-no-cart', 'started-checkout-not-completed') AND EXISTS (
			SELECT FROM crm.carts c WHERE c.customer_id = campaign_entry_refusal.customer_id AND c.updated_at > event.occurred_at - interval '1 day'
			   AND CASE trigger->>'condition' WHEN 'viewed-multiple-products-no-cart' THEN c.item_count > 0 ELSE c.status = 'ordered' END) THEN
		RETURN CASE trigger->>'condition' WHEN 'viewed-multiple-products-no-cart' THEN 'has a cart' ELSE 'has ordered' END;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.campaign_entry_refusal(eventsource.events, text, jsonb, text) IS 'Private, for campaigns: why a customer does not enter a campaign; NULL: he does.';

-- Why a customer leaves; NULL: he stays.
CREATE FUNCTION crm.campaign_exit(event eventsource.events, definition jsonb, customer_id text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(
		(SELECT CASE c.status WHEN 'deleted' THEN 'erased' WHEN 'deactivated' THEN CASE definition->>'messageClass' WHEN 'transactional' THEN NULL ELSE 'account-closed' END END
		   FROM crm.customers c WHERE c.customer_id = campaign_exit.customer_id),
		(SELECT 'exit: ' || j.event_type FROM crm.journeys j
		  WHERE j.customer_id = campaign_exit.customer_id AND definition->'exits' ? j.event_type AND j.event_position > event."position"
		  ORDER BY j.event_position LIMIT 1))
$$;
COMMENT ON FUNCTION crm.campaign_exit(eventsource.events, jsonb, text) IS 'Private, for campaigns: why a customer leaves a campaign; NULL: he stays.';

CREATE FUNCTION crm.do_campaign_step(step jsonb, campaign_id text, definition jsonb, customer_id text, message_id text) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	config CONSTANT jsonb := coalesce(step->'config', '{}');
	sent record;
BEGIN
	IF step->>'type' = 'add-to-segment' THEN
		RETURN CASE WHEN crm.add_to_segment(customer_id, config->>'segmentId', jsonb_build_object('campaign', campaign_id)) THEN 'added' ELSE 'was in it' END;
	END IF;
	SELECT * INTO sent FROM crm.send_message(customer_id, substr(step->>'type', 6), config->>'templateId', coalesce(config->>'messageClass', definition->>'messageClass'),
		topic => config->>'topic', campaign_id => campaign_id, message_id => message_id, content => config - '{templateId,messageClass,topic}'::text[]);
	RETURN CASE WHEN sent.is_queued THEN 'queued' ELSE sent.skip_reason END;
END
$$;
COMMENT ON FUNCTION crm.do_campaign_step(jsonb, text, jsonb, text, text) IS 'Private, for campaigns: does a step; returns what came of it.';

CREATE FUNCTION crm.run_campaign_step(event eventsource.events, call jsonb) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id CONSTANT text := substring(call->>'reaction' FROM '^campaign_(.+)\.\d+\.\d+$');
	version CONSTANT text := substring(call->>'reaction' FROM '\.(\d+)\.\d+$');
	run CONSTANT text := id || '.' || event."position";
	-- The first step of the reaction enters; the others are the campaign's.
	action CONSTANT integer := (call->>'step')::integer - 1;
	customer CONSTANT text := crm.campaign_customer(event);
	c record;
	definition jsonb;
	step jsonb;
	is_last boolean;
	reason text;
	about jsonb;
BEGIN
	IF customer IS NULL THEN
		RETURN jsonb_build_object('skip', 'nobody knows whom it is about');
	END IF;
	PERFORM eventsource.lock_stream('customer-' || customer);
	SELECT x.status, x.definitions->version AS definition INTO c FROM crm.campaign x WHERE x.campaign_id = id;
	definition := c.definition;
	about := jsonb_build_object('customerId', customer, 'campaignId', id);
	IF c.status = 'paused' THEN
		RETURN jsonb_build_object('retry', crm.setting('campaign_retry'));
	END IF;
	IF action = 0 THEN
		reason := CASE WHEN c.status = 'ended' THEN 'campaign-ended' ELSE crm.campaign_entry_refusal(event, id, definition, customer) END;
		IF reason IS NOT NULL THEN
			RETURN jsonb_build_object('skip', reason);
		END IF;
		PERFORM eventsource.append('campaign_run-' || run, 'CampaignRunStarted', about || jsonb_build_object('campaignVersion', version::integer, 'eventPosition', event."position"));
	END IF;
	reason := coalesce(CASE WHEN c.status = 'ended' THEN 'campaign-ended' END, crm.campaign_exit(event, definition, customer));
	IF reason IS NOT NULL THEN
		PERFORM eventsource.append('campaign_run-' || run, 'CampaignRunEnded', about || jsonb_build_object('reason', reason));
		RETURN jsonb_build_object('skip', reason);
	END IF;
	IF action > 0 THEN
		SELECT s.step, s.n = s.total INTO step, is_last
		  FROM (SELECT x.step, row_number() OVER (ORDER BY x.n) AS n, count(*) OVER () AS total
				  FROM jsonb_array_elements(definition->'steps') WITH ORDINALITY x (step, n) WHERE x.step->>'type' <> 'wait') s
		 WHERE s.n = action;
		PERFORM eventsource.append('campaign_run-' || run, 'CampaignStepDone', about || jsonb_build_object('stepNumber', action, 'action', step->>'type',
					'outcome', crm.do_campaign_step(step, id, definition, customer, run || '.' || action)));
		IF is_last THEN
			PERFORM eventsource.append('campaign_run-' || run, 'CampaignRunEnded', about || '{"reason": "completed"}');
		END IF;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.run_campaign_step(eventsource.events, jsonb) IS
	'Private, for reactions: a step of a campaign that is due. Everything is asked at this moment: does the campaign run, does the customer stay in it, may the message be sent. A message is called after the campaign, the event and the step, so that it is one however often it is tried.';

-- The campaigns of the documents, to begin with.
CREATE FUNCTION crm.campaign_examples() RETURNS TABLE (campaign_id text, trigger jsonb, steps jsonb, message_class text, exits text[], description text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	SELECT e.id, e.trigger::jsonb, e.steps::jsonb, e.class, string_to_array(e.exits, ' '), e.description FROM (VALUES
		('welcome-verification', '{"event": "CustomerCreated"}', '[{"type": "send-email", "config": {"templateId": "welcome-verification"}}]', 'transactional', NULL,
			'Greets who registered, and asks to prove the address'),
		('abandoned-cart-v2', '{"event": "CartAbandoned", "conditions": {"totalValue": {"$gte": 50}}}',
			'[{"type": "wait", "config": {"duration": "1 hour"}}, {"type": "send-email", "config": {"templateId": "abandoned-cart-reminder", "personalization": ["cartItems", "discountCode"]}},
			  {"type": "wait", "config": {"duration": "24 hours"}}, {"type": "send-email", "config": {"templateId": "abandoned-cart-final-offer", "personalization": ["cartItems", "largerDiscountCode"]}}]',
			'marketing', 'OrderPlaced ItemAddedToCart', 'Carts from 50 up that were left alone: a reminder after an hour, a last offer a day later'),
		('payment-failed-recovery', '{"event": "PaymentFailed", "conditions": {"givenUp": true}}', '[{"type": "send-email", "config": {"templateId": "payment-failed", "personalization": ["message", "amount"]}}]',
			'transactional', 'PaymentSucceeded OrderCancelled', 'Payments that failed for good'),
		('order-confirmation', '{"event": "OrderConfirmed"}', '[{"type": "send-email", "config": {"templateId": "order-confirmation", "personalization": ["orderDetails", "estimatedDelivery"]}}]',
			'transactional', NULL, 'An order is confirmed'),
		('shipping-notification', '{"event": "OrderShipped"}',
			'[{"type": "send-email", "config": {"templateId": "order-shipped", "personalization": ["trackingNumber", "carrier"]}}, {"type": "send-push", "config": {"title": "Your order has shipped!", "body": "Track your delivery"}}]',
			'transactional', NULL, 'An order is on its way'),
		('delivery-review-request', '{"event": "OrderDelivered"}', '[{"type": "wait", "config": {"duration": "3 days"}}, {"type": "send-email", "config": {"templateId": "review-request", "personalization": ["products", "reviewLinks"]}}]',
			'marketing', 'ReviewSubmitted RefundInitiated', 'Asks for a review three days after the delivery'),
		('replenishment-campaign', '{"event": "OrderDelivered", "where": "row.categories ? ''consumables''"}',
			'[{"type": "wait", "config": {"duration": "30 days"}}, {"type": "send-email", "config": {"templateId": "reorder-reminder", "personalization": ["products", "subscriptionOption"]}}]',
			'marketing', 'OrderPlaced', 'Consumables run out after thirty days'),
		('abandoned-browse-recovery', '{"funnel": "purchase", "stage": "awareness", "idle": "30 minutes", "condition": "viewed-multiple-products-no-cart"}',
			'[{"type": "send-email", "config": {"templateId": "browse-abandonment", "personalization": ["viewedProducts", "recommendations"]}}]', 'marketing', 'ItemAddedToCart OrderPlaced',
			'Looked at several products and put none into a cart'),
		('checkout-abandonment', '{"funnel": "purchase", "stage": "checkout", "idle": "60 minutes", "condition": "started-checkout-not-completed"}',
			'[{"type": "wait", "config": {"duration": "1 hour"}}, {"type": "send-email", "config": {"templateId": "checkout-abandonment", "personalization": ["cartItems", "checkoutLink", "incentive"]}},
			  {"type": "wait", "config": {"duration": "24 hours"}}, {"type": "send-sms", "config": {"message": "Complete your order and get 10% off!", "messageClass": "urgent-marketing"}}]',
			'marketing', 'OrderPlaced', 'Began to pay and did not end it'),
		('post-purchase-cross-sell', '{"event": "OrderDelivered"}', '[{"type": "wait", "config": {"duration": "7 days"}}, {"type": "send-email", "config": {"templateId": "cross-sell", "personalization": ["purchasedProducts", "recommendations"]}}]',
			'marketing', 'RefundInitiated', 'Goes with what was bought')
	  ) e (id, trigger, steps, class, exits, description)
$sql$;
COMMENT ON FUNCTION crm.campaign_examples() IS 'The campaigns of the documents; create_example_campaigns() defines them.';

CREATE FUNCTION crm.create_example_campaigns(campaign_ids text[] DEFAULT NULL) RETURNS integer
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT count(crm.create_campaign(e.campaign_id, e.trigger, e.steps, e.message_class, e.exits, e.description))::integer
	  FROM crm.campaign_examples() e
	 WHERE campaign_ids IS NULL OR e.campaign_id = ANY (campaign_ids)
$$;
COMMENT ON FUNCTION crm.create_example_campaigns(text[]) IS 'Defines campaigns of campaign_examples(), by default all of them; returns how many. Needs the rights of eventsource.grant_admin().';
-- Attribution: which touches led to a conversion.  One row per touch; the shares of a
-- conversion add up exactly, what rounding leaves goes to its last touch.

CREATE FUNCTION crm.attribution_models() RETURNS TABLE (model text, display_order integer, description text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('first_touch', 1, 'All to the first touch'),
		('last_touch', 2, 'All to the last touch'),
		('linear', 3, 'The same to each touch'),
		('time_decay', 4, 'Half as much for each half-life that a touch is older than the conversion'),
		('position_based', 5, '40 % to the first, 40 % to the last, 20 % to those between; of two half each')
$sql$;
COMMENT ON FUNCTION crm.attribution_models() IS 'The models of attribution.';

CREATE FUNCTION crm.touches_of_conversions(conversion_type text, lookback interval, start_at timestamptz, end_at timestamptz, excluded_channels text[], customer_id text)
	RETURNS TABLE (conversion_position bigint, conversion_stream text, customer text, converted_at timestamptz, amount numeric, currency text,
				   touch_index integer, path_length integer, touched_at timestamptz, touch_position bigint, channel text, campaign_id text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH conversion AS MATERIALIZED (
		SELECT j.* FROM crm.journeys j
		 WHERE j.event_type = conversion_type AND j.occurred_at >= start_at AND j.occurred_at < end_at
		   AND CASE WHEN touches_of_conversions.customer_id IS NULL THEN j.customer_id IS NOT NULL ELSE j.customer_id = touches_of_conversions.customer_id END
	), touch AS MATERIALIZED (
		SELECT p.* FROM crm.touchpoints p
		 WHERE p.customer_id IS NOT NULL AND NOT p.channel = ANY (excluded_channels) AND coalesce(p.customer_id = touches_of_conversions.customer_id, true)
	)
	SELECT c.event_position, c.stream, c.customer_id, c.occurred_at, coalesce(c.amount, 0), c.currency,
		   (row_number() OVER (PARTITION BY c.event_position ORDER BY t.touched_at, t.event_position))::integer, (count(t.event_position) OVER (PARTITION BY c.event_position))::integer,
		   t.touched_at, t.event_position, coalesce(t.channel, 'direct'), t.campaign_id
	  FROM conversion c
	  LEFT JOIN touch t ON t.customer_id = c.customer_id AND (t.touched_at, t.event_position) < (c.occurred_at, c.event_position) AND t.touched_at >= c.occurred_at - lookback
$$;
COMMENT ON FUNCTION crm.touches_of_conversions(text, interval, timestamptz, timestamptz, text[], text) IS
	'Private, for attribution(): conversions with the touches before them; one without has the channel direct and a path of 0.';

CREATE FUNCTION crm.attribution(model text DEFAULT 'linear', conversion_type text DEFAULT 'OrderPlaced', lookback interval DEFAULT '30 days', half_life interval DEFAULT '7 days',
		start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity', excluded_channels text[] DEFAULT '{}', customer_id text DEFAULT NULL)
	RETURNS TABLE (conversion_position bigint, conversion_stream text, customer text, converted_at timestamptz, touch_index integer, path_length integer,
				   touched_at timestamptz, channel text, campaign_id text, credit numeric, value numeric, currency text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	chosen CONSTANT text := replace(attribution.model, '-', '_');
BEGIN
	IF chosen IS NULL OR NOT EXISTS (SELECT FROM crm.attribution_models() m WHERE m.model = chosen) THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('model "%s" is unknown', attribution.model),
			DETAIL = 'Nothing says how it parts the credit.',
			HINT = format('Models are %s.', (SELECT string_agg(m.model, ', ' ORDER BY m.display_order) FROM crm.attribution_models() m));
	ELSIF attribution.half_life <= '0' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'half_life must be above zero',
			DETAIL = format('It is %s.', attribution.half_life),
			HINT = 'The documents'' is 7 days.';
	END IF;
	RETURN QUERY
	WITH weighed AS (
		SELECT t.*, CASE chosen
				WHEN 'first_touch' THEN (t.touch_index = 1)::integer::numeric
				WHEN 'last_touch' THEN (t.touch_index = greatest(t.path_length, 1))::integer::numeric
				WHEN 'linear' THEN 1
				WHEN 'time_decay' THEN coalesce(0.5::float8 ^ (extract(epoch FROM t.converted_at - t.touched_at)::float8 / extract(epoch FROM attribution.half_life)::float8), 1)::numeric
				ELSE CASE WHEN t.path_length <= 2 THEN 1 WHEN t.touch_index IN (1, t.path_length) THEN 0.4 ELSE 0.2 / (t.path_length - 2) END END AS weight
		  FROM crm.touches_of_conversions(attribution.conversion_type, attribution.lookback, attribution.start_at, attribution.end_at, attribution.excluded_channels, attribution.customer_id) t
	), shared AS (
		SELECT w.*, round(100 * w.weight / nullif(sum(w.weight) OVER c, 0), 6) AS credit, round(w.amount * w.weight / nullif(sum(w.weight) OVER c, 0), 2) AS value
		  FROM weighed w
		WINDOW c AS (PARTITION BY w.conversion_position)
	)
	SELECT s.conversion_position, s.conversion_stream, s.customer, s.converted_at, s.touch_index, s.path_length, s.touched_at, s.channel, s.campaign_id,
		   s.credit + CASE WHEN s.touch_index = greatest(s.path_length, 1) THEN 100 - sum(s.credit) OVER c ELSE 0 END,
		   s.value + CASE WHEN s.touch_index = greatest(s.path_length, 1) THEN s.amount - sum(s.value) OVER c ELSE 0 END, s.currency
	  FROM shared s
	WINDOW c AS (PARTITION BY s.conversion_position);
END
$$;
COMMENT ON FUNCTION crm.attribution(text, text, interval, interval, timestamptz, timestamptz, text[], text) IS
	'Parts the credit (0 to 100) and the value of conversions among the touches before them, one row per touch. model: first_touch, last_touch, linear, time_decay, position_based; conversion_type: an event with a customer; lookback: how old a touch may be, inclusive; half_life: for time_decay; start_at, end_at: when conversions occurred, without the end; excluded_channels: touches that do not count. A conversion without touches is one of channel direct, with a path_length of 0. Errors: 22023 unknown model, bad half_life.';

CREATE FUNCTION crm.put_attribution_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- A visit is one touch until it comes by another channel or campaign, and none where it follows
	-- from a click that is one.
	PERFORM crm.put_view('touchpoints', 'Touches, one row each: visits by a channel, and clicks in messages.', jsonb_build_object(
			'customer_id', 'Who was touched; NULL: not known.', 'event_position', 'Event of it.', 'touched_at', 'When.', 'channel', 'email, sms, push, web, social or paid-ad.', 'campaign_id', 'Campaign.', 'event_type', 'What happened.', 'session_id', 'Session that it was in; NULL: a click.'), $view$
		SELECT t.customer_id, t.event_position, t.occurred_at AS touched_at, t.channel, t.campaign_id, t.event_type, t.session_id
		  FROM (SELECT j.*, lag(j.channel) OVER s AS channel_before, lag(j.campaign_id) OVER s AS campaign_before, lag(j.event_position) OVER s IS NULL AS is_first
				  FROM crm.journeys j
				 WHERE j.channel IS NOT NULL AND (j.category = 'visit' OR j.event_type = 'MessageClicked')
				WINDOW s AS (PARTITION BY j.category, CASE WHEN j.category = 'visit' THEN j.session_id ELSE j.stream || '/' || j.version END ORDER BY j.version)) t
		 WHERE (t.is_first OR t.channel IS DISTINCT FROM t.channel_before OR t.campaign_id IS DISTINCT FROM t.campaign_before)
		   AND NOT (t.category = 'visit' AND EXISTS (
				SELECT FROM crm.journey_event k JOIN crm.settings gap ON gap.setting_name = 'session_gap'
				 WHERE k.type = 'MessageClicked' AND k.customer_id = t.customer_id AND k.channel = t.channel AND k.campaign_id IS NOT DISTINCT FROM t.campaign_id
				   AND k.occurred_at <= t.occurred_at AND k.occurred_at > t.occurred_at - gap.value::interval)) $view$);

	PERFORM crm.put_view('paths_to_conversion', 'Orders with the way that led to them within 30 days, one row each.', jsonb_build_object(
			'cv_id', 'The conversion: the stream of the order.', 'customer_id', 'Who ordered.', 'cv_tstamp', 'When.', 'cv_type', 'OrderPlaced.', 'cv_total_revenue', 'Total of the order.', 'currency', 'Currency of it.', 'path_length', 'How many touches; 0: none.',
			'channel_transformed_path', 'Channels of the touches in order, joined by '' > ''.', 'campaign_transformed_path', 'Campaigns likewise; touches without one are left out.'), $view$
		SELECT t.conversion_stream AS cv_id, t.customer AS customer_id, t.converted_at AS cv_tstamp, 'OrderPlaced' AS cv_type, t.amount AS cv_total_revenue, t.currency, max(t.path_length) AS path_length,
			   string_agg(t.channel, ' > ' ORDER BY t.touch_index) AS channel_transformed_path, string_agg(t.campaign_id, ' > ' ORDER BY t.touch_index) AS campaign_transformed_path
		  FROM crm.touches_of_conversions('OrderPlaced', '30 days', '-infinity', 'infinity', '{}', NULL) t
		 GROUP BY t.conversion_position, t.conversion_stream, t.customer, t.converted_at, t.amount, t.currency $view$);

	PERFORM crm.put_view('channel_attributions', 'Value of orders by touch and model, one row per touch, within 30 days, with a half-life of 7.', jsonb_build_object(
			'cv_id', 'The conversion: the stream of the order.', 'customer_id', 'Who ordered.', 'cv_tstamp', 'When.', 'cv_type', 'OrderPlaced.', 'cv_total_revenue', 'Total of the order.', 'currency', 'Currency of it and of the attributions.', 'channel', 'Channel of the touch; direct: there was none.', 'campaign_id', 'Its campaign.',
			'source_index', 'Place of the touch: 1, 2 ...', 'path_length', 'How many touches; 0: none.', 'first_touch_attribution', 'Value by the first touch.', 'last_touch_attribution', 'Value by the last touch.', 'linear_attribution', 'Value in equal parts.',
			'time_decay_attribution', 'Value by age.', 'position_based_attribution', 'Value by position.'), $view$
		SELECT a.conversion_stream AS cv_id, a.customer AS customer_id, a.converted_at AS cv_tstamp, 'OrderPlaced' AS cv_type, sum(a.linear_attribution) OVER (PARTITION BY a.conversion_position) AS cv_total_revenue,
			   a.currency, a.channel, a.campaign_id, a.touch_index AS source_index, a.path_length, a.first_touch_attribution, a.last_touch_attribution, a.linear_attribution, a.time_decay_attribution, a.position_based_attribution
		  FROM (SELECT x.conversion_position, x.conversion_stream, x.customer, x.converted_at, x.currency, x.channel, x.campaign_id, x.touch_index, x.path_length,
					   sum(x.value) FILTER (WHERE m.model = 'first_touch') AS first_touch_attribution, sum(x.value) FILTER (WHERE m.model = 'last_touch') AS last_touch_attribution,
					   sum(x.value) FILTER (WHERE m.model = 'linear') AS linear_attribution, sum(x.value) FILTER (WHERE m.model = 'time_decay') AS time_decay_attribution,
					   sum(x.value) FILTER (WHERE m.model = 'position_based') AS position_based_attribution
				  FROM crm.attribution_models() m
				 CROSS JOIN LATERAL crm.attribution(m.model) x
				 GROUP BY x.conversion_position, x.conversion_stream, x.customer, x.converted_at, x.currency, x.channel, x.campaign_id, x.touch_index, x.path_length) a $view$);

	PERFORM crm.put_view('attribution_overview', 'What channels and campaigns are worth by each model, one row per model, touch point and currency.', jsonb_build_object(
			'attribution_type', 'Model.', 'path_type', 'channel or campaign.', 'touch_point', 'The channel, or campaign; none: touches without one.', 'currency', 'Currency of the revenue.', 'in_n_conversion_paths', 'Orders that it touched.',
			'attributed_conversions', 'Orders, by their parts.', 'attributed_revenue', 'Value, by its parts.', 'touch_count', 'How many touches.'), $view$
		SELECT m.model AS attribution_type, p.path_type, p.touch_point, a.currency, count(DISTINCT a.conversion_position) AS in_n_conversion_paths,
			   round(sum(a.credit) / 100, 6) AS attributed_conversions, sum(a.value) AS attributed_revenue, count(a.touched_at) AS touch_count
		  FROM crm.attribution_models() m
		 CROSS JOIN LATERAL crm.attribution(m.model) a
		 CROSS JOIN LATERAL (VALUES ('channel', a.channel), ('campaign', coalesce(a.campaign_id, 'none'))) p (path_type, touch_point)
		 GROUP BY m.model, p.path_type, p.touch_point, a.currency $view$);
END
$$;
COMMENT ON FUNCTION crm.put_attribution_views() IS 'Private, for install(): views of attribution.';
-- Integrations: what programs of others are told of customers.  Each has a
-- subscription of its own; what it was told is recorded beside, and not with the
-- customer, so that nothing is told of having been told.

CREATE FUNCTION crm.put_integrations() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.integration_delivery (
		integration_id text,
		version        bigint,
		customer_id    text,
		action         text,
		event_position bigint,
		is_delivered   boolean NOT NULL DEFAULT false,
		error_code     text,
		delivered_at   timestamptz,
		PRIMARY KEY (integration_id, version)
	);
	COMMENT ON TABLE crm.integration_delivery IS 'Private: what integrations were told, a projection. Read the view integration_deliveries.';
	RETURN crm.put_projection('crm.integration_delivery', 'integration', jsonb_build_object('ThirdPartyIntegrationSynced', $rule$ customer_id = event.data->>'customerId',
			action = event.data->>'action', event_position = (event.data->>'eventPosition')::bigint, is_delivered = coalesce((event.data->>'succeeded')::boolean, true),
			error_code = event.data->>'errorCode', delivered_at = event.occurred_at $rule$), '{"integration_id": "event.key", "version": "event.version"}');
END
$$;
COMMENT ON FUNCTION crm.put_integrations() IS 'Private, for install(): table and projection of integrations.';

CREATE FUNCTION crm.put_integration_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('integration_deliveries', 'What programs of others were told, one row per attempt.', jsonb_build_object(
			'integration_id', 'The integration; its stream is integration-<integration_id>.', 'version', 'Place in its history: 1, 2 ...', 'customer_id', 'Of whom.', 'action', 'upsert, subscribe, unsubscribe, add-to-segment, remove-from-segment or delete.',
			'event_position', 'Event that led to it.', 'is_delivered', 'True if it worked.', 'error_code', 'Why not.', 'delivered_at', 'When.'), $view$
		SELECT d.integration_id, d.version, d.customer_id, d.action, d.event_position, d.is_delivered, d.error_code, d.delivered_at
		  FROM crm.integration_delivery d
		 WHERE eventsource.may_read_category('integration') $view$);
	PERFORM crm.put_view('integrations', 'Integrations, one row each.', jsonb_build_object(
			'integration_id', 'The integration.', 'position_lag', 'How many positions of the log it is behind.', 'parked_count', 'Events that were set aside since it cannot be told of them.', 'delivered_count', 'Deliveries that worked.', 'failed_count', 'Deliveries that did not.', 'last_delivered_at', 'When the last one worked.'), $view$
		SELECT substr(s.name, 5) AS integration_id, s.lag AS position_lag, s.parked AS parked_count,
			   (SELECT count(*) FROM crm.integration_delivery d WHERE d.integration_id = substr(s.name, 5) AND d.is_delivered) AS delivered_count,
			   (SELECT count(*) FROM crm.integration_delivery d WHERE d.integration_id = substr(s.name, 5) AND NOT d.is_delivered) AS failed_count,
			   (SELECT max(d.delivered_at) FROM crm.integration_delivery d WHERE d.integration_id = substr(s.name, 5) AND d.is_delivered) AS last_delivered_at
		  FROM eventsource.subscriptions s
		 WHERE s.name LIKE 'crm\_%' AND eventsource.may_read_category('integration') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_integration_views() IS 'Private, for install(): views of integrations.';

-- Only what matters to a list of contacts, and only consent to marketing by e-mail.
CREATE FUNCTION crm.create_integration(integration_id text, consumers regrole DEFAULT NULL, from_position bigint DEFAULT 0) RETURNS bigint
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.create_subscription('crm_' || integration_id, '{customer}', $expr$
			event.type IN ('CustomerCreated', 'CustomerEmailUpdated', 'CustomerNameUpdated', 'CustomerSegmentAdded', 'CustomerSegmentRemoved', 'CustomerDeactivated', 'CustomerReactivated', 'CustomerDataDeleted')
			OR event.type IN ('ConsentGranted', 'ConsentRenewed', 'ConsentRevoked', 'ConsentExpired') AND event.data->>'purpose' = 'marketing' AND event.data->>'channel' = 'email' $expr$,
		from_position => from_position, consumers => consumers)
$$;
COMMENT ON FUNCTION crm.create_integration(text, regrole, bigint) IS
	'Lets a program of others follow customers: contacts, consent to marketing by e-mail, segments, erasures. It calls poll_integration() and ack_integration(), or nack_integration(). consumers: the role that it has. from_position: after which it begins; 0: with the first customer. Needs the rights of eventsource.grant_admin(). Errors: those of eventsource.create_subscription().';

CREATE FUNCTION crm.poll_integration(integration_id text, max_count integer DEFAULT 100, consumer text DEFAULT NULL)
	RETURNS TABLE (event_position bigint, customer_id text, action text, email text, first_name text, last_name text, segment_id text, is_subscribed boolean, occurred_at timestamptz)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT e."position", e.key,
		   CASE WHEN e.type = 'CustomerDataDeleted' OR c.status = 'deleted' THEN 'delete'
				WHEN e.type IN ('ConsentGranted', 'ConsentRenewed') THEN 'subscribe'
				WHEN e.type IN ('ConsentRevoked', 'ConsentExpired', 'CustomerDeactivated') THEN 'unsubscribe'
				WHEN e.type = 'CustomerSegmentAdded' THEN 'add-to-segment' WHEN e.type = 'CustomerSegmentRemoved' THEN 'remove-from-segment'
				ELSE 'upsert' END,
		   CASE WHEN c.status <> 'deleted' THEN c.email END, CASE WHEN c.status <> 'deleted' THEN c.first_name END, CASE WHEN c.status <> 'deleted' THEN c.last_name END, e.data->>'segmentId',
		   c.status <> 'deleted' AND c.status <> 'deactivated' AND crm.has_consent(e.key, 'marketing', 'email'), e.occurred_at
	  FROM eventsource.poll('crm_' || integration_id, max_count, consumer) e
	  LEFT JOIN crm.customers c ON c.customer_id = e.key
	 ORDER BY e."position"
$$;
COMMENT ON FUNCTION crm.poll_integration(text, integer, text) IS
	'What an integration is to be told next, in order, lent as eventsource.poll() does: action is upsert, subscribe, unsubscribe, add-to-segment, remove-from-segment or delete; the contact is as it is now, with *** for who may not see personal data. is_subscribed: whether there is consent to marketing by e-mail now; a contact that has none is not to be written to. Errors: those of eventsource.poll().';

CREATE FUNCTION crm.record_integration(integration_id text, action text, event_position bigint, customer_id text, succeeded boolean, error_code text DEFAULT NULL, error_message text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.append('integration-' || integration_id, 'ThirdPartyIntegrationSynced', jsonb_strip_nulls(jsonb_build_object('integration', integration_id, 'action', action,
		'customerId', customer_id, 'eventPosition', event_position, 'succeeded', succeeded, 'errorCode', error_code, 'errorMessage', error_message)))
$$;
COMMENT ON FUNCTION crm.record_integration(text, text, bigint, text, boolean, text, text) IS 'Private, for commands: records what an integration was told.';

CREATE FUNCTION crm.ack_integration(integration_id text, event_position bigint, action text, customer_id text, consumer text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	-- Who is erased is not recorded about: what the program of others was told last is that.
	PERFORM crm.record_integration(integration_id, action, event_position,
		CASE WHEN EXISTS (SELECT FROM crm.customers c WHERE c.customer_id = ack_integration.customer_id AND c.status = 'deleted') THEN NULL ELSE customer_id END, true);
	PERFORM eventsource.ack('crm_' || integration_id, event_position, consumer);
END
$$;
COMMENT ON FUNCTION crm.ack_integration(text, bigint, text, text, text) IS
	'Says that an integration was told of all up to this event, and records the last of it. Errors: those of eventsource.ack().';

CREATE FUNCTION crm.nack_integration(integration_id text, event_position bigint, action text, customer_id text, error_code text, error_message text DEFAULT NULL, consumer text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.record_integration(integration_id, action, event_position, customer_id, false, error_code, error_message);
	PERFORM eventsource.nack('crm_' || integration_id, event_position, error_code, consumer);
END
$$;
COMMENT ON FUNCTION crm.nack_integration(text, bigint, text, text, text, text, text) IS
	'Says that an integration could not be told: it is tried again, or set aside, as eventsource.nack() does; recorded. Errors: those of eventsource.nack().';
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
	SELECT count(*) INTO known FROM eventsource.subject_events(stream);
	PERFORM crm.remove_from_segment(m.customer_id, m.segment_id, 'erased', erase_customer.actor)
	   FROM (SELECT * FROM crm.segment_members s WHERE s.customer_id = erase_customer.customer_id ORDER BY s.segment_id) m;
	PERFORM crm.skip_message(m.message_id, 'erased', '{"refused": "erased"}')
	   FROM (SELECT * FROM crm.messages x WHERE x.customer_id = erase_customer.customer_id AND x.status = 'queued' ORDER BY x.message_id) m;
	PERFORM eventsource.append(stream, 'CustomerDataDeleted', jsonb_build_object('deletionType', erase_customer.mode, 'eventsAnonymized', known,
		'completedAt', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), actor => erase_customer.actor);
	RETURN QUERY SELECT e.target, e.affected FROM eventsource.erase_subject(stream, erase_customer.mode, erase_customer.reason, erase_customer.actor) e;
END
$$;
COMMENT ON FUNCTION crm.erase_customer(text, text, text, text) IS
	'Forgets a customer, in this transaction: segments and messages that wait go, personal fields of all events about the customer go as the mode says (see eventsource.erase_subject()), and nothing is recorded of the customer any more. What was bought stays, without a person. Integrations are told. One row for each target: how much was cleared. Errors: 42501 without the right to this mode (eventsource.grant_eraser), ZE002 unknown customer, ZE009 erased already.';
-- Events of others in, ours out: e-commerce events as Segment, RudderStack and
-- PostHog name them, logs in the columns of XES, and XES-style rows of ours.

CREATE FUNCTION crm.import_event(name text, customer_id text, properties jsonb DEFAULT '{}', occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL, anonymous_id text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p CONSTANT jsonb := coalesce(properties, '{}');
	event_type text;
	session CONSTANT text := coalesce(p->>'session_id', anonymous_id, customer_id);
	currency CONSTANT text := coalesce(p->>'currency', 'USD');
	campaign CONSTANT jsonb := jsonb_build_object('campaignId', coalesce(p #>> '{context,campaign,name}', p->>'campaign'), 'channel', crm.import_channel(coalesce(p #>> '{context,campaign,medium}', p->>'channel')));
	stream text;
	data jsonb;
BEGIN
	SELECT a.type INTO event_type FROM crm.event_type_aliases() a WHERE a.alias = import_event.name AND a.origin = 'segment';
	IF event_type IS NULL THEN
		RAISE undefined_object USING
			MESSAGE = format('event "%s" has no counterpart here', name),
			DETAIL = 'Nothing says what it would be.',
			HINT = format('Known: %s.', (SELECT string_agg(a.alias, ', ' ORDER BY a.alias) FROM crm.event_type_aliases() a WHERE a.origin = 'segment'));
	END IF;
	data := CASE event_type
		WHEN 'PageViewed' THEN jsonb_build_object('pageUrl', coalesce(p->>'url', p->>'path', '/'), 'pageTitle', p->'title', 'referrer', p->'referrer', 'sessionId', session) || campaign
		WHEN 'ProductViewed' THEN jsonb_build_object('productId', coalesce(p->>'product_id', p->>'sku'), 'productName', p->'name', 'productCategory', p->'category', 'price', p->'price', 'currency', p->'currency', 'sessionId', session) || campaign
		WHEN 'SearchPerformed' THEN jsonb_build_object('query', p->'query', 'resultsCount', coalesce(p->'results_count', '0'), 'sessionId', session)
		WHEN 'ItemAddedToCart' THEN jsonb_build_object('productId', coalesce(p->>'product_id', p->>'sku'), 'productName', p->'name', 'productCategory', p->'category', 'quantity', coalesce(p->'quantity', '1'), 'price', coalesce(p->'price', '0'), 'currency', currency)
		WHEN 'ItemRemovedFromCart' THEN jsonb_build_object('productId', coalesce(p->>'product_id', p->>'sku'), 'quantity', coalesce(p->'quantity', '1'))
		WHEN 'CheckoutStarted' THEN '{}'
		WHEN 'CheckoutStepCompleted' THEN jsonb_build_object('step', (ARRAY['shipping', 'payment', 'review'])[least(greatest((p->>'step')::integer, 1), 3)], 'stepNumber', p->'step')
		WHEN 'OrderPlaced' THEN jsonb_build_object('cartId', p->'cart_id', 'currency', currency, 'tax', coalesce(p->'tax', '0'), 'shipping', coalesce(p->'shipping', '0'),
			'items', (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('productId', coalesce(i->>'product_id', i->>'sku'), 'productName', i->'name', 'category', i->'category', 'quantity', coalesce(i->'quantity', '1'), 'price', i->'price')))
						FROM jsonb_array_elements(p->'products') i),
			'subtotal', (SELECT sum(coalesce((i->>'quantity')::numeric, 1) * (i->>'price')::numeric) FROM jsonb_array_elements(p->'products') i),
			'total', (SELECT sum(coalesce((i->>'quantity')::numeric, 1) * (i->>'price')::numeric) FROM jsonb_array_elements(p->'products') i) + coalesce((p->>'tax')::numeric, 0) + coalesce((p->>'shipping')::numeric, 0)) || campaign
		WHEN 'OrderCancelled' THEN '{}'
		ELSE jsonb_build_object('refundId', coalesce(p->>'refund_id', 'import-' || (p->>'order_id')), 'amount', coalesce(p->'total', p->'revenue'), 'currency', currency) END;
	stream := CASE WHEN event_type IN ('PageViewed', 'ProductViewed', 'SearchPerformed') THEN 'visit-' || session
		WHEN event_type IN ('ItemAddedToCart', 'ItemRemovedFromCart', 'CheckoutStarted', 'CheckoutStepCompleted') THEN 'cart-' || coalesce(p->>'cart_id', p->>'checkout_id', session)
		ELSE 'order-' || (p->>'order_id') END;
	PERFORM eventsource.append(stream, event_type, jsonb_strip_nulls(data || jsonb_build_object('customerId', customer_id)), occurred_at => occurred_at,
		metadata => '{"import": true}', idempotency_key => message_id, actor => 'system:import');
	RETURN stream;
END
$$;
COMMENT ON FUNCTION crm.import_event(text, text, jsonb, timestamptz, text, text) IS
	'Takes an event of an e-commerce specification (Product Viewed, Product Added, Checkout Started, Order Completed ...; see event_type_aliases()) with its properties, and records it as ours, marked as an import, so that no campaign begins of it; returns the stream. message_id: given again, it is recorded once. anonymous_id: of who is not known. Errors: 42704 unknown name, ZE007 what is needed is missing, ZE002 it does not fit what is there.';

CREATE FUNCTION crm.import_channel(medium text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN medium ~* '^e?-?mail' THEN 'email' WHEN medium ~* 'sms|text' THEN 'sms' WHEN medium ~* 'push' THEN 'push' WHEN medium ~* 'social' THEN 'social'
		WHEN medium ~* 'cpc|ppc|paid|ad|display|banner' THEN 'paid-ad' WHEN medium ~* 'web|organic|referral' THEN 'web' END
$$;
COMMENT ON FUNCTION crm.import_channel(text) IS 'Our channel for a medium of a campaign, as utm_medium has it; NULL: none.';

-- A log with a case, an activity, a time and a resource, as CSV files of process mining have them.
CREATE FUNCTION crm.import_xes_row(category text, case_id text, activity text, happened_at timestamptz, resource text DEFAULT NULL, attributes jsonb DEFAULT '{}', row_key text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result eventsource.appended;
BEGIN
	SELECT * INTO result FROM eventsource.append(category || '-' || case_id, activity, coalesce(attributes, '{}'), actor => resource, occurred_at => happened_at,
		metadata => '{"import": true}', idempotency_key => row_key);
	RETURN NOT result.is_duplicate;
END
$$;
COMMENT ON FUNCTION crm.import_xes_row(text, text, text, timestamptz, text, jsonb, text) IS
	'Takes a row of a log as process mining has them (case:concept:name, concept:name, time:timestamp, org:resource) into a category, marked as an import. row_key: given again, the row is taken once; false: it was there. Errors: those of eventsource.append().';

CREATE FUNCTION crm.put_exchange_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('daily_metrics', 'Counts and sums by day, for dashboards of time series; days are those of UTC.', jsonb_build_object(
			'time', 'Start of the day.', 'metric', 'customers_registered, consents_granted, consents_revoked, messages_sent, messages_skipped, carts_abandoned, orders_placed, payments_failed; revenue and refunds with the currency; and those of lead_metrics.',
			'value', 'How many, or how much, that day.'), $view$
		SELECT date_trunc('day', m.at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS time, m.metric, sum(m.value) AS value
		  FROM (SELECT j.occurred_at, CASE j.type WHEN 'CustomerCreated' THEN 'customers_registered' WHEN 'ConsentGranted' THEN 'consents_granted' WHEN 'ConsentRevoked' THEN 'consents_revoked'
						WHEN 'MessageSent' THEN 'messages_sent' WHEN 'MessageSkipped' THEN 'messages_skipped' WHEN 'CartAbandoned' THEN 'carts_abandoned' WHEN 'CheckoutAbandoned' THEN 'carts_abandoned'
						WHEN 'OrderPlaced' THEN 'orders_placed' WHEN 'PaymentFailed' THEN 'payments_failed' END, 1::numeric
				  FROM crm.journey_event j
				 WHERE j.type IN ('CustomerCreated', 'ConsentGranted', 'ConsentRevoked', 'MessageSent', 'MessageSkipped', 'CartAbandoned', 'CheckoutAbandoned', 'OrderPlaced', 'PaymentFailed')
				   AND eventsource.may_read_category(j.category)
				 UNION ALL
				SELECT j.occurred_at, CASE j.type WHEN 'PaymentSucceeded' THEN 'revenue_' ELSE 'refunds_' END || j.currency, j.amount
				  FROM crm.journey_event j
				 WHERE j.type IN ('PaymentSucceeded', 'RefundCompleted') AND eventsource.may_read_category(j.category)) m (at, metric, value)
		 GROUP BY 1, 2
		 UNION ALL
		SELECT l.time, l.metric, l.value FROM crm.lead_metrics l $view$);

	PERFORM crm.put_view('xes_events', 'Events as process mining reads them, one row each: leads, carts, orders, messages, campaigns and customers; order by event_position.', jsonb_build_object(
			'case:concept:name', 'The case: the stream.', 'concept:name', 'What happened.', 'time:timestamp', 'When.', 'org:resource', 'Who did it.', 'lifecycle:transition', 'complete: events are points.', 'case:type', 'Category of the stream.',
			'case:subject', 'Whom it is about.', 'state', 'State after it.', 'reason', 'Why, as a code.', 'event_position', 'Place in the log.'), $view$
		SELECT e.stream AS "case:concept:name", e.type AS "concept:name", e.occurred_at AS "time:timestamp", e.actor AS "org:resource", 'complete' AS "lifecycle:transition", e.category AS "case:type",
			   e.subject AS "case:subject", e.to_state AS state, e.reason, e.position AS event_position
		  FROM eventsource.events e
		 WHERE e.category IN ('lead', 'customer', 'visit', 'cart', 'order', 'message', 'campaign_run') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_exchange_views() IS 'Private, for install(): views for programs of others.';
-- install(), and who may do what.

CREATE FUNCTION crm.install() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
	of_customer CONSTANT text := $subject$ coalesce('customer-' || (event.data->>'customerId'), event.stream) $subject$;
	changed integer;
	role regrole;
BEGIN
	PERFORM eventsource.expect_owner();
	-- Where tables are gone, reactions that see their rows stand in the way of all that is
	-- defined; they are made anew below.
	IF EXISTS (SELECT FROM eventsource.categories c
				WHERE c.state_machine LIKE 'crm\_%' AND c.context IS NOT NULL
				  AND NOT EXISTS (SELECT FROM eventsource.projections p WHERE p.target = to_regclass(c.context::text))) THEN
		PERFORM eventsource.drop_reaction(r.name) FROM eventsource.reactions r WHERE r.name ~ '^(crm_|campaign_.*\.\d+\.\d+$)';
	END IF;
	PERFORM crm.make_leads(), crm.make_customers(), crm.make_messages(), crm.make_carts(), crm.make_orders();
	changed := crm.put_event_types() + crm.put_settings() + crm.put_leads() + crm.put_customers() + crm.put_messages();
	changed := changed + crm.put_carts() + crm.put_orders() + crm.put_ledger() + crm.put_journeys() + crm.put_segments() + crm.put_funnels() + crm.put_campaigns() + crm.put_integrations();
	PERFORM crm.put_catalogue_views(), crm.put_lead_views(), crm.put_lead_reports(), crm.put_customer_views(), crm.put_message_views(), crm.put_cart_views(), crm.put_order_views(),
		crm.put_ledger_views(), crm.put_segment_views(), crm.put_journey_views(),
		crm.put_rfm_views(), crm.put_funnel_views(), crm.put_campaign_views(), crm.put_attribution_views(), crm.put_integration_views(),
		crm.put_exchange_views();
	changed := changed + (
		SELECT sum(crm.put_category(c.name, c.machine, c.context, c.subject)) FROM (VALUES
			('lead', 'crm_lead', 'crm.lead', NULL),
			('customer', 'crm_customer', 'crm.customer', NULL),
			('message', 'crm_message', 'crm.message', of_customer),
			('visit', NULL, NULL, of_customer),
			('cart', 'crm_cart', 'crm.cart', of_customer),
			('order', 'crm_order', 'crm.purchase', of_customer),
			('account', NULL, NULL, $subject$ 'customer-' || event.key $subject$),
			('integration', NULL, NULL, of_customer),
			('segment', NULL, NULL, NULL),
			('funnel', NULL, NULL, NULL),
			('campaign', NULL, NULL, of_customer),
			('campaign_run', NULL, NULL, of_customer),
			('crm_rule', NULL, NULL, NULL),
			('crm_setting', NULL, NULL, NULL)) c (name, machine, context, subject));
	changed := changed + crm.put_customer_reactions() + crm.put_message_reactions() + crm.put_order_reactions() + crm.put_segment_reactions()
		+ crm.put_campaign_reactions();
	IF changed > 0 THEN
		-- Leads that are there already have the timeouts of a new version of their machine.
		PERFORM eventsource.schedule_timeouts('lead');
	END IF;
	-- A view that had to be made anew has lost who may read it.
	FOR role IN SELECT a.grantee
				  FROM pg_proc p, aclexplode(p.proacl) a
				 WHERE p.oid = 'crm.masked(text)'::regprocedure AND a.grantee <> p.proowner LOOP
		PERFORM crm.grant_views(role);
	END LOOP;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.install() IS
	'Makes or brings up to date what belongs to the CRM: event types, categories, state machines, projections, views. Returns how many definitions were new or different; 0 when all was there. Call it after CREATE EXTENSION and ALTER EXTENSION UPDATE; it may be called again. Errors: 42501 unless the owner of the extension calls it, 42710 if a category is in use by others.';

CREATE FUNCTION crm.grant_views(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v regclass;
BEGIN
	FOR v IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v' LOOP
		EXECUTE format('GRANT SELECT ON %s TO %s', v, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.grant_views(regrole) IS 'Private, for grant_reader(): SELECT on all views of the CRM.';

CREATE FUNCTION crm.reader_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ARRAY['attribution', 'attribution_models', 'balance', 'campaign_examples', 'can_contact', 'catalogue', 'channel_rule_defaults', 'choose_channels', 'clv_summary', 'event_type_aliases', 'event_type_definitions', 'fields', 'flows', 'customer_metrics', 'frequency_cap_defaults', 'funnel', 'funnel_defaults', 'funnel_dropoff', 'funnel_entries', 'funnel_progress', 'funnel_steps', 'has_consent', 'lead_owner_at', 'lead_reasons', 'lead_sentence',
				 'lead_state_at', 'lead_states', 'masked', 'may_contact_lead', 'paid_orders', 'payment_error_message', 'quiet_until', 'retention', 'rfm', 'rfm_segment_rules', 'segment_defaults', 'setting', 'setting_defaults', 'touches_of_conversions', 'window_funnel', 'window_funnel_end', 'window_funnel_step']::name[]
$$;
COMMENT ON FUNCTION crm.reader_functions() IS 'Private, for grant_reader(): what readers call.';

CREATE FUNCTION crm.writer_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ARRAY['ack_integration', 'add_lead_note', 'add_to_cart', 'add_to_segment', 'append_to_cart', 'append_to_lead', 'append_to_order', 'assign_lead', 'backfill_lead', 'cancel_order', 'change_email', 'claim_messages', 'clear_lead_flag', 'complete_checkout_step', 'complete_message', 'complete_refund', 'consent_expiry',
				 'create_lead', 'deactivate_customer', 'define_funnel', 'define_segment', 'deliver_order', 'drop_segment', 'fail_message', 'fail_payment', 'fail_refund', 'erase_customer', 'grant_consent', 'import_channel', 'import_event', 'import_xes_row', 'initiate_payment', 'initiate_refund', 'log_contact', 'new_token', 'nack_integration', 'pause_campaign', 'pause_campaigns', 'place_order', 'poll_integration', 'post_to_ledger', 'reactivate_customer', 'request_erasure', 'recheck_messages', 'record_message_event', 'recalculate_segments', 'record_integration', 'record_payment', 'record_signal', 'register_customer',
				 'remove_from_cart', 'remove_from_segment', 'renew_consent', 'resume_campaign', 'resume_campaigns', 'retry_payment', 'revoke_consent', 'send_message', 'set_channel_rule', 'set_frequency_cap', 'set_lead_flag', 'set_setting', 'ship_order', 'skip_message', 'start_checkout', 'tick_leads', 'token_hash', 'trigger_campaign', 'transition_lead',
				 'update_preferences', 'update_profile', 'verify_email']::name[]
$$;
COMMENT ON FUNCTION crm.writer_functions() IS 'Private, for grant_writer(): what writers call, besides.';

CREATE FUNCTION crm.grant_functions(role regrole, names name[]) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace AND p.proname = ANY (names) LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', f, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.grant_functions(regrole, name[]) IS 'Private, for grant_reader() and grant_writer().';

CREATE FUNCTION crm.grant_reader(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.grant_reader(role, ARRAY(SELECT DISTINCT c.category FROM crm.catalogue() c));
	EXECUTE format('GRANT USAGE ON SCHEMA crm TO %s', role);
	PERFORM crm.grant_views(role), crm.grant_functions(role, crm.reader_functions());
END
$$;
COMMENT ON FUNCTION crm.grant_reader(regrole) IS
	'Lets a role read the views of the CRM and its categories, and nothing else of the log; a BI tool, say. Personal data is masked unless eventsource.grant_personal_data() says otherwise. Errors: 42501 unless the owner of the extension calls it.';

CREATE FUNCTION crm.grant_writer(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.grant_writer(role, ARRAY(SELECT DISTINCT c.category FROM crm.catalogue() c));
	PERFORM crm.grant_reader(role), crm.grant_functions(role, crm.writer_functions());
END
$$;
COMMENT ON FUNCTION crm.grant_writer(regrole) IS
	'Lets a role call the commands of the CRM, and append to its categories; and read, as grant_reader() does. Errors: 42501 unless the owner of the extension calls it.';

CREATE FUNCTION crm.put_catalogue_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('event_types', 'The event types of the CRM, one row each.', jsonb_build_object(
			'event_type', 'Name of the type.', 'category', 'Category of the streams that it happens in.',
			'phase', 'Phase of the customer''s life that it belongs to.', 'description', 'What it says.',
			'schema_version', 'Latest version of its schema; NULL if it is not registered.', 'schema', 'JSON Schema of its data.',
			'personal_fields', 'Fields of its data that are personal, joined by '' > ''; NULL: none.',
			'example', 'Data as it could be.', 'is_registered', 'True if install() registered it as it stands here.'), $view$
		SELECT d.type AS event_type, d.category, d.phase, d.description, e.version AS schema_version, d.schema,
			   (SELECT string_agg(p.key, ' > ' ORDER BY p.key) FROM jsonb_each(d.pii) p) AS personal_fields,
			   d.example, e.schema IS NOT DISTINCT FROM d.schema AND NOT e.is_withdrawn AS is_registered
		  FROM crm.event_type_definitions() d
		  LEFT JOIN eventsource.event_types e ON e.type = d.type AND e.category = d.category $view$);
END
$$;
COMMENT ON FUNCTION crm.put_catalogue_views() IS 'Private, for install().';

-- Nobody calls what he was not given.
DO $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace LOOP
		EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', f);
	END LOOP;
END
$$;
