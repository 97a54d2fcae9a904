-- The end of a test in a database of its own.  Its roles are the whole cluster's, and in the way of the next run.
SELECT * FROM finish();
\c :"home_database"
DROP DATABASE :"own_database";
SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE oid <> ALL (:'roles_before') ORDER BY oid DESC \gexec
