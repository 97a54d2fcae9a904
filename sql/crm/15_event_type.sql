-- The catalogue: every event type of the documents, as data.  install() registers
-- what is here.  A type has one name: others that are in use are aliases.
-- Names are the documents': of leads in snake_case, of all else in CamelCase.  setting_changed
-- is ours, and written as the settings are that it tells of.

CREATE FUNCTION crm.catalogue() RETURNS TABLE (type text, category text, phase text, required text[], optional text[], description text)
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	SELECT c.type, c.category, c.phase, string_to_array(c.required, ' '), string_to_array(c.optional, ' '), c.description
	  FROM (VALUES
		-- Leads: the stream is lead-<id>.
		('contact_form_submission', 'lead', 'Acquisition', NULL, 'name email:lead phone source:lead property message',
			'Somebody asked: a lead begins'),
		('lead_imported', 'lead', 'Acquisition', 'state created_at', 'name email:lead phone source:lead agent_id flags legacy_status',
			'A lead that was there before its history: where it stood'),
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
		('lead_assigned', 'lead', 'Lifecycle Management', 'agent_id:new', 'from_agent_id note',
			'The lead has another agent; whose it was, the database says'),
		('flag_set', 'lead', 'Lifecycle Management', 'flag', 'evidence', 'The lead may not be contacted in some way from now on'),
		('flag_cleared', 'lead', 'Lifecycle Management', 'flag', 'evidence', 'It may again'),
		('note_added', 'lead', 'Lifecycle Management', 'text', NULL, 'A note of an agent'),

		-- Customers: customer-<id>.
		('CustomerCreated', 'customer', 'Acquisition', 'email source', 'firstName lastName phone dateOfBirth ipAddress userAgent',
			'A customer registered'),
		('TermsAccepted', 'customer', 'Acquisition', 'termsVersion', 'ipAddress userAgent', 'Accepted the terms'),
		('EmailVerificationRequested', 'customer', 'Acquisition', 'email tokenHash', 'expiresAt',
			'Was sent a token to prove the address; only the hash of its hash is kept'),
		('EmailVerified', 'customer', 'Acquisition', 'tokenHash', 'email', 'Proved the address, by the hash of the token'),
		('CustomerEmailUpdated', 'customer', 'Lifecycle Management', 'newEmail requiresVerification', 'oldEmail ipAddress userAgent',
			'Has another address'),
		('CustomerNameUpdated', 'customer', 'Lifecycle Management', 'newFirstName newLastName', 'oldFirstName oldLastName ipAddress userAgent',
			'Has another name'),
		('CustomerPhoneUpdated', 'customer', 'Lifecycle Management', 'newPhone', 'oldPhone ipAddress userAgent', 'Has another phone number, or none'),
		('CustomerAddressUpdated', 'customer', 'Lifecycle Management', 'newAddress', 'oldAddress ipAddress userAgent', 'Lives elsewhere'),
		('CustomerDateOfBirthUpdated', 'customer', 'Lifecycle Management', 'newDateOfBirth', 'oldDateOfBirth ipAddress userAgent',
			'The date of birth was put right'),
		('CustomerDeactivated', 'customer', 'Lifecycle Management', 'reason:deactivation previousStatus', 'notes',
			'The account is closed; this can be undone'),
		('CustomerReactivated', 'customer', 'Lifecycle Management', NULL, 'notes', 'The account is open again; consent is to be asked for anew'),
		('CustomerDataDeletionRequested', 'customer', 'Lifecycle Management', 'reason:deletion deletionType', NULL, 'Personal data is to be erased'),
		('CustomerDataDeleted', 'customer', 'Lifecycle Management', 'deletionType completedAt', 'eventsAnonymized', 'Personal data was erased'),
		('CustomerEmailInvalidated', 'customer', 'Lifecycle Management', 'reason:invalid', 'messageId', 'The address takes no mail'),
		('CustomerSegmentAdded', 'customer', 'Retention', 'segmentId', 'segmentName criteria', 'Entered a segment'),
		('CustomerSegmentRemoved', 'customer', 'Retention', 'segmentId', 'segmentName reason:code', 'Left a segment'),
		('ConsentGranted', 'customer', 'Acquisition', 'purpose channel', 'ipAddress userAgent consentMethod noticeVersion legalBasis expiresAt',
			'Consented for a purpose and a channel'),
		('ConsentRenewed', 'customer', 'Retention', 'purpose channel', 'ipAddress userAgent consentMethod noticeVersion legalBasis expiresAt',
			'Consented again'),
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
		('MessageQueued', 'message', 'Activation', 'customerId channel messageClass:required', 'topic campaignId templateId content decision',
			'A message is to be sent, and why it might be'),
		('MessageSent', 'message', 'Activation', 'customerId channel', 'messageId campaignId templateId messageClass topic decision',
			'A message went out, and why it might'),
		('MessageSkipped', 'message', 'Activation', 'customerId channel reason:skip', 'campaignId templateId messageClass topic content decision',
			'A message was not sent, and why'),
		('MessageFailed', 'message', 'Activation', 'customerId channel errorType', 'errorMessage retryable attempt campaignId templateId',
			'A message could not be sent'),
		('MessageDelivered', 'message', 'Activation', 'customerId channel', 'messageId', 'A message arrived'),
		('MessageBounced', 'message', 'Activation', 'customerId channel bounceType', 'messageId errorMessage', 'A message came back'),
		('MessageOpened', 'message', 'Activation', 'customerId channel', 'messageId campaignId', 'A message was opened'),
		('MessageClicked', 'message', 'Activation', 'customerId channel', 'messageId campaignId pageUrl', 'A link in a message was followed'),

		-- Journeys: visit-<session>.
		('PageViewed', 'visit', 'Activation', 'pageUrl', 'customerId visitorId sessionId pageTitle referrer timeOnPage channel:touch campaignId',
			'Saw a page'),
		('ProductViewed', 'visit', 'Activation', 'productId',
			'customerId visitorId sessionId productName productCategory price currency viewSource channel:touch campaignId', 'Looked at a product'),
		('SearchPerformed', 'visit', 'Activation', 'query resultsCount', 'customerId visitorId sessionId selectedResult', 'Searched'),
		('VisitorIdentified', 'visit', 'Acquisition', 'customerId visitorId', NULL, 'It became known who the stranger of a visit is'),
		('CustomTracked', 'visit', 'Activation', 'eventName', 'customerId visitorId sessionId properties',
			'A program of others told something that has no counterpart here'),
		('ProductCompared', 'visit', 'Activation', 'productIds', 'customerId sessionId comparisonAttributes', 'Compared products'),
		('ReviewRead', 'visit', 'Activation', 'productId reviewId', 'customerId sessionId rating', 'Read a review'),
		('VideoWatched', 'visit', 'Activation', 'videoId watchDuration totalDuration', 'customerId sessionId productId completionRate',
			'Watched a video'),

		-- Carts: cart-<id>.
		('CartCreated', 'cart', 'Purchase', 'source', 'customerId sessionId', 'A cart was begun'),
		('ItemAddedToCart', 'cart', 'Purchase', 'productId quantity price:item currency', 'customerId productName productCategory',
			'Something was put into it'),
		('ItemRemovedFromCart', 'cart', 'Purchase', 'productId quantity', 'customerId', 'Something was taken out of it'),
		('CartAbandoned', 'cart', 'Purchase', 'items totalValue currency', 'customerId abandonedAt timeInCart',
			'It was left alone; what lay in it, the database says'),
		('CheckoutStarted', 'cart', 'Purchase', 'cartValue itemCount', 'customerId currency', 'The checkout began'),
		('CheckoutStepCompleted', 'cart', 'Purchase', 'step stepNumber', 'customerId', 'One step of it was done'),
		('CartConverted', 'cart', 'Purchase', 'orderId', 'customerId', 'It became an order'),
		('CartReopened', 'cart', 'Purchase', 'orderId', 'customerId', 'Its order was cancelled: it may be changed and ordered again'),
		('CheckoutAbandoned', 'cart', 'Purchase', 'abandonedValue', 'customerId currency lastCompletedStep timeInCheckout', 'It was left alone'),

		-- Orders with their payments and refunds: order-<id>.
		('OrderPlaced', 'order', 'Purchase', 'customerId items subtotal tax shipping total currency',
			'cartId shippingAddress billingAddress channel:touch campaignId', 'An order was placed'),
		('PaymentInitiated', 'order', 'Purchase', 'customerId paymentId paymentMethod amount currency', 'paymentProvider', 'A payment was begun'),
		('PaymentSucceeded', 'order', 'Purchase', 'customerId paymentId amount currency', 'transactionId', 'It succeeded'),
		('PaymentFailed', 'order', 'Purchase', 'customerId paymentId amount currency errorCode retryable', 'errorMessage attempt givenUp',
			'It failed; how often so far, and whether it is given up, the database says'),
		('RetryScheduled', 'order', 'Purchase', 'customerId attempt maxAttempts retryAt', 'paymentId', 'It is to be tried again'),
		('PaymentRetried', 'order', 'Purchase', 'customerId paymentId attempt', NULL, 'It was tried again'),
		('OrderConfirmed', 'order', 'Purchase', 'customerId confirmationNumber', 'estimatedDelivery', 'The order is paid and confirmed'),
		('OrderCancelled', 'order', 'Purchase', 'customerId', 'reason:code', 'The order was cancelled'),
		('OrderShipped', 'order', 'Fulfillment', 'customerId', 'trackingNumber carrier shippedAt estimatedDelivery', 'It is on its way'),
		('OrderDelivered', 'order', 'Fulfillment', 'customerId', 'deliveredAt signedBy productCategory', 'It arrived'),
		('RefundInitiated', 'order', 'Fulfillment', 'customerId refundId amount currency reason:refund refundType', 'items:refund',
			'Money is to be paid back'),
		('RefundCompleted', 'order', 'Fulfillment', 'customerId refundId amount currency', 'completedAt transactionId', 'It was paid back'),
		('RefundFailed', 'order', 'Fulfillment', 'customerId refundId errorCode', 'errorMessage', 'It could not be paid back'),

		-- Ledger: account-<id>.
		('ChargePosted', 'account', 'Purchase', 'amount:positive currency', 'customerId orderId reference note', 'Money came in'),
		('RefundPosted', 'account', 'Fulfillment', 'amount:positive currency', 'customerId orderId reference note', 'Money was paid back'),
		('CreditPosted', 'account', 'Retention', 'amount:positive currency', 'customerId orderId reference note', 'Was given credit'),
		('AdjustmentPosted', 'account', 'Lifecycle Management', 'amount:signed currency note:required', 'customerId orderId reference',
			'The balance was put right, up or down'),

		-- Identities: identity-<hash of an id>.
		('IdentityLinked', 'identity', 'Acquisition', 'customerId origin', NULL, 'An id is known to be a customer''s'),

		-- The rest.
		('SegmentDefined', 'segment', 'Lifecycle Management', 'rule:segment', 'segmentName', 'Who belongs to a segment'),
		('SegmentDropped', 'segment', 'Lifecycle Management', NULL, NULL, 'A segment is not worked out any more'),
		('SegmentationRecalculated', 'segment', 'Lifecycle Management', NULL, 'segmentCount criteria', 'Segments were worked out anew'),
		('ThirdPartyIntegrationSynced', 'integration', 'Lifecycle Management', 'integration action',
			'customerId eventPosition succeeded errorCode errorMessage', 'A program of others was told something'),
		('CampaignDefined', 'campaign', 'Lifecycle Management', 'trigger steps messageClass:required', 'exits description',
			'A campaign, or a new version of it'),
		('CampaignSuspended', 'campaign', 'Lifecycle Management', NULL, 'reason:code', 'It rests: what is due waits'),
		('CampaignContinued', 'campaign', 'Lifecycle Management', NULL, 'reason:code', 'It goes on'),
		('CampaignEnded', 'campaign', 'Lifecycle Management', NULL, 'reason:code', 'It is over: nobody enters it, and who is in it leaves'),
		('CampaignTriggered', 'campaign', 'Activation', 'customerId', 'data', 'Somebody was put into it by hand'),
		('CampaignRunStarted', 'campaign_run', 'Activation', 'customerId campaignId campaignVersion', 'eventPosition',
			'A customer entered a campaign'),
		('CampaignStepDone', 'campaign_run', 'Activation', 'customerId campaignId stepNumber action', 'messageId outcome:text',
			'A step of it was done'),
		('CampaignRunEnded', 'campaign_run', 'Activation', 'customerId campaignId reason:skip', NULL, 'The customer left it: completed, or why'),
		('FunnelDefined', 'funnel', 'Lifecycle Management', 'steps:funnel', NULL, 'Stages of a funnel'),
		('FrequencyCapChanged', 'crm_rule', 'Lifecycle Management', 'channel', 'messageClass frequency window max',
			'How often messages may be sent; without max: as often as one likes'),
		('ChannelRuleChanged', 'crm_rule', 'Lifecycle Management', 'channel messageClass:required rule', NULL, 'What a channel may be used for'),
		('LeadReasonDefined', 'crm_rule', 'Lifecycle Management', 'code category:reason label phrase eventTypes', NULL,
			'A reason code of leads, or other words for one; it holds again if it was retired'),
		('LeadReasonRetired', 'crm_rule', 'Lifecycle Management', 'code', NULL, 'A reason code that is not taken any more'),
		('setting_changed', 'crm_setting', 'Lifecycle Management', 'value', NULL, 'A setting of the CRM has another value; NULL: its default')
	  ) c (type, category, phase, required, optional, description)
$sql$;
COMMENT ON FUNCTION crm.catalogue() IS
	'Private: the event types that install() registers, with the fields (see fields()) that must and that may be in their data.';

-- A schema is closed: what is not told of is refused, so that no personal data
-- hides in it, and a field that comes later is compatible with what was before.
CREATE FUNCTION crm.event_type_definitions()
	RETURNS TABLE (type text, category text, phase text, schema jsonb, pii jsonb, example jsonb, description text)
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
		('Order Cancelled', 'segment', 'OrderCancelled', NULL),
		('$pageview', 'posthog', 'PageViewed', NULL),
		('$screen', 'posthog', 'PageViewed', 'of an app')
$sql$;
COMMENT ON FUNCTION crm.event_type_aliases() IS
	'Other names for event types: alias, where it is used (documents; segment: the e-commerce events of Segment, RudderStack and PostHog; posthog: its own), our type, and what tells it apart.';
