-- Counts and sums by day, in the three columns that dashboards of time series want.

CREATE FUNCTION crm.put_metric_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('daily_metrics',
		'Counts and sums by day, for dashboards of time series; days are those of UTC, and one on which nothing happened has no row.',
		jsonb_build_object(
			'time', 'Start of the day.',
			'metric',
			'customers_registered, _deactivated, _erased; consents_granted, _renewed, _revoked, _expired; messages_queued, _sent, _delivered, _opened, _clicked, _bounced, _skipped, _failed (attempts); carts_abandoned; orders_placed, _confirmed, _cancelled, _shipped, _delivered; payments_failed, refunds_completed; revenue_, refunds_ and net_revenue_ with the currency; campaign_runs_started, _completed, _left; segment_members_ with the segment: its size at the end of a day on which it changed; and those of lead_metrics.',
			'value', 'How many, or how much, that day.'), $view$
		SELECT date_trunc('day', m.at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS time, m.metric, sum(m.value) AS value
		  FROM (SELECT j.occurred_at, k.metric, 1::numeric
				  FROM crm.journey_event j
				  JOIN (VALUES ('CustomerCreated', 'customers_registered'), ('CustomerDeactivated', 'customers_deactivated'),
						('CustomerDataDeleted', 'customers_erased'),
						('ConsentGranted', 'consents_granted'), ('ConsentRenewed', 'consents_renewed'), ('ConsentRevoked', 'consents_revoked'),
						('ConsentExpired', 'consents_expired'),
						('MessageQueued', 'messages_queued'), ('MessageSent', 'messages_sent'), ('MessageDelivered', 'messages_delivered'),
						('MessageOpened', 'messages_opened'), ('MessageClicked', 'messages_clicked'),
						('MessageBounced', 'messages_bounced'), ('MessageSkipped', 'messages_skipped'), ('MessageFailed', 'messages_failed'),
						('CartAbandoned', 'carts_abandoned'), ('CheckoutAbandoned', 'carts_abandoned'),
						('OrderPlaced', 'orders_placed'), ('OrderConfirmed', 'orders_confirmed'), ('OrderCancelled', 'orders_cancelled'),
						('OrderShipped', 'orders_shipped'), ('OrderDelivered', 'orders_delivered'),
						('PaymentFailed', 'payments_failed'), ('RefundCompleted', 'refunds_completed')) k (type, metric) ON k.type = j.type
				 WHERE eventsource.may_read_category(j.category)
				 UNION ALL
				SELECT j.occurred_at, k.metric || '_' || j.currency, k.sign * j.amount
				  FROM crm.journey_event j
				  JOIN (VALUES ('PaymentSucceeded', 'revenue', 1), ('PaymentSucceeded', 'net_revenue', 1), ('RefundCompleted', 'refunds', 1),
					('RefundCompleted', 'net_revenue', -1)) k (type, metric, sign) ON k.type = j.type
				 WHERE eventsource.may_read_category(j.category)
				 UNION ALL
				SELECT r.started_at, 'campaign_runs_started', 1 FROM crm.campaign_runs r
				 UNION ALL
				SELECT r.ended_at, 'campaign_runs_' || r.status, 1 FROM crm.campaign_runs r WHERE r.ended_at IS NOT NULL) m (at, metric, value)
		 GROUP BY 1, 2
		 UNION ALL
		SELECT s.day AT TIME ZONE 'UTC', 'segment_members_' || s.segment_id, sum(s.change) OVER (PARTITION BY s.segment_id ORDER BY s.day)
		  FROM (SELECT date_trunc('day', c.changed_at AT TIME ZONE 'UTC') AS day, c.segment_id,
				  sum(CASE WHEN c.is_added THEN 1 ELSE -1 END)::numeric AS change
				  FROM crm.segment_change c WHERE eventsource.may_read_category('customer') GROUP BY 1, 2) s
		 UNION ALL
		SELECT l.time, l.metric, l.value FROM crm.lead_metrics l $view$);
END
$$;
COMMENT ON FUNCTION crm.put_metric_views() IS 'Private, for install(): the view of metrics.';
