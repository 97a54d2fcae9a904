-- A job is claimed, committed, and completed.
SELECT job_id, attempt, payload FROM eventsource.claim('bench', worker => 'worker-' || :client_id) \gset
SELECT eventsource.complete(:job_id, worker => 'worker-' || :client_id, attempt => :attempt);
