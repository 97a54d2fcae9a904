-- The prologue of every file in test/sql: output that holds assertions only.
\set ECHO none
\set QUIET on
\set ON_ERROR_STOP on
\pset pager off
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
