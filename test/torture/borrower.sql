-- borrower.sql (pgbench): a consumer that acts in another transaction than it polls
-- in; it may be late, do a part first, give up, or never be heard of again.
\set me random(1, 1000000000)
\set fate random(1, 10)
\set part random(1, 20)
\set pause random(0, 40)
\set last 1000
SELECT torture.borrow('c:me', '200 milliseconds') AS got \gset
\if :got = 0
\sleep 5 ms
\elif :fate <= 6
\sleep :pause ms
SELECT torture.settle('c:me', :part);
SELECT torture.settle('c:me', :last);
\elif :fate <= 7
\sleep 250 ms
SELECT torture.settle('c:me', :last);
\elif :fate <= 8
\sleep :pause ms
SELECT torture.settle('c:me', 1);
SELECT torture.give_up('c:me');
\elif :fate <= 9
BEGIN;
SELECT torture.settle('c:me', :last);
\sleep :pause ms
ROLLBACK;
\endif
