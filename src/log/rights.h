/*
 * rights.h
 *		Who may read, and who may append to, which categories.
 *
 *		Two rights are PostgreSQL's own: EXECUTE on reads_all_categories() and on
 *		writes_all_categories().  Who has the first is unlimited, and so is who inherits
 *		it, owns it or is a superuser; it goes with dumps, renames and DROP ROLE as any
 *		right does, and costs a look at a flag.  Who can call our functions without it is
 *		limited: he reads the categories that he, or a role whose rights he has, was
 *		given, which may be none.  So several grants, and several roles, add up.
 *
 *		What a limited role was given is a definition: one stream of $config per role
 *		(kind "category_rights"), so that the log says who could read what, and when.  A
 *		role is known by its OID where it was given, and by its name in a copy of the
 *		database, as in an ACL that was dumped.  Objects of the schema with rights of
 *		their own, one per category, would have said the same; but nothing is ever made
 *		in the schema that the installation did not make (trust/guard_catalog.c).
 *
 *		Definitions ($config) say what may happen, not what did: every reader sees them
 *		in their views, as everybody reads PostgreSQL's catalogs, but for what names
 *		streams and subjects (holds, parked events).  The events of $config and $erasure
 *		are read by the unlimited alone.
 *
 *		It is the current user who is asked, so that a SECURITY DEFINER function reads
 *		what its owner may.  What the database does by itself (folds, guards, capture,
 *		verification) asks nobody; the doors through which a role reads do, here or by
 *		es_scan_for_reader(); views do by may_read_*() (log/fence.c).
 *
 *		The answers are kept until definitions, roles, memberships or rights on
 *		functions change.
 */
#ifndef ES_LOG_RIGHTS_H
#define ES_LOG_RIGHTS_H

#include "eventsource.h"
#include "nodes/pg_list.h"

#define ES_RIGHTS_KIND		"category_rights"
#define ES_RIGHTS_READ_ALL	"reads_all_categories"
#define ES_RIGHTS_WRITE_ALL	"writes_all_categories"

/* May the current user read all there is; a category, by a word's id or its name; a stream? */
extern bool es_rights_reads_all(void);
extern bool es_rights_reads_word(int32 category);
extern bool es_rights_reads(const char *category);
extern bool es_rights_reads_stream(const text *stream);

/* Does he append to every category? */
extern bool es_rights_writes_all(void);

/* Of several categories, or of all (NIL). */
extern bool es_rights_reads_each(List *categories);

/* What a limited reader reads.  List of char *, valid until the end of the transaction. */
extern List *es_rights_categories(void);

/* Errors (42501) for who may not; a stream's name is a valid one. */
extern void es_rights_expect_read(const char *category);
extern void es_rights_expect_read_each(List *categories, const char *what);
extern void es_rights_expect_read_stream(const text *stream);
extern void es_rights_expect_write_stream(const text *stream);

/* OID of the function of the first right; InvalidOid where the extension is not. */
extern Oid	es_rights_function(void);

extern void es_rights_init(void);

#endif							/* ES_LOG_RIGHTS_H */
