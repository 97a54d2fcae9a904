-- shop.sql: the shop of "Start in psql" in README.md, for the examples of docs/: to be run
-- in a new database. One order has been placed.

\o /dev/null
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS eventsource;
RESET client_min_messages;

SELECT eventsource.create_state_machine('order', '{
  "initial": "PLACED",
  "create": {"order_placed": "PLACED"},
  "states": {
    "PLACED":    {"on": {"payment_received": "PAID",
                         "order_cancelled": {"target": "CANCELLED", "reasons": ["changed_mind", "out_of_stock"]}}},
    "PAID":      {"on": {"parcel_sent": "SENT",
                         "order_cancelled": {"target": "CANCELLED", "reasons": ["changed_mind", "out_of_stock"]}}},
    "SENT":      {"type": "final"},
    "CANCELLED": {"type": "final"}
  },
  "on": {"note_added": {}},
  "reasons": {
    "changed_mind": {"category": "customer", "label": "The customer changed their mind"},
    "out_of_stock": {"category": "shop",     "label": "There is none left to send"}
  }
}');
SELECT eventsource.create_category('order', state_machine => 'order');

SELECT * FROM eventsource.append('order-1', 'order_placed', '{"customer": "ada", "amount": 90}');
\o
