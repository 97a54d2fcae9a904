/*
 * target.h
 *		The table of a projection: what a fold must know of it, reading a row by
 *		its key, writing rows.
 */
#ifndef ES_PROJECT_TARGET_H
#define ES_PROJECT_TARGET_H

#include "access/skey.h"
#include "executor/tuptable.h"
#include "rules/expr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* A column of the primary key. */
typedef struct EsKeyColumn
{
	AttrNumber	attno;
	Oid			type;
	int16		typlen;
	bool		typbyval;
	Oid			collation;
	FmgrInfo   *equal;
	FmgrInfo   *hash;			/* NULL if the type has none */
	FmgrInfo   *hash_extended;	/* likewise */
} EsKeyColumn;

/* A CHECK constraint or a generated column. */
typedef struct EsColumnRule
{
	const char *name;			/* of the constraint */
	AttrNumber	attno;			/* of the generated column */
	EsExpr	   *expr;
} EsColumnRule;

/* Lives as long as the projection; nothing in it is open or pinned. */
typedef struct EsTarget
{
	Oid			relid;
	Oid			owner;
	char	   *name;			/* for messages: schema.table, quoted */
	bool		sees_personal;	/* its rules read personal fields: see
								 * personal_columns.h */
	List	   *categories;		/* of char *: what its rows are made of */
	TupleDesc	desc;
	Oid			key_index;
	int			nkeys;
	EsKeyColumn *keys;
	ScanKeyData *scan_keys;		/* by the index's columns; arguments missing */
	Datum	   *start;			/* defaults, where a row begins */
	bool	   *start_isnull;
	List	   *checks;			/* of EsColumnRule */
	List	   *generated;		/* of EsColumnRule */
	List	   *domains;		/* of EsColumnRule: raises if the domain of
								 * the column takes no null */
	bool		has_not_null;
	bool		foreign_indexes;	/* code of users may run */
	bool		has_other_unique;	/* besides the primary key */
} EsTarget;

/* The relation is locked by the caller.  Everything is palloc'd. */
extern EsTarget *es_target_make(Oid relid);

/* Index of the primary key; InvalidOid if there is none that finds equal keys
 * and is checked at once. */
extern Oid	es_target_key_index(Relation rel);

/* Why a table cannot be a target, as lines; NIL if it can. */
extern List *es_target_check(Relation rel);

/* Likewise what its guards do not keep out. */
extern List *es_target_check_guards(Relation rel);

/* The part of it that rules out any table that a definition names, tracked ones too. */
extern List *es_target_check_kind(Relation rel);

extern uint32 es_target_hash(const EsTarget *target, const Datum *key);
extern uint64 es_target_lock_hash(const EsTarget *target, const Datum *key);

/*
 * To which of so many parts (a power of two) a key belongs, and whether keys can
 * be told apart that way.
 */
extern uint32 es_target_part(const EsTarget *target, const Datum *key, uint32 parts);
extern bool es_target_can_part(const EsTarget *target);

extern bool es_target_same_key(const EsTarget *target, const Datum *a, const Datum *b);

/* Equal to the last bit, or not known to be. */
extern bool es_target_same_image(HeapTuple a, HeapTuple b);

/* Equal rows: by image, or by the type's own equality for numbers and jsonb. */
extern bool es_target_same_row(const EsTarget *target, HeapTuple a, HeapTuple b);

/*
 * The row of a key, palloc'd with its place in t_self, or NULL.  The caller
 * serialises writers of the key; a row that the transaction's snapshot cannot
 * see yet is a serialization failure.
 */
extern HeapTuple es_target_read(const EsTarget *target, const Datum *key);

/* The same as a snapshot sees it, whoever writes. */
extern HeapTuple es_target_read_seen(const EsTarget *target, const Datum *key, Snapshot snapshot);

/* Raises 40001: a row is not what it has to be. */
extern void es_target_lost_race(const EsTarget *target);

/* On a virtual slot that holds a whole row. */
extern void es_target_compute_generated(const EsTarget *target, TupleTableSlot *slot);
extern void es_target_check_row(const EsTarget *target, TupleTableSlot *slot);

/* False: NOT NULL, its domain, or a CHECK of nothing but this column rules it out. */
extern bool es_target_takes_null(const EsTarget *target, AttrNumber attno);

/* A row as an object, and of such an object the columns of the key. */
extern Jsonb *es_target_row_to_jsonb(const EsTarget *target, HeapTuple row);
extern Jsonb *es_target_key_to_jsonb(const EsTarget *target, Jsonb *row);

/* Writing: relation and indexes are open between begin and end. */
typedef struct EsTargetWriter EsTargetWriter;

extern EsTargetWriter *es_target_begin_write(const EsTarget *target);
extern void es_target_insert(EsTargetWriter *writer, HeapTuple row);
extern void es_target_update(EsTargetWriter *writer, HeapTuple old, HeapTuple row);
extern void es_target_delete(EsTargetWriter *writer, HeapTuple old);
extern void es_target_end_write(EsTargetWriter *writer);

#endif							/* ES_PROJECT_TARGET_H */
