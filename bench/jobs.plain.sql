-- The same by hand: a lease, and who has it, so that one that comes late is not taken for him.
UPDATE bench.plain_job
   SET state = 'claimed', attempts = attempts + 1, worker = 'worker-' || :client_id, lease_until = now() + interval '5 minutes'
 WHERE id = (SELECT id FROM bench.plain_job WHERE queue = 'bench' AND state = 'available' AND run_at <= now()
			  ORDER BY priority DESC, run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id AS job_id, attempts AS attempt, payload \gset
UPDATE bench.plain_job SET state = 'done', finished_at = now(), lease_until = NULL
 WHERE id = :job_id AND state = 'claimed' AND worker = 'worker-' || :client_id AND attempts = :attempt;
