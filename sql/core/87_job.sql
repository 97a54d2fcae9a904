-- Jobs: what must happen because of an event, later or elsewhere. src/append/job.h.

CREATE SEQUENCE eventsource.job_seq;
COMMENT ON SEQUENCE eventsource.job_seq IS 'Private: ids and turns of jobs.';

-- turn: where it stands among the jobs of its order key; drawn anew when it is redriven.
-- attempts: claims ever, which tells one lease from another; attempts_before: those of
-- them that do not count any more. waits: others of its order key come first, as was
-- seen (src/append/job_order.c). worker: who has it, or had it as it was finished. queue: names that begin with $ are for run_due().
CREATE TABLE eventsource.job (
	id               bigint      NOT NULL CONSTRAINT job_pkey PRIMARY KEY,
	turn             bigint      NOT NULL,
	queue            text        COLLATE "C" NOT NULL,
	state            text        COLLATE "C" NOT NULL CONSTRAINT job_state_check
		CHECK (state IN ('scheduled', 'available', 'claimed', 'done', 'discarded', 'cancelled')),
	priority         integer     NOT NULL,
	run_at           timestamptz NOT NULL,
	order_key        text        COLLATE "C",
	job_key          text        COLLATE "C",
	payload          jsonb       NOT NULL,
	attempts         integer     NOT NULL DEFAULT 0,
	attempts_before  integer     NOT NULL DEFAULT 0,
	max_attempts     integer,
	lease_until      timestamptz,
	waits            boolean     NOT NULL DEFAULT false,
	worker           text        COLLATE "C",
	claimed_by       text        COLLATE "C",
	error_code       text        COLLATE "C",
	error            text        COLLATE "C",
	result           jsonb,
	reaction         text        COLLATE "C",
	reaction_version bigint,
	step             integer,
	event_position   bigint,
	stream           text        COLLATE "C",
	subject          text        COLLATE "C",
	created_at       timestamptz NOT NULL,
	finished_at      timestamptz,
	finish_reason    text        COLLATE "C",
	CONSTRAINT job_claimed_check CHECK ((state = 'claimed') = (lease_until IS NOT NULL)),
	CONSTRAINT job_finished_check CHECK ((state IN ('done', 'discarded', 'cancelled')) = (finished_at IS NOT NULL))
) USING heap WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE eventsource.job IS 'Private: jobs. Read the view eventsource.jobs.';
CREATE UNIQUE INDEX job_key_idx ON eventsource.job (job_key, queue)
	WHERE job_key IS NOT NULL AND state IN ('scheduled', 'available', 'claimed');
CREATE UNIQUE INDEX job_order_idx ON eventsource.job (queue, order_key)
	WHERE state = 'claimed' AND order_key IS NOT NULL;
CREATE INDEX job_turn_idx ON eventsource.job (queue, order_key, turn)
	WHERE order_key IS NOT NULL AND state IN ('scheduled', 'available', 'claimed');
CREATE INDEX job_available_idx ON eventsource.job (queue, priority DESC, run_at, turn)
	WHERE state = 'available' AND NOT waits;
