-- redriver.sql (pgbench): parked events are tried again, or given up.
\set pause random(20, 200)
SELECT torture.redrive(3, true);
\sleep :pause ms
