\set ECHO none
\i test/helpers.sql
-- The watermark that is written down, and the views of the feed and its workers. (Standbys: test/t/022_standby.pl.)
SELECT eventsource.append('pub-1', 'before') IS NULL AS done \gset
BEGIN;
SELECT plan(16);

SELECT is(eventsource.publish_watermark(), eventsource.watermark(), 'published');
SELECT is(published_watermark, watermark, 'as far as the log is final') FROM eventsource.feed;
SELECT ok(published_at IS NOT NULL AND NOT is_standby, 'with its time, on a primary') FROM eventsource.feed;
SELECT published_at AS at FROM eventsource.feed \gset
SELECT is(eventsource.publish_watermark(), eventsource.watermark(), 'again');
SELECT is(published_at, :'at', 'nothing moved, nothing is written') FROM eventsource.feed;

-- Nobody's own appends are final.
SELECT position AS own FROM eventsource.append('pub-1', 'own') \gset
SELECT ok(eventsource.publish_watermark() < :own, 'below what the transaction appended itself');

-- As undone as all else.
SELECT published_watermark AS mark FROM eventsource.feed \gset
SAVEPOINT s;
SELECT eventsource.publish_watermark() IS NULL AS done \gset
ROLLBACK TO s;
SELECT is(published_watermark, :mark::bigint, 'a savepoint''s rollback') FROM eventsource.feed;
SELECT ok(eventsource.publish_watermark() >= :mark, 'after which one can publish');
SELECT is((SELECT count(*) FROM eventsource.published_watermark), 1::bigint, 'one row');

-- Rights
CREATE ROLE pub_reader;
CREATE ROLE pub_admin;
SELECT eventsource.grant_reader('pub_reader'), eventsource.grant_admin('pub_admin') \g /dev/null
SET LOCAL ROLE pub_reader;
SELECT lives_ok('SELECT * FROM eventsource.feed', 'readers see the feed');
SELECT lives_ok('SELECT * FROM eventsource.workers', 'and the workers');
SELECT throws_ok('SELECT eventsource.publish_watermark()', '42501', NULL, 'but do not publish');
SELECT throws_ok('SELECT * FROM eventsource.published_watermark', '42501', NULL, 'the table is private');
SET LOCAL ROLE pub_admin;
SELECT lives_ok('SELECT eventsource.publish_watermark()', 'admins do');
RESET ROLE;

SELECT is((SELECT count(*) FROM eventsource.workers), 0::bigint, 'no workers where they are not enabled');
SET TRANSACTION READ ONLY;
SELECT throws_ok('SELECT eventsource.publish_watermark()', '25006', NULL, 'nor does a read-only transaction publish');
SELECT * FROM finish();
ROLLBACK;
