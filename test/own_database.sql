-- For tests that must commit: a database of their own, so that no other test finds their events. Instead of helpers.sql.
\set ECHO none
\set QUIET on
SET client_min_messages = warning;
SELECT current_database() AS home_database, 'own_' || :'own_database' AS own_database \gset
SELECT array_agg(oid) AS roles_before FROM pg_roles \gset
DROP DATABASE IF EXISTS :"own_database";
CREATE DATABASE :"own_database";
\c :"own_database"
\i test/helpers.sql
CREATE EXTENSION pgtap;
CREATE EXTENSION eventsource;
