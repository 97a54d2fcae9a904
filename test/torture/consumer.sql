-- consumer.sql (pgbench): one page of a reader, in any isolation level, now and
-- then taken back with all that was done. Variables: reader, levels (1: READ
-- COMMITTED alone).
\set level random(1, :levels)
\set fate random(1, 10)
\set pause random(0, 10)
\if :level = 1
BEGIN;
\elif :level = 2
BEGIN ISOLATION LEVEL REPEATABLE READ;
\else
BEGIN ISOLATION LEVEL SERIALIZABLE;
\endif
SELECT torture.take_:reader();
\sleep :pause ms
\if :fate = 1
ROLLBACK;
\else
COMMIT;
\endif
