\set own_database crm_story
\i test/own_database.sql
-- The story of "make demo": browse, leave a cart alone, opt in to SMS, buy through an e-mail link; and what each view then says.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
\o /dev/null
\i examples/crm_story.sql
\o
\pset format unaligned
\pset tuples_only on
SELECT plan(16);
SELECT is((SELECT string_agg(event_type, ' ' ORDER BY event_position) FROM crm.journeys WHERE customer_id = 'zoe' AND category <> 'customer'),
	'PageViewed ProductViewed ProductCompared ItemAddedToCart CartAbandoned MessageQueued MessageSent MessageClicked PageViewed CheckoutStarted CheckoutStepCompleted OrderPlaced CartConverted PaymentInitiated PaymentSucceeded OrderConfirmed',
	'the journey');
SELECT is((SELECT string_agg(purpose || '/' || channel || ' ' || consent_method, ', ' ORDER BY version) FROM crm.consent_history), 'marketing/email registration-checkbox, marketing/sms popup', 'when she consented, and how');
SELECT is((SELECT concat_ws(' ', template_id, status, skip_reason, decision->>'consent', decision->>'frequency') FROM crm.messages), 'still-yours sent true weekly', 'why she was written to');
SELECT is((SELECT concat_ws(' ', status, steps_done, last_outcome) FROM crm.campaign_runs), 'completed 1 queued', 'the campaign');
SELECT is((SELECT concat_ws(' ', run_count, sent_count, skipped_count, clicked_count) FROM crm.campaigns), '1 1 0 1', 'in numbers');
SELECT is((SELECT concat_ws(' ', status, abandonment_count, order_id) FROM crm.carts), 'ordered 1 o1', 'the cart');
SELECT is((SELECT concat_ws(' ', status, payment_status, total, channel, campaign_id) FROM crm.orders), 'confirmed paid 133.90 email cart-reminder', 'the order');
SELECT is((SELECT bool_and(is_completed AND is_reached) FROM crm.funnel_progress('purchase', 'zoe')), true, 'the funnel to its end');
SELECT is((SELECT string_agg(channel, ' > ' ORDER BY touch_index) FROM crm.attribution('linear')), 'social > email', 'two touches: a click and its visit are one');
SELECT is((SELECT string_agg(value::text, ' ' ORDER BY touch_index) FROM crm.attribution('position_based')), '66.95 66.95', 'half each');
SELECT is((SELECT concat_ws(' ', segments, affinities, order_count, lifetime_value, message_count) FROM crm.customer_360), 'buyers pens 1 133.90 EUR 1', 'all of her');
SELECT is((SELECT string_agg(kind || ' ' || amount, ', ') FROM crm.ledger_entries), 'charge 133.90', 'the ledger');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE queue LIKE '$%' AND state IN ('discarded', 'scheduled') AND error_code IS NOT NULL), 0::bigint, 'nothing failed');
SELECT is_empty($$ SELECT * FROM crm.reconcile() $$, 'all is reconciled');
SELECT is_empty($$ SELECT p.target, v.key FROM eventsource.projections p, eventsource.verify_projection(p.target) v $$, 'and verified');
SELECT is((SELECT string_agg("check" || ': ' || status, ', ' ORDER BY "check") FROM eventsource.health() WHERE "check" IN ('sample of projections', 'definitions')),
	'definitions: healthy, sample of projections: healthy', 'and health() says no less');
\i test/own_database_end.sql
