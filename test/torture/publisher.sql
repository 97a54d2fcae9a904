-- publisher.sql (pgbench): publishes a bit of the log, in every way that a transaction
-- can end. Variables: pause (milliseconds, at most).
\set kind random(1, 10)
\set events random(1, 60)
\set gid random(1, 1000000000)
\set wait random(0, :pause)
\if :kind <= 4
SELECT events FROM eventsource.publish(:events);
\elif :kind <= 5
BEGIN;
SET LOCAL synchronous_commit = off;
SELECT events FROM eventsource.publish(:events);
\sleep :wait ms
ROLLBACK;
\elif :kind <= 6
BEGIN;
SAVEPOINT s;
SELECT events FROM eventsource.publish(:events);
ROLLBACK TO s;
SELECT events FROM eventsource.publish(:events);
\sleep :wait ms
COMMIT;
\elif :kind <= 7
BEGIN;
SET LOCAL synchronous_commit = off;
SELECT version FROM eventsource.append('publisher-1', 'before');
SELECT events FROM eventsource.publish(NULL);
SELECT version FROM eventsource.append('publisher-1', 'after');
\sleep :wait ms
COMMIT;
\elif :kind <= 9
BEGIN;
SELECT events FROM eventsource.publish(:events);
SELECT events FROM eventsource.publish(:events);
PREPARE TRANSACTION 'torture publish :gid';
\sleep :wait ms
\if :kind <= 8
COMMIT PREPARED 'torture publish :gid';
\else
ROLLBACK PREPARED 'torture publish :gid';
\endif
\else
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM eventsource.outbox WHERE position < 100;
\sleep :wait ms
SELECT events FROM eventsource.publish(:events);
COMMIT;
\endif
\sleep :wait ms
