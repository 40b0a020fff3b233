// pg/module.cpp: what happens when the library is loaded.
#include "pg/guard.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"

extern "C" {
PG_MODULE_MAGIC;
void _PG_init(void);
void _PG_init(void) { cdp::pg::DefineSettings(); }

PG_FUNCTION_INFO_V1(cdp_inbox_mark);
Datum cdp_inbox_mark(PG_FUNCTION_ARGS) { return UInt64GetDatum(U64FromFullTransactionId(GetTopFullTransactionId())); }
}
