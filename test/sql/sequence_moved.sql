\set ECHO none
\set own_database sequence_moved
\i test/own_database.sql
-- The sequence of positions, moved forth and back again: who has come further than it says so, and skips nothing.
SELECT plan(12);

CREATE FUNCTION seq_note(e eventsource.events) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
SELECT eventsource.create_subscription('seq', '{seq}') AS done, eventsource.create_handler('seq', '{seq}', 'seq_note(eventsource.events)') AS done_too \gset
SELECT count(*) AS n FROM eventsource.append('seqother-1', 'a') \gset
SELECT eventsource.watermark() AS mark \gset
SELECT setval('eventsource.position_seq', :mark + 5000) AS done \gset
SELECT is(eventsource.watermark(), :mark + 5000::bigint, 'forth');
SELECT is((SELECT count(*) FROM eventsource.poll('seq')), 0::bigint, 'nothing is there');
SELECT is((SELECT event_position FROM eventsource.run_projections()), :mark + 5000::bigint, 'a handler comes along');
SELECT is(eventsource.publish_watermark(), :mark + 5000::bigint, 'it is published');

SELECT setval('eventsource.position_seq', :mark) AS done \gset
SELECT count(*) AS n FROM eventsource.append('seq-1', 'missed') \gset
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.poll('seq') $$, 'ZE001', 'the sequence of positions was moved backwards', 'and back: poll');
SELECT pg_temp.refuses($$ SELECT eventsource.wait_for_events('seq') $$, 'ZE001', 'the sequence of positions was moved backwards', 'wait_for_events');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.run_projections() $$, 'ZE001', 'the sequence of positions was moved backwards', 'run_projections');
SELECT pg_temp.refuses($$ SELECT eventsource.publish_watermark() $$, 'ZE001', 'the sequence of positions was moved backwards', 'publish_watermark');
SELECT is((SELECT status FROM eventsource.health() WHERE "check" = 'subscription seq'), 'degraded', 'health()');

SELECT setval('eventsource.position_seq', :mark + 5000) AS done \gset
SELECT eventsource.reset_subscription('seq', :mark) AS done \gset
SELECT is((SELECT string_agg(type, ',') FROM eventsource.poll('seq')), 'missed', 'begun anew, it gets what it would have missed');
SELECT count(*) AS n FROM eventsource.append('seq-1', 'next') \gset
SELECT is((SELECT events FROM eventsource.run_projections()), 1::bigint, 'and all goes on');
SELECT is(eventsource.publish_watermark(), eventsource.watermark(), 'published');
\i test/own_database_end.sql
