/*
 * errors.h
 *		SQLSTATEs of class ZE, raised by eventsource alone.
 *
 * Lost races use 40001 (ERRCODE_T_R_SERIALIZATION_FAILURE), so that clients
 * retry them as they retry any serialization failure.
 */
#ifndef ES_ERRORS_H
#define ES_ERRORS_H

#include "utils/elog.h"
#include "utils/errcodes.h"

#define ES_ERRCODE_APPEND_ONLY				MAKE_SQLSTATE('Z', 'E', '0', '0', '1')
#define ES_ERRCODE_ILLEGAL_TRANSITION		MAKE_SQLSTATE('Z', 'E', '0', '0', '2')
#define ES_ERRCODE_REASON_REQUIRED			MAKE_SQLSTATE('Z', 'E', '0', '0', '3')
#define ES_ERRCODE_UNKNOWN_REASON			MAKE_SQLSTATE('Z', 'E', '0', '0', '4')
#define ES_ERRCODE_GUARD_REJECTED			MAKE_SQLSTATE('Z', 'E', '0', '0', '5')
#define ES_ERRCODE_UNKNOWN_EVENT_TYPE		MAKE_SQLSTATE('Z', 'E', '0', '0', '6')
#define ES_ERRCODE_INVALID_PAYLOAD			MAKE_SQLSTATE('Z', 'E', '0', '0', '7')
#define ES_ERRCODE_IDEMPOTENCY_CONFLICT		MAKE_SQLSTATE('Z', 'E', '0', '0', '8')
#define ES_ERRCODE_SUBJECT_ERASED			MAKE_SQLSTATE('Z', 'E', '0', '0', '9')
#define ES_ERRCODE_PROJECTION_WRITE			MAKE_SQLSTATE('Z', 'E', '0', '1', '0')
#define ES_ERRCODE_INVALID_DEFINITION		MAKE_SQLSTATE('Z', 'E', '0', '1', '1')
#define ES_ERRCODE_LOG_DIVERGED				MAKE_SQLSTATE('Z', 'E', '0', '1', '2')

#endif							/* ES_ERRORS_H */
