-- One of several consumers that share the events of a subscription, each round a
-- statement and so a transaction. Variable rest: milliseconds between two batches;
-- 0: it waits for events to be there.
\if :rest > 0
\sleep :rest ms
\else
SELECT eventsource.wait_for_events('bench', '1 second');
\endif
SELECT eventsource.ack('bench', max(position)) FROM eventsource.poll('bench', 1000) HAVING count(*) > 0;
