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
	state            text        COLLATE "C" NOT NULL,
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
	CONSTRAINT job_state_check CHECK (CASE
		WHEN finished_at IS NOT NULL THEN lease_until IS NULL AND state IN ('done', 'discarded', 'cancelled')
		WHEN lease_until IS NOT NULL THEN state = 'claimed'
		ELSE state IN ('scheduled', 'available') END)
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
CREATE INDEX job_lease_idx ON eventsource.job (queue, lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX job_finished_idx ON eventsource.job (queue, state, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_dead_idx ON eventsource.job (queue, finished_at) WHERE state = 'discarded';
CREATE INDEX job_subject_idx ON eventsource.job (subject) WHERE subject IS NOT NULL;
CREATE INDEX job_stream_idx ON eventsource.job (stream) WHERE stream IS NOT NULL;
-- What a stream that leaves a state cancels, however many jobs of the past it has.
CREATE INDEX job_timeout_idx ON eventsource.job (stream)
	WHERE queue = '$timeout' AND state IN ('scheduled', 'available', 'claimed');
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
	'Writes a job in this transaction and returns its id. run_at: not before (null: now). priority: higher ones come first. job_key: no other unfinished job of the queue has it; where one has, on_conflict says what is done: keep (that one stays as it is, and its id is returned), replace (it becomes what is given here and keeps its id and its turn; but one that is claimed only loses its key, and one that was lent before is cancelled: then this is a job of its own), error (23505). order_key: jobs of the queue with the same one are lent one at a time, in the order in which they were enqueued. max_attempts: 1 to 1000; the queue''s, if null. payload: at most 1 MiB. stream: what it is about, which you must be able to append to. subject: whom it is about, of your word, as in append(). The queue need not be created. For its senders, and for who appends to every category. Errors: 22004, 22023, 23505, 42501; 54000 if the payload is too large; ZE009 if the subject (or, without one, the stream) is erased; 40001.';

CREATE FUNCTION eventsource.claim(
	queue text, max_jobs integer DEFAULT 1, lease interval DEFAULT NULL, worker text DEFAULT NULL, job_ids bigint[] DEFAULT NULL)
	RETURNS SETOF eventsource.claimed_job
	AS 'MODULE_PATHNAME', 'eventsource_claim' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.claim(text, integer, interval, text, bigint[]) IS
	'Lends available jobs of a queue to a worker (null: this session), at most max_jobs (1 to 10000), until the lease ends (null: the queue''s), by priority, then by when they were due. Waits for nobody: what others are at is passed over, and a lease whose end would have to wait for the next job of its order key ends later. Jobs whose lease has ended are lent again, or given up if their attempts are used up. job_ids: of these alone, at most 10000 (null: of all); what a claim that was rolled back had found, say, whose streams were locked since: locks on streams come before those on jobs. Commit before you work, so that a lost worker counts as an attempt. For the queue''s workers. Errors: 22004, 22023, 42501, 40001.';

CREATE FUNCTION eventsource.complete(
	job_id bigint, result jsonb DEFAULT NULL, worker text DEFAULT NULL, attempt integer DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_complete' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.complete(bigint, jsonb, text, integer) IS
	'Says that a job is done. worker: as it was given to claim() (null: this session); attempt: as claim() returned it (null: the current one). Waits for who is changing the job, or the next one of its order key: a claim, too, that has not committed yet. Errors: 55000 if it is not lent to that worker (any more), 22004, 22023, 42501.';

CREATE FUNCTION eventsource.fail(
	job_id bigint, error_code text, message text DEFAULT NULL, retry_at timestamptz DEFAULT NULL,
	worker text DEFAULT NULL, attempt integer DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'eventsource_fail' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.fail(bigint, text, text, timestamptz, text, integer) IS
	'Says that a job failed. It is tried again when the queue''s policy says, or at retry_at; it is given up (a dead letter) if its attempts are used up, or the error code is not a retryable one (see eventsource.error_codes; a code that is not listed is). message is cut to 1000 characters. Returns the new state: scheduled, available or discarded. worker, attempt: as of complete(), which says who is waited for, too. Errors: 55000 if it is not lent to that worker (any more), 22004, 22023, 42501.';

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

CREATE FUNCTION eventsource.has_rights_of_reaction(reaction text, version bigint) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_has_rights_of_reaction' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.has_rights_of_reaction(text, bigint) IS
	'Private, for views: has the current user the rights of who defined this version of a reaction, or of the owner of the extension?';

CREATE FUNCTION eventsource.reads_everything() RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	RETURN has_function_privilege('eventsource.reads_all_categories()', 'EXECUTE');
COMMENT ON FUNCTION eventsource.reads_everything() IS
	'Private, for views: may the current user read every category?';

-- Asked once: whether everything is read; once for each row (OFFSET): whether its queue is worked in.
CREATE VIEW eventsource.jobs WITH (security_barrier) AS
SELECT j.id AS job_id,
	   j.queue,
	   CASE WHEN j.state = 'scheduled' AND j.run_at <= clock_timestamp() THEN 'available'
			WHEN j.state = 'claimed' AND j.lease_until <= clock_timestamp()
				 AND j.attempts - j.attempts_before < coalesce(j.max_attempts, eventsource.queue_attempts(j.queue)) THEN 'available'
			ELSE j.state END AS state,
	   j.priority,
	   nullif(j.run_at, 'infinity') AS run_at,
	   CASE WHEN r.sees_all THEN j.order_key END AS order_key,
	   CASE WHEN r.sees_all THEN j.job_key END AS job_key,
	   CASE WHEN r.sees_all THEN j.payload END AS payload,
	   j.attempts AS attempt,
	   j.attempts_before + coalesce(j.max_attempts, eventsource.queue_attempts(j.queue)) AS max_attempts,
	   j.lease_until,
	   CASE WHEN r.sees_all THEN j.worker END AS worker,
	   j.claimed_by,
	   j.error_code,
	   CASE WHEN r.sees_all AND j.error IS NOT NULL AND (j.queue <> '$reaction'
				 OR eventsource.has_rights_of_reaction(j.reaction, j.reaction_version)) THEN j.error END AS error,
	   CASE WHEN r.sees_all THEN j.result END AS result,
	   j.reaction,
	   j.reaction_version,
	   j.step,
	   j.event_position,
	   j.stream,
	   j.subject,
	   j.created_at,
	   j.finished_at,
	   CASE WHEN r.sees_all AND j.finish_reason IS NOT NULL AND (j.queue <> '$reaction'
				 OR eventsource.has_rights_of_reaction(j.reaction, j.reaction_version)) THEN j.finish_reason END AS finish_reason
  FROM eventsource.job j
 CROSS JOIN LATERAL (SELECT (SELECT eventsource.reads_everything()) OR eventsource.may_work_in(j.queue) AS sees_all OFFSET 0) r
 WHERE r.sees_all OR eventsource.may_read_category(split_part(j.stream, '-', 1));
COMMENT ON VIEW eventsource.jobs IS
	'Jobs: those of the queues that you work in, and of the categories that you read. Those alone who read everything, or work in the queue, see keys, payload, result and errors; of runs of reactions (queue $reaction) errors and reasons are shown to those of them alone who have the rights of who defined the reaction.';
COMMENT ON COLUMN eventsource.jobs.job_id IS 'Id.';
COMMENT ON COLUMN eventsource.jobs.queue IS 'Its queue; names that begin with $ are the database''s own.';
COMMENT ON COLUMN eventsource.jobs.state IS
	'scheduled, available, claimed; and, finished: done, discarded (given up), cancelled. One that is due is available, and so is one whose lease has ended, if it has attempts left.';
COMMENT ON COLUMN eventsource.jobs.priority IS 'Higher ones come first.';
COMMENT ON COLUMN eventsource.jobs.run_at IS 'It is not claimed before; null: a run that waits for the job of one of its steps.';
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

-- As the view jobs; over the table, as what that view says of states is not in any index.
CREATE VIEW eventsource.dead_letters WITH (security_barrier) AS
SELECT j.id AS job_id,
	   j.queue,
	   CASE WHEN r.sees_all THEN j.order_key END AS order_key,
	   CASE WHEN r.sees_all THEN j.job_key END AS job_key,
	   CASE WHEN r.sees_all THEN j.payload END AS payload,
	   j.attempts AS attempt,
	   CASE WHEN r.sees_all THEN j.worker END AS worker,
	   j.error_code,
	   CASE WHEN r.sees_all AND j.error IS NOT NULL AND (j.queue <> '$reaction'
				 OR eventsource.has_rights_of_reaction(j.reaction, j.reaction_version)) THEN j.error END AS error,
	   j.reaction,
	   j.reaction_version,
	   j.step,
	   j.event_position,
	   j.stream,
	   j.subject,
	   j.created_at,
	   j.finished_at AS discarded_at,
	   CASE WHEN r.sees_all AND j.finish_reason IS NOT NULL AND (j.queue <> '$reaction'
				 OR eventsource.has_rights_of_reaction(j.reaction, j.reaction_version)) THEN j.finish_reason END AS reason
  FROM eventsource.job j
 CROSS JOIN LATERAL (SELECT (SELECT eventsource.reads_everything()) OR eventsource.may_work_in(j.queue) AS sees_all OFFSET 0) r
 WHERE j.state = 'discarded' AND (r.sees_all OR eventsource.may_read_category(split_part(j.stream, '-', 1)));
COMMENT ON VIEW eventsource.dead_letters IS
	'Jobs that were given up, as in eventsource.jobs, until they are redriven or not kept any more. See redrive.';
COMMENT ON COLUMN eventsource.dead_letters.discarded_at IS 'When it was given up.';
COMMENT ON COLUMN eventsource.dead_letters.reason IS 'Why, where that was said: discard().';

CREATE FUNCTION eventsource.redrive(job_id bigint) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_redrive_job' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.redrive(bigint) IS
	'Makes a job that was discarded or cancelled available again, with as many attempts as before, behind the other jobs of its order key. A run of a reaction that was waiting for a job waits for the same one again, which is redriven with it, or goes on if that is done. Recorded as events. For the queue''s workers. Errors: P0002 no such job, 55000 if it is not given up, or a run of a reaction whose steps were made good, or was sent by a run that is finished (redrive that one), 23505 if another job has taken its key, ZE009 if what it was about is erased, 22004, 42501.';

-- One that cannot be redriven keeps no other from it.
CREATE FUNCTION eventsource.redrive_all(queue text, error_code text DEFAULT NULL, max_jobs integer DEFAULT 1000,
		OUT redriven integer, OUT passed_over integer)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	job bigint;
BEGIN
	IF queue IS NULL OR max_jobs IS NULL THEN
		RAISE null_value_not_allowed USING
			MESSAGE = 'queue and max_jobs are needed',
			DETAIL = 'They say whose dead letters are tried anew, and how many at most.',
			HINT = $hint$SELECT * FROM eventsource.redrive_all('mail')$hint$;
	END IF;
	redriven := 0;
	passed_over := 0;
	FOR job IN SELECT d.job_id FROM eventsource.dead_letters d
				WHERE d.queue = redrive_all.queue AND coalesce(d.error_code = redrive_all.error_code, redrive_all.error_code IS NULL)
				ORDER BY d.job_id LOOP
		EXIT WHEN redriven >= max_jobs;
		BEGIN
			PERFORM eventsource.redrive(job);
			redriven := redriven + 1;
		EXCEPTION WHEN object_not_in_prerequisite_state OR unique_violation OR no_data_found OR SQLSTATE 'ZE009' THEN
			passed_over := passed_over + 1;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION eventsource.redrive_all(text, text, integer) IS
	'Redrives the dead letters of a queue, the oldest first: those with an error_code (NULL: all), at most max_jobs. redriven: how many. passed_over: how many cannot be, and stay dead letters: runs whose steps were made good, jobs whose run is finished, whose key another has, or who were about somebody who is erased; redrive() says which. For the queue''s workers. Errors: 22004, 42501.';

CREATE FUNCTION eventsource.discard(job_id bigint, reason text) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_discard_job' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.discard(bigint, text) IS
	'Gives up a job that is not finished: it becomes a dead letter. One that is claimed is not lent any more. What a run of a reaction waits for is cancelled with it. Recorded as events, with the reason. For the queue''s workers. Errors: P0002 no such job, 55000 if it is finished, 22004 without a reason, 22023, 42501.';

CREATE FUNCTION eventsource.cancel_job(job_id bigint, reason text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_cancel_job' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.cancel_job(bigint, text) IS
	'Cancels a job that is not finished: it is not wanted any more. One that is claimed is not lent any more. What a run of a reaction waits for is cancelled with it. Recorded as events. For the queue''s workers. Errors: P0002 no such job, 55000 if it is finished, 22004, 22023, 42501.';

CREATE FUNCTION eventsource.cancel_jobs(queue text, job_key text, reason text DEFAULT NULL) RETURNS integer
	AS 'MODULE_PATHNAME', 'eventsource_cancel_jobs' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.cancel_jobs(text, text, text) IS
	'Cancels the job of a queue that has this key and is not finished, as cancel_job() does, and returns how many there were. For the queue''s workers. Errors: 22004, 22023, 42501.';

-- ---- queues and error codes ----

CREATE FUNCTION eventsource.create_queue(
	name text, max_attempts integer DEFAULT 3, backoff interval DEFAULT '300 seconds', strategy text DEFAULT 'exponential',
	jitter numeric DEFAULT 0.1, max_backoff interval DEFAULT '1 day', lease interval DEFAULT '5 minutes',
	workers regrole DEFAULT NULL, senders regrole DEFAULT NULL, keep interval DEFAULT '14 days',
	max_dead_per_hour integer DEFAULT 100) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_create_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.create_queue(text, integer, interval, text, numeric, interval, interval, regrole, regrole, interval, integer) IS
	'Defines a queue of jobs, or defines it anew. max_attempts: how often a job is lent before it is given up, 1 to 1000. After a failure it waits for backoff; strategy: exponential (twice as long each time, at most max_backoff) or fixed; jitter: up to such a part (0 to 1) more or less, by dice. lease: how long jobs are lent. workers, senders: a role whose members may claim, and one whose members may enqueue, besides yours; who appends to every category may enqueue anyway. keep: how long finished jobs are kept. max_dead_per_hour: more jobs given up raise an alert, with 0 the first one does. What is left out is as by default, also where the queue had something else before, of which a NOTICE tells. Returns the version of the definition. Errors: ZE011 lists every problem; 22004, 22023, 42501 unless you have the rights of the owner.';

CREATE FUNCTION eventsource.drop_queue(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_drop_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.drop_queue(text) IS
	'Drops the definition of a queue. Its jobs stay, and go by what a queue has that was not created. Errors: 42704 unknown, 42501 unless you have the rights of the owner, 22004, 22023.';

CREATE FUNCTION eventsource.set_error_code(code text, is_retryable boolean, description text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_set_error_code' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.set_error_code(text, boolean, text) IS
	'Says whether it is worth to try a job again that failed with this code, also where the view eventsource.error_codes has it already. Codes that it does not have are retryable. Errors: 22004, 22023.';

CREATE FUNCTION eventsource.error_code_list()
	RETURNS TABLE (code text, is_retryable boolean, description text, is_built_in boolean)
	AS 'MODULE_PATHNAME', 'eventsource_error_code_list' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.error_code_list() IS
	'Private, for views: the error codes that are known.';

CREATE VIEW eventsource.error_codes AS
SELECT c.code, c.is_retryable, c.description, c.is_built_in FROM eventsource.error_code_list() c;
COMMENT ON VIEW eventsource.error_codes IS
	'Error codes that jobs fail with. One that is not listed is retryable. See set_error_code.';
COMMENT ON COLUMN eventsource.error_codes.code IS 'As given to fail().';
COMMENT ON COLUMN eventsource.error_codes.is_retryable IS 'False: the job is given up at once.';
COMMENT ON COLUMN eventsource.error_codes.description IS 'What it means.';
COMMENT ON COLUMN eventsource.error_codes.is_built_in IS 'True where set_error_code() has said nothing about it.';

CREATE FUNCTION eventsource.queue_definitions()
	RETURNS TABLE (name text, version bigint, event_position bigint, definition jsonb)
	AS 'MODULE_PATHNAME', 'eventsource_queue_definitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.queue_definitions() IS
	'Private, for views: the current definition of each queue.';

CREATE VIEW eventsource.queues AS
SELECT d.name,
	   (d.definition ->> 'max_attempts')::integer AS max_attempts,
	   (d.definition ->> 'backoff')::bigint * interval '1 microsecond' AS backoff,
	   d.definition ->> 'strategy' AS strategy,
	   (d.definition ->> 'jitter')::numeric AS jitter,
	   (d.definition ->> 'max_backoff')::bigint * interval '1 microsecond' AS max_backoff,
	   (d.definition ->> 'lease')::bigint * interval '1 microsecond' AS lease,
	   d.definition ->> 'workers' AS workers,
	   d.definition ->> 'senders' AS senders,
	   (d.definition ->> 'keep')::bigint * interval '1 microsecond' AS keep,
	   (d.definition ->> 'max_dead_per_hour')::integer AS max_dead_per_hour,
	   d.definition ->> 'owner' AS owner,
	   d.version,
	   e.recorded_at AS defined_at
  FROM eventsource.queue_definitions() d
  LEFT JOIN eventsource.event e ON e.position = d.event_position;
COMMENT ON VIEW eventsource.queues IS
	'The queues that were created, as they are defined now. Others have what create_queue() has by default.';
COMMENT ON COLUMN eventsource.queues.name IS 'Name.';
COMMENT ON COLUMN eventsource.queues.max_attempts IS 'How often a job is lent before it is given up.';
COMMENT ON COLUMN eventsource.queues.backoff IS 'How long a job waits after its first failure.';
COMMENT ON COLUMN eventsource.queues.strategy IS 'exponential: twice as long after each further one; or fixed.';
COMMENT ON COLUMN eventsource.queues.jitter IS 'Up to such a part more or less, by dice.';
COMMENT ON COLUMN eventsource.queues.max_backoff IS 'The longest it waits.';
COMMENT ON COLUMN eventsource.queues.lease IS 'How long jobs are lent.';
COMMENT ON COLUMN eventsource.queues.workers IS 'Role whose members may claim, besides the owner; null: none.';
COMMENT ON COLUMN eventsource.queues.senders IS 'Role whose members may enqueue, besides the owner and who appends to every category; null: none.';
COMMENT ON COLUMN eventsource.queues.keep IS 'How long finished jobs are kept.';
COMMENT ON COLUMN eventsource.queues.max_dead_per_hour IS 'More jobs given up within an hour raise an alert; 0: the first one does.';
COMMENT ON COLUMN eventsource.queues.owner IS 'Role that defined it.';
COMMENT ON COLUMN eventsource.queues.version IS 'Version of the definition; a dropped one counts, too.';
COMMENT ON COLUMN eventsource.queues.defined_at IS 'When this version was defined.';

-- One moment for all rows, whatever the plan: the clock is read once.
CREATE VIEW eventsource.queue_metrics WITH (security_barrier) AS
WITH n AS MATERIALIZED (SELECT clock_timestamp() AS at)
SELECT m.queue, m.scheduled, m.available, m.claimed, m.lost, m.done, m.discarded, m.cancelled, m.done_last_hour,
	   m.discarded_last_hour, m.wait_seconds
  FROM (SELECT j.queue,
			   count(*) FILTER (WHERE j.state = 'scheduled' AND j.run_at > n.at) AS scheduled,
			   count(*) FILTER (WHERE j.state = 'available' OR j.state = 'scheduled' AND j.run_at <= n.at) AS available,
			   count(*) FILTER (WHERE j.state = 'claimed' AND j.lease_until > n.at) AS claimed,
			   count(*) FILTER (WHERE j.state = 'claimed' AND j.lease_until <= n.at) AS lost,
			   count(*) FILTER (WHERE j.state = 'done') AS done,
			   count(*) FILTER (WHERE j.state = 'discarded') AS discarded,
			   count(*) FILTER (WHERE j.state = 'cancelled') AS cancelled,
			   count(*) FILTER (WHERE j.state = 'done' AND j.finished_at > n.at - interval '1 hour') AS done_last_hour,
			   count(*) FILTER (WHERE j.state = 'discarded' AND j.finished_at > n.at - interval '1 hour') AS discarded_last_hour,
			   coalesce(extract(epoch FROM n.at - min(j.run_at) FILTER (WHERE j.state IN ('scheduled', 'available') AND j.run_at <= n.at)),
				0)::double precision AS wait_seconds
		  FROM eventsource.job j, n
		 GROUP BY j.queue, n.at) m
 WHERE eventsource.reads_everything() OR eventsource.may_work_in(m.queue);
COMMENT ON VIEW eventsource.queue_metrics IS
	'Numbers of jobs, a row for each queue that has any, of the queues that you work in (or all, if you read everything). Counts the rows of the table.';
COMMENT ON COLUMN eventsource.queue_metrics.queue IS 'Name.';
COMMENT ON COLUMN eventsource.queue_metrics.scheduled IS 'Jobs that are not due yet.';
COMMENT ON COLUMN eventsource.queue_metrics.available IS 'Jobs that are due and wait for a worker, or for others of their order key.';
COMMENT ON COLUMN eventsource.queue_metrics.claimed IS 'Jobs that workers have.';
COMMENT ON COLUMN eventsource.queue_metrics.lost IS 'Jobs whose lease has ended.';
COMMENT ON COLUMN eventsource.queue_metrics.done IS 'Jobs that are done and kept.';
COMMENT ON COLUMN eventsource.queue_metrics.discarded IS 'Jobs that were given up, and are kept.';
COMMENT ON COLUMN eventsource.queue_metrics.cancelled IS 'Jobs that were cancelled, and are kept.';
COMMENT ON COLUMN eventsource.queue_metrics.done_last_hour IS 'Of those done, in the last hour.';
COMMENT ON COLUMN eventsource.queue_metrics.discarded_last_hour IS 'Of those given up, in the last hour.';
COMMENT ON COLUMN eventsource.queue_metrics.wait_seconds IS 'How long the job has waited that is due since longest.';
