/*
 * result_row.h
 *		Rows for a tuplestore, formed in one place again and again.
 */
#ifndef ES_LOG_RESULT_ROW_H
#define ES_LOG_RESULT_ROW_H

#include "eventsource.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/execnodes.h"

typedef struct EsResultRow EsResultRow;

/* For rows of these columns; lives in the current memory context. */
extern EsResultRow *es_result_row_begin(TupleDesc desc);

/*
 * The row of values, valid until the next call.  Values of variable length must
 * be in line and not compressed; short headers will do.
 */
extern HeapTuple es_result_row_form(EsResultRow *result, const Datum *values, const bool *nulls);

/* Puts an event into a result of the view's columns. */
extern void es_result_row_put_event(ReturnSetInfo *rsinfo, EsResultRow *result, const EsEvent *event);

#endif							/* ES_LOG_RESULT_ROW_H */
