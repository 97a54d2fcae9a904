-- rebuilder.sql (pgbench): rebuilds projections, and gives them other rules.
\set which random(1, 3)
\set step random(1, 9)
\set pause random(0, 100)
\if :step <= 4
SELECT eventsource.rebuild_projection((ARRAY['counter', 'mirror', 'total']::regclass[])[:which]);
\else
SELECT torture.define((ARRAY['counter', 'mirror', 'total']::regclass[])[:which], :step);
\endif
\sleep :pause ms
