-- The end of a test in a database of its own.
SELECT * FROM finish();
\c :"home_database"
DROP DATABASE :"own_database";
