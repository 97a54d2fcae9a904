-- follower.sql (pgbench): brings projections up to the watermark, a bit at a time.
\set events random(1, 100)
\set pause random(0, 20)
SELECT count(*) FROM eventsource.run_projections(max_events => :events);
\sleep :pause ms