CREATE INDEX job_scheduled_idx ON eventsource.job (queue, run_at) WHERE state = 'scheduled';
CREATE INDEX job_lease_idx ON eventsource.job (queue, lease_until) WHERE state = 'claimed';
CREATE INDEX job_finished_idx ON eventsource.job (queue, state, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_subject_idx ON eventsource.job (subject) WHERE subject IS NOT NULL;
CREATE INDEX job_stream_idx ON eventsource.job (stream) WHERE stream IS NOT NULL;
-- No statistics, which would be copies of what can be erased.
ALTER TABLE eventsource.job ALTER COLUMN payload SET STATISTICS 0, ALTER COLUMN result SET STATISTICS 0,
	ALTER COLUMN subject SET STATISTICS 0, ALTER COLUMN stream SET STATISTICS 0, ALTER COLUMN error SET STATISTICS 0,
	ALTER COLUMN job_key SET STATISTICS 0, ALTER COLUMN order_key SET STATISTICS 0;
SELECT pg_catalog.pg_extension_config_dump('eventsource.job', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.job_seq', '');

CREATE TYPE eventsource.claimed_job AS (
	job_id         bigint,
	queue          text,
	payload        jsonb,
	attempt        integer,
	max_attempts   integer,
	priority       integer,
	run_at         timestamptz,
	lease_until    timestamptz,
	job_key        text,
	order_key      text,
	reaction       text,
	step           integer,
	event_position bigint,
	stream         text,
	subject        text
);
COMMENT ON TYPE eventsource.claimed_job IS 'A job as claim() lends it.';
COMMENT ON COLUMN eventsource.claimed_job.job_id IS 'Id, for complete(), fail() and heartbeat().';
COMMENT ON COLUMN eventsource.claimed_job.queue IS 'Its queue.';
COMMENT ON COLUMN eventsource.claimed_job.payload IS 'What is to be done.';
COMMENT ON COLUMN eventsource.claimed_job.attempt IS 'Number of this claim of the job: tells one lease from another.';
COMMENT ON COLUMN eventsource.claimed_job.max_attempts IS 'The last attempt there will be.';
COMMENT ON COLUMN eventsource.claimed_job.priority IS 'Higher ones come first.';
COMMENT ON COLUMN eventsource.claimed_job.run_at IS 'When it was due.';
COMMENT ON COLUMN eventsource.claimed_job.lease_until IS 'Until then nobody else gets it; heartbeat() puts that off.';
COMMENT ON COLUMN eventsource.claimed_job.job_key IS 'Its key, or null: of the unfinished jobs of the queue no other has it.';
COMMENT ON COLUMN eventsource.claimed_job.order_key IS 'Jobs with the same one are lent one at a time, in order; or null.';
COMMENT ON COLUMN eventsource.claimed_job.reaction IS 'The reaction that made it; null: enqueue().';
COMMENT ON COLUMN eventsource.claimed_job.step IS 'The step of the reaction.';
COMMENT ON COLUMN eventsource.claimed_job.event_position IS 'The event because of which it was made, or null.';
COMMENT ON COLUMN eventsource.claimed_job.stream IS 'The stream that it is about, or null.';
COMMENT ON COLUMN eventsource.claimed_job.subject IS 'Whom it is about, or null.';

CREATE FUNCTION eventsource.enqueue(
	queue text, payload jsonb DEFAULT '{}', run_at timestamptz DEFAULT NULL, priority integer DEFAULT 0,
	job_key text DEFAULT NULL, on_conflict text DEFAULT 'keep', order_key text DEFAULT NULL,
	max_attempts integer DEFAULT NULL, stream text DEFAULT NULL, subject text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_enqueue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.enqueue(text, jsonb, timestamptz, integer, text, text, text, integer, text, text) IS
	'Writes a job in this transaction and returns its id. run_at: not before (null: now). priority: higher ones come first. job_key: no other unfinished job of the queue has it; where one has, on_conflict says what is done: keep (that one stays as it is, and its id is returned), replace (it becomes what is given here; one that is claimed only loses its key), error (23505). order_key: jobs of the queue with the same one are lent one at a time, in the order in which they were enqueued. max_attempts: the queue''s, if null. stream, subject: what and whom it is about, which you must be able to append to. The queue need not be created. For its senders, and for who appends to every category. Errors: 22004, 22023, 23505, 42501; ZE009 if the subject (or, without one, the stream) is erased; 40001.';

CREATE FUNCTION eventsource.claim(
	queue text, max_jobs integer DEFAULT 1, lease interval DEFAULT NULL, worker text DEFAULT NULL)
	RETURNS SETOF eventsource.claimed_job
	AS 'MODULE_PATHNAME', 'eventsource_claim' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.claim(text, integer, interval, text) IS
	'Lends available jobs of a queue to a worker (null: this session), at most max_jobs (1 to 10000), until the lease ends (null: the queue''s), by priority, then by when they were due. Waits for nobody: what others are at is passed over. Jobs whose lease has ended are lent again, or given up if their attempts are used up. Commit before you work, so that a lost worker counts as an attempt. For the queue''s workers. Errors: 22004, 22023, 42501, 40001.';

CREATE FUNCTION eventsource.complete(
	job_id bigint, result jsonb DEFAULT NULL, worker text DEFAULT NULL, attempt integer DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_complete' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.complete(bigint, jsonb, text, integer) IS
	'Says that a job is done. worker: as it was given to claim() (null: this session); attempt: as claim() returned it (null: the current one). Errors: 55000 if it is not lent to that worker (any more), 22004, 22023, 42501.';

CREATE FUNCTION eventsource.fail(
	job_id bigint, error_code text, message text DEFAULT NULL, retry_at timestamptz DEFAULT NULL,
	worker text DEFAULT NULL, attempt integer DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'eventsource_fail' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.fail(bigint, text, text, timestamptz, text, integer) IS
	'Says that a job failed. It is tried again when the queue''s policy says, or at retry_at; it is given up (a dead letter) if its attempts are used up, or the error code is not a retryable one (see eventsource.error_codes; a code that is not listed is). message is cut to 1000 characters. Returns the new state: scheduled, available or discarded. worker, attempt: as of complete(). Errors: 55000 if it is not lent to that worker (any more), 22004, 22023, 42501.';

CREATE FUNCTION eventsource.heartbeat(
	job_id bigint, lease interval DEFAULT NULL, worker text DEFAULT NULL, attempt integer DEFAULT NULL) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'eventsource_heartbeat' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.heartbeat(bigint, interval, text, integer) IS
	'Puts off the end of a lease (null: the queue''s length, from now), and returns it. worker, attempt: as of complete(). Errors: 55000 if the job is not lent to that worker (any more), 22004, 22023, 42501.';

CREATE FUNCTION eventsource.may_work_in(queue text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_may_work_in' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.may_work_in(text) IS
	'Private, for views: may the current user work in this queue?';

CREATE FUNCTION eventsource.queue_attempts(queue text) RETURNS integer
	AS 'MODULE_PATHNAME', 'eventsource_queue_attempts' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.queue_attempts(text) IS
	'Private, for views: how often a job of this queue is lent, if it does not say.';

CREATE FUNCTION eventsource.reads_everything() RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	RETURN has_function_privilege('eventsource.reads_all_categories()', 'EXECUTE');
COMMENT ON FUNCTION eventsource.reads_everything() IS
	'Private, for views: may the current user read every category?';

CREATE VIEW eventsource.jobs WITH (security_barrier) AS
SELECT j.id AS job_id,
	   j.queue,
	   CASE WHEN j.state = 'scheduled' AND j.run_at <= clock_timestamp() THEN 'available'
			WHEN j.state = 'claimed' AND j.lease_until <= clock_timestamp()
				 AND j.attempts - j.attempts_before < coalesce(j.max_attempts, eventsource.queue_attempts(j.queue)) THEN 'available'
			ELSE j.state END AS state,
	   j.priority,
	   j.run_at,
	   CASE WHEN r.sees_all THEN j.order_key END AS order_key,
	   CASE WHEN r.sees_all THEN j.job_key END AS job_key,
	   CASE WHEN r.sees_all THEN j.payload END AS payload,
	   j.attempts AS attempt,
	   j.attempts_before + coalesce(j.max_attempts, eventsource.queue_attempts(j.queue)) AS max_attempts,
	   j.lease_until,
	   CASE WHEN r.sees_all THEN j.worker END AS worker,
	   j.claimed_by,
	   j.error_code,
	   CASE WHEN r.sees_all THEN j.error END AS error,
	   CASE WHEN r.sees_all THEN j.result END AS result,
	   j.reaction,
	   j.reaction_version,
	   j.step,
	   j.event_position,
	   j.stream,
	   j.subject,
	   j.created_at,
	   j.finished_at,
	   CASE WHEN r.sees_all THEN j.finish_reason END AS finish_reason
  FROM eventsource.job j
 CROSS JOIN LATERAL (SELECT eventsource.reads_everything() OR eventsource.may_work_in(j.queue) AS sees_all) r
 WHERE r.sees_all OR eventsource.may_read_category(split_part(j.stream, '-', 1));
COMMENT ON VIEW eventsource.jobs IS
	'Jobs: those of the queues that you work in, and of the categories that you read. Those alone who read everything, or work in the queue, see keys, payload, result and errors.';
COMMENT ON COLUMN eventsource.jobs.job_id IS 'Id.';
COMMENT ON COLUMN eventsource.jobs.queue IS 'Its queue; names that begin with $ are the database''s own.';
COMMENT ON COLUMN eventsource.jobs.state IS 'scheduled, available, claimed; and, finished: done, discarded (given up), cancelled. One that is due is available, and so is one whose lease has ended, if it has attempts left.';
COMMENT ON COLUMN eventsource.jobs.priority IS 'Higher ones come first.';
COMMENT ON COLUMN eventsource.jobs.run_at IS 'It is not claimed before.';
COMMENT ON COLUMN eventsource.jobs.order_key IS 'Jobs with the same one are lent one at a time, in order; or null.';
COMMENT ON COLUMN eventsource.jobs.job_key IS 'Of the unfinished jobs of its queue no other has it; or null.';
COMMENT ON COLUMN eventsource.jobs.payload IS 'What is to be done.';
COMMENT ON COLUMN eventsource.jobs.attempt IS 'How often it was claimed.';
COMMENT ON COLUMN eventsource.jobs.max_attempts IS 'The last attempt there will be; redrive() gives more.';
COMMENT ON COLUMN eventsource.jobs.lease_until IS 'Until then nobody else gets it; null: it is not claimed.';
COMMENT ON COLUMN eventsource.jobs.worker IS 'Who has it, or had it as it was finished.';
COMMENT ON COLUMN eventsource.jobs.claimed_by IS 'Role that claimed it last.';
COMMENT ON COLUMN eventsource.jobs.error_code IS 'What it failed with last.';
COMMENT ON COLUMN eventsource.jobs.error IS 'What was said about that.';
COMMENT ON COLUMN eventsource.jobs.result IS 'What complete() was given.';
COMMENT ON COLUMN eventsource.jobs.reaction IS 'The reaction that made it; null: enqueue().';
COMMENT ON COLUMN eventsource.jobs.reaction_version IS 'Version of its definition.';
COMMENT ON COLUMN eventsource.jobs.step IS 'The step of the reaction.';
COMMENT ON COLUMN eventsource.jobs.event_position IS 'The event because of which it was made, or null.';
COMMENT ON COLUMN eventsource.jobs.stream IS 'The stream that it is about, or null.';
COMMENT ON COLUMN eventsource.jobs.subject IS 'Whom it is about, or null.';
COMMENT ON COLUMN eventsource.jobs.created_at IS 'When it was enqueued, or replaced.';
COMMENT ON COLUMN eventsource.jobs.finished_at IS 'When it was finished; null: it is not.';
COMMENT ON COLUMN eventsource.jobs.finish_reason IS 'Why it was finished so.';
