/*
 * subject_rows.h
 *		Rows of tables as who asks what is held about a subject may see them.
 */
#ifndef ES_PROJECT_SUBJECT_ROWS_H
#define ES_PROJECT_SUBJECT_ROWS_H

#include "access/tupdesc.h"
#include "nodes/bitmapset.h"
#include "utils/jsonb.h"

/* Why the current user may not see rows of a table; NULL: he may. */
extern const char *es_subject_withheld(Oid relid);

/* The row with these columns masked, as a masked view has them: create_masked_view(). */
extern Jsonb *es_subject_mask(Jsonb *row, TupleDesc desc, const Bitmapset *columns);

#endif							/* ES_PROJECT_SUBJECT_ROWS_H */
