-- One of several consumers that share the events of a subscription. Variable rest:
-- milliseconds between two batches; 0: it waits for events to be there.
\if :rest > 0
\sleep :rest ms
\else
SELECT eventsource.wait_for_events('bench', '1 second');
\endif
BEGIN;
SELECT count(*) AS got, coalesce(max(position), 0) AS last FROM eventsource.poll('bench', 1000) \gset
\if :got > 0
SELECT eventsource.ack('bench', :last);
\endif
COMMIT;
