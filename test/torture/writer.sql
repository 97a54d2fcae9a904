-- writer.sql (pgbench): one transaction of a writer, with a random pause between
-- its first position and its end. Variables: streams, pause (milliseconds, at most).
\set kind random(1, 100)
\set a random(1, :streams)
\set b random(1, :streams)
\set gid random(1, 1000000000)
\set wait random(0, :pause)

-- One event, as most do.
\if :kind <= 30
BEGIN;
SELECT version FROM eventsource.append('order-:a', 'placed');
\sleep :wait ms
COMMIT;
\elif :kind <= 40
SELECT version FROM eventsource.append('order-:a', 'noted');

-- Taken back, whole.
\elif :kind <= 50
BEGIN;
SELECT version FROM eventsource.append('order-:a', 'placed');
\sleep :wait ms
ROLLBACK;

-- Taken back in part: the first position drawn inside or outside of what goes.
\elif :kind <= 60
BEGIN;
SELECT version FROM eventsource.append('order-:a', 'kept');
SAVEPOINT s;
SELECT version FROM eventsource.append('order-:b', 'undone');
\sleep :wait ms
ROLLBACK TO s;
SELECT version FROM eventsource.append('order-:b', 'kept');
COMMIT;
\elif :kind <= 70
BEGIN;
SAVEPOINT s;
SELECT version FROM eventsource.append('order-:a', 'undone');
ROLLBACK TO s;
\sleep :wait ms
SELECT version FROM eventsource.append('order-:b', 'kept');
SAVEPOINT s2;
SELECT version FROM eventsource.append('order-:b', 'kept');
RELEASE s2;
\sleep :wait ms
COMMIT;

-- Prepared, decided later; whoever dies in between leaves it to others.
\elif :kind <= 80
BEGIN;
SELECT version FROM eventsource.append('order-:a', 'prepared');
PREPARE TRANSACTION 'torture :gid';
\sleep :wait ms
\if :kind <= 77
COMMIT PREPARED 'torture :gid';
\else
ROLLBACK PREPARED 'torture :gid';
\endif

-- Several at once.
\elif :kind <= 90
BEGIN;
SELECT count(*) FROM eventsource.append_events(
	'[{"stream": "order-:a", "type": "x"}, {"stream": "order-:b", "type": "y"}, {"stream": "order-:a", "type": "z"}]');
\sleep :wait ms
INSERT INTO eventsource.events (stream, type) VALUES ('order-:a', 'x'), ('order-:b', 'y');
COMMIT;

-- A transaction with an early id and late events.
\elif :kind <= 98
BEGIN;
SELECT pg_current_xact_id();
\sleep :wait ms
SELECT version FROM eventsource.append('order-:a', 'late');
\sleep :wait ms
COMMIT;

-- The sequence leaps.
\else
SELECT setval('eventsource.position_seq', last_value + 1000) FROM eventsource.position_seq;
\endif
