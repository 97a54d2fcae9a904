-- orders.sql: the shop of shop.sql with the orders that docs/appending.md appends, one call
-- after the other: to be run in a new database.

\ir shop.sql
\o /dev/null
SELECT eventsource.append('order-1', 'payment_received', '{"amount": 90}', actor => 'agent:joe');
SELECT eventsource.append('visit-8c1f', 'page_seen', '{"page": "/books"}');
SELECT eventsource.append('order-1', 'note_added', '{"text": "gift wrap"}');
SELECT eventsource.append('order-2', 'order_placed', '{"customer": "bob", "amount": 20}',
                          idempotency_key => 'request-7f');

SELECT eventsource.append_events('[
  {"stream": "order-3", "type": "order_placed", "data": {"customer": "ada", "amount": 55},
   "occurred_at": "2026-01-05 10:00Z"},
  {"stream": "order-3", "type": "payment_received", "data": {"amount": 55}, "occurred_at": "2026-01-06 12:00Z"},
  {"stream": "order-4", "type": "order_placed", "data": {"customer": "cleo", "amount": 15},
   "occurred_at": "2026-01-07 09:00Z"}
]');
SELECT eventsource.append('order-4', 'order_cancelled', reason => 'out_of_stock', actor => 'system:stock',
                          occurred_at => '2026-01-08 09:00Z');
SELECT eventsource.append('order-5', 'order_placed', '{"customer": "dora", "amount": 70}',
                          occurred_at => '2026-01-09 08:00Z');
SELECT eventsource.append('order-5', 'payment_received', '{"amount": 70}', occurred_at => '2026-01-09 08:05Z');

BEGIN;
SET LOCAL eventsource.actor = 'system:warehouse';
SET LOCAL eventsource.correlation_id = 'parcel-run-12';
SELECT eventsource.append('order-3', 'parcel_sent', '{"carrier": "post"}', occurred_at => '2026-01-07 15:00Z');
SELECT eventsource.append('pickup-12', 'parcel_handed_over', metadata => '{"causation_id": 14}');
COMMIT;
\o
