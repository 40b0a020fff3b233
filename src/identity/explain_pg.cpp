// identity/explain_pg.cpp: SQL's door to why two identifiers are one person.
#include "identity/find_pg.hpp"
#include "identity/person_links_pg.hpp"

using namespace cdp;

namespace {

/// The links of the chain, in order, as rows (step, from, to, why).
void AddChain(pg::TableResult& result, const identity::PersonLinks& person, const std::vector<int>& chain, int from) {
    constexpr int kColumns = 13, kStep = 0, kFrom = 1, kTo = 3, kWhy = 5;
    static pg::Statement read(
        "SELECT a.type, a.value, b.type, b.value, l.link_id, l.cause, l.message_id, l.event_id, l.score, l.reason, l.actor, l.linked_at"
        " FROM cdp.identity_link l JOIN cdp.identifier a ON a.identifier_id = l.identifier_a"
        " JOIN cdp.identifier b ON b.identifier_id = l.identifier_b WHERE l.link_id = $1", {INT8OID});
    int step = 0;
    for (const int link : chain) {
        const auto rows = read.Query({pg::Int8(person.LinkId(static_cast<size_t>(link)))}, 1, true);
        Datum row[kColumns - 1], values[kColumns];
        bool row_nulls[kColumns - 1], nulls[kColumns];
        rows.Deform(0, row, row_nulls);
        // The way may lead along the link from its b to its a.
        const auto [a, b] = person.links()[static_cast<size_t>(link)];
        const bool forward = a == from;
        values[kStep] = Int32GetDatum(++step);
        nulls[kStep] = false;
        for (int i = 0; i < kWhy - kFrom; ++i) {
            const int place = forward ? i : (i + kTo - kFrom) % (kWhy - kFrom);
            values[kFrom + i] = row[place];
            nulls[kFrom + i] = row_nulls[place];
        }
        std::copy(row + (kWhy - kFrom), std::end(row), values + kWhy);
        std::copy(row_nulls + (kWhy - kFrom), std::end(row_nulls), nulls + kWhy);
        result.Add(values, nulls);
        from = forward ? b : a;
    }
}

}  // namespace

// cdp.explain_merge(type_a text, value_a text, type_b text, value_b text) → TABLE(step, …)
CDP_FUNCTION(cdp_explain_merge)
{
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto a = identity::Find(pg::Bytes(PG_GETARG_DATUM(0)), pg::Bytes(PG_GETARG_DATUM(1)), true);
    const auto b = identity::Find(pg::Bytes(PG_GETARG_DATUM(2)), pg::Bytes(PG_GETARG_DATUM(3)), true);
    if (a.profile_id != b.profile_id) {
        const auto left = static_cast<long long>(a.profile_id), right = static_cast<long long>(b.profile_id);
        pg::Call([&] {
            ereport(NOTICE, (errmsg("they are two people: profiles %lld and %lld", left, right),
                             errhint("If a message carried both, cdp.identity_conflict says why it did not join them.")));
        });
        return result.Done();
    }
    const identity::PersonLinks person(a.profile_id);
    const int from = person.PlaceOf(a.identifier_id);
    const auto chain = identity::ShortestChain(person.identifiers().size(), person.links(), from, person.PlaceOf(b.identifier_id));
    if (!chain)
        throw Error(sqlstate::data_corrupted, "no chain of links joins what profile " + std::to_string(a.profile_id) + " consists of")
            .Hint("Somebody changed cdp.identifier or cdp.identity_link by hand; cdp.rebuild(repair => true) makes people what the links say.");
    AddChain(result, person, *chain, from);
    return result.Done();
}
