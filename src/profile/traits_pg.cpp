// profile/traits_pg.cpp: see traits_pg.hpp.
#include "profile/traits_pg.hpp"

#include "pg/names.hpp"
#include "pg/plain_style.hpp"

extern "C" {
#include "access/table.h"
#include "catalog/namespace.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
}

namespace cdp::profile {

namespace {

/// Whether a text of a date or a time says when by the clock of whoever reads it: it would be another value each time.
bool AsksTheClock(Oid type, std::string_view text) {
    if (type != DATEOID && type != TIMEOID && type != TIMESTAMPOID && type != TIMESTAMPTZOID) return false;
    static constexpr std::string_view words[] = {"now", "today", "tomorrow", "yesterday"};
    std::string word;
    for (size_t at = 0; at <= text.size(); ++at) {
        const char c = at < text.size() ? static_cast<char>(text[at] | 0x20) : ' ';  // a letter in lower case
        if (c >= 'a' && c <= 'z') {
            word += c;
            continue;
        }
        if (std::find(std::begin(words), std::end(words), word) != std::end(words)) return true;
        word.clear();
    }
    return false;
}

/// The text as a Datum of `type`, by its input function, the same in every session; nothing if the type refuses it.
std::optional<Datum> FromText(Oid type, const std::string& text) {
    if (AsksTheClock(type, text)) return std::nullopt;
    const pg::PlainStyle style;
    try {
        return pg::Call([&] {
            Oid input, io_param;
            getTypeInputInfo(type, &input, &io_param);
            return OidInputFunctionCall(input, const_cast<char*>(text.c_str()), io_param, -1);
        });
    } catch (const pg::PgError& error) {
        // Input functions hold nothing when they refuse, so no subtransaction is needed. Others pass on.
        if (ERRCODE_TO_CATEGORY(error.data->sqlerrcode) != ERRCODE_DATA_EXCEPTION) throw;
        return std::nullopt;
    }
}

/// JSON has no integers: its 5.0 is one.
void DropZeroFraction(std::string* number) {
    const size_t point = number->find('.');
    if (point != std::string::npos && number->find_first_not_of('0', point + 1) == std::string::npos) number->resize(point);
}

/// Whether it computes a number of the numbers among its values.
bool IsOfNumbers(const Trait& trait) {
    return trait.computed && (trait.aggregate == Aggregate::kSum || trait.aggregate == Aggregate::kAvg ||
                              trait.aggregate == Aggregate::kMin || trait.aggregate == Aggregate::kMax);
}

Datum DecimalDatum(const Decimal& value) {
    if (const auto small = value.SmallCoefficient(); small && value.scale() <= 18)
        return pg::Call([&] {
            return NumericGetDatum(value.scale() == 0 ? int64_to_numeric(*small)
                                                      : int64_div_fast_to_numeric(*small, value.scale()));
        });
    const std::string text = value.ToString();
    return pg::Call([&] {
        return DirectFunctionCall3(numeric_in, CStringGetDatum(text.c_str()), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
    });
}

Datum ToDatum(const Trait& trait, const Value& value) {
    switch (trait.kind) {
        case ValueKind::kInteger: {
            const int64 number = std::get<int64_t>(value);
            return trait.type == INT2OID   ? Int16GetDatum(static_cast<int16>(number))
                   : trait.type == INT4OID ? Int32GetDatum(static_cast<int32>(number))
                                           : Int64GetDatum(number);
        }
        case ValueKind::kReal:
            return trait.type == FLOAT4OID ? Float4GetDatum(static_cast<float4>(std::get<double>(value)))
                                           : Float8GetDatum(std::get<double>(value));
        case ValueKind::kDecimal: return DecimalDatum(std::get<Decimal>(value));
        case ValueKind::kBoolean: return BoolGetDatum(std::get<int64_t>(value) != 0);
        case ValueKind::kDate: return DateADTGetDatum(static_cast<DateADT>(std::get<int64_t>(value)));
        case ValueKind::kTime: return TimestampTzGetDatum(std::get<int64_t>(value));
        case ValueKind::kText:
            if (trait.type == TEXTOID) return pg::TextDatum(std::get<std::string>(value));
            return FromText(trait.type, std::get<std::string>(value)).value();
    }
    return 0;
}

std::unique_ptr<Traits::Access> PrepareAccess(const std::vector<Trait>& traits, TupleDesc descriptor) {
    std::vector<int> columns{kProfileId, kFirstSeenAt, kLastSeenAt, kEventCount, kTraits, kState}, readable;
    for (const Trait& trait : traits)
        if (!trait.activity) columns.push_back(trait.column);
    std::vector<std::string> names;
    for (const int column : columns) names.emplace_back(NameStr(TupleDescAttr(descriptor, column)->attname));
    std::string read;
    for (int column = 0; column < descriptor->natts; ++column) {
        const auto* attribute = TupleDescAttr(descriptor, column);
        if (attribute->attisdropped) continue;
        read += "p." + pg::Identifier(NameStr(attribute->attname)) + ", ";
        readable.push_back(column);
    }
    return std::unique_ptr<Traits::Access>(new Traits::Access{
        std::move(columns), std::move(names), std::move(readable), read + "p.ctid",
        pg::Statement("SELECT " + read + "p.ctid FROM cdp_batch_wanted b JOIN cdp.profile p ON p.profile_id = b.profile_id")});
}

/// Reads a trait's filter, which is of `what` and belongs to `owner`, in errors `owner_name` (InvalidOid: that role is gone). If
/// that fails, the trait stands still.
void ReadFilter(Trait* trait, const std::string& what, const std::string& filter, Oid owner, const std::string& owner_name) {
    const Oid event_table = pg::Call([] { return get_relname_relid("event", get_namespace_oid("cdp", false)); });
    if (OidIsValid(owner))
        trait->standing.ReadWith(pg::Attempts::One([&] {
            trait->filter = std::make_unique<pg::Condition>(filter, what, event_table, "event", owner, std::span<const char* const>());
        }));
    else
        trait->standing.ReadWith(Error(sqlstate::undefined_object, what + ": role \"" + owner_name + "\" does not exist"));
}

/// Throws while a dump is being restored: see govern.sql. Once it is through, forgets that it was.
void CheckNotBeingRestored() {
    static pg::Statement ask("SELECT cdp.being_restored(), EXISTS (SELECT FROM cdp.restored)");
    const auto rows = ask.Query({}, 0, RecoveryInProgress());
    if (const auto why = rows.OptionalText(0, 1))
        throw Error(sqlstate::object_not_in_prerequisite_state, *why)
            .Hint("While pg_restore is at work, wait until it is done. Otherwise put it back: ALTER TABLE cdp.profile ADD PRIMARY KEY (profile_id).");
    if (rows.Bool(0, 2) && !XactReadOnly) {
        pg::Execute("DELETE FROM cdp.restored");
        pg::Query("SELECT cdp.touch_configuration()");
    }
}

}  // namespace

ValueKind KindOf(Oid type) {
    switch (type) {
        case INT2OID:
        case INT4OID:
        case INT8OID: return ValueKind::kInteger;
        case FLOAT4OID:
        case FLOAT8OID: return ValueKind::kReal;
        case NUMERICOID: return ValueKind::kDecimal;
        case BOOLOID: return ValueKind::kBoolean;
        case DATEOID: return ValueKind::kDate;
        case TIMESTAMPOID:
        case TIMESTAMPTZOID: return ValueKind::kTime;
        case TEXTOID:
        case VARCHAROID:
        case UUIDOID:
        case JSONBOID:
        case INETOID:
        case INTERVALOID:
        case TIMEOID: return ValueKind::kText;
        default:
            throw Error(sqlstate::feature_not_supported,
                        "a trait cannot be of type " + std::string(pg::Call([&] { return format_type_be(type); })))
                .Hint("Types: text, varchar, boolean, smallint, integer, bigint, numeric, real, double precision, "
                      "date, time, timestamp, timestamptz, interval, uuid, inet, jsonb.");
    }
}

std::optional<Value> ValueOf(const Trait& trait, const pg::Json& json) {
    if (json.IsNull()) return std::nullopt;
    // JSON as it is: of a string's own text another value may be read, or none.
    if (trait.type == JSONBOID) return Value(pg::OutputText(JSONBOID, pg::Standalone(json)));
    if (trait.kind == ValueKind::kDecimal) {
        if (json.IsNumber()) return Decimal::Parse(json.NumberText());
        // Aggregates of numbers are made of JSON's numbers; elsewhere a text may be one too.
        if (IsOfNumbers(trait) || !json.IsString()) return std::nullopt;
    }
    std::string text = json.ToText();
    // Lists and counts of distinct values are of texts, whatever the column's own type.
    if (trait.kind == ValueKind::kText && (trait.type == TEXTOID || trait.type == TEXTARRAYOID || trait.type == INT8OID))
        return Value(std::move(text));
    if (trait.kind == ValueKind::kInteger && json.IsNumber()) DropZeroFraction(&text);
    const auto datum = FromText(trait.type, text);
    if (!datum) return std::nullopt;
    switch (trait.kind) {
        case ValueKind::kInteger:
            return Value(trait.type == INT2OID   ? int64_t{DatumGetInt16(*datum)}
                         : trait.type == INT4OID ? int64_t{DatumGetInt32(*datum)}
                                                 : int64_t{DatumGetInt64(*datum)});
        case ValueKind::kReal:
            return Value(trait.type == FLOAT4OID ? static_cast<double>(DatumGetFloat4(*datum)) : DatumGetFloat8(*datum));
        case ValueKind::kDecimal: return Decimal::Parse(pg::OutputText(trait.type, *datum));
        case ValueKind::kBoolean: return Value(int64_t{DatumGetBool(*datum)});
        case ValueKind::kDate: return Value(int64_t{DatumGetDateADT(*datum)});
        case ValueKind::kTime: return Value(int64_t{DatumGetTimestampTz(*datum)});
        case ValueKind::kText: {
            const pg::PlainStyle style;
            return Value(pg::OutputText(trait.type, *datum));
        }
    }
    return std::nullopt;
}

void Render(const Trait& trait, const AggregateState& state, Datum* value, bool* null) {
    *null = false;
    switch (trait.aggregate) {
        case Aggregate::kCount:
        case Aggregate::kDistinctCount:
            *value = Int64GetDatum(state.Count());
            return;
        case Aggregate::kSum:
        case Aggregate::kAvg: {
            if ((*null = state.Count() == 0)) return;
            *value = DecimalDatum(state.Sum());
            if (trait.aggregate == Aggregate::kAvg)
                *value = pg::Call([&] {
                    return DirectFunctionCall2(numeric_div, *value, NumericGetDatum(int64_to_numeric(state.Count())));
                });
            return;
        }
        case Aggregate::kUniqueList: {
            if ((*null = state.Values().empty())) return;
            std::vector<const std::string*> texts;
            for (const auto& entry : state.Values()) texts.push_back(&std::get<std::string>(entry.first));
            std::sort(texts.begin(), texts.end(), [](auto* a, auto* b) {
                const int order = text_order(*a, *b);
                return order != 0 ? order < 0 : *a < *b;
            });
            std::vector<Datum> elements;
            for (const auto* text : texts) elements.push_back(pg::TextDatum(*text));
            *value = pg::Call([&] {
                return PointerGetDatum(construct_array(elements.data(), static_cast<int>(elements.size()), TEXTOID, -1, false, TYPALIGN_INT));
            });
            return;
        }
        default: {
            const auto single = state.Single();
            if ((*null = !single || std::holds_alternative<std::monostate>(*single))) return;
            *value = ToDatum(trait, *single);
        }
    }
}

std::unique_ptr<Traits> Traits::Load() {
    CheckNotBeingRestored();
    auto traits = std::make_unique<Traits>();
    traits->profile_table_ = pg::Call([] { return get_relname_relid("profile", get_namespace_oid("cdp", false)); });
    if (!OidIsValid(traits->profile_table_))
        throw Error(sqlstate::object_not_in_prerequisite_state, "table cdp.profile does not exist");
    traits->descriptor_ = pg::Call([&] {
        Relation rel = table_open(traits->profile_table_, AccessShareLock);
        const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
        TupleDesc copy = CreateTupleDescCopy(RelationGetDescr(rel));
        MemoryContextSwitchTo(outer);
        table_close(rel, AccessShareLock);
        return copy;
    });
    traits->Read();
    traits->ReadActivities();
    for (auto& entry : traits->by_event_)
        entry.second.insert(entry.second.end(), traits->any_event_.begin(), traits->any_event_.end());
    traits->access_ = PrepareAccess(traits->all_, traits->descriptor_);
    traits->MakeBlank();
    return traits;
}

void Traits::Read() {
    const auto rows = pg::Query(
        "SELECT trait_id, name, kind = 'computed', aggregate, type::oid, event, path, filter, sources,"
        " coalesce((SELECT oid FROM pg_roles WHERE rolname = owner), 0::oid), owner::text, problem IS NOT NULL, \"window\","
        " unreadable FROM cdp.trait ORDER BY trait_id");
    for (uint64 i = 0; i < rows.size(); ++i) {
        Trait trait;
        trait.trait_id = DatumGetInt32(*rows.Get(i, 1));
        trait.name = rows.Text(i, 2);
        trait.computed = rows.Bool(i, 3);
        const auto aggregate = AggregateNamed(rows.Text(i, 4));
        if (!aggregate) throw Error(sqlstate::data_corrupted, "trait \"" + trait.name + "\" has an unknown aggregate");
        trait.aggregate = *aggregate;
        trait.type = DatumGetObjectId(*rows.Get(i, 5));
        trait.kind = trait.aggregate == Aggregate::kUniqueList || trait.aggregate == Aggregate::kDistinctCount
                         ? ValueKind::kText : KindOf(trait.type);
        trait.event = rows.Text(i, 6);
        if (const auto path = rows.OptionalText(i, 7)) trait.path = pg::SplitPath(*path);
        if (const auto sources = rows.Get(i, 9)) trait.sources = pg::TextArray(*sources);
        if (const auto window = rows.Get(i, 13)) trait.window = Window(SpanOf(*DatumGetIntervalP(*window)));
        const auto found = pg::Call([&] { return get_attnum(profile_table_, trait.name.c_str()); });
        if (found <= 0)
            throw Error(sqlstate::undefined_column, "column \"" + trait.name + "\" of cdp.profile is gone, but trait \"" + trait.name + "\" is not")
                .Hint("Drop traits with cdp.drop_trait, not their columns.");
        trait.column = found - 1;
        trait.standing.noted = rows.Bool(i, 12);
        trait.standing.unreadable = rows.Bool(i, 14);
        if (const auto filter = rows.OptionalText(i, 8))
            ReadFilter(&trait, "the filter of trait \"" + trait.name + "\"", *filter, DatumGetObjectId(*rows.Get(i, 10)), rows.Text(i, 11));
        Add(std::move(trait));
    }
}

void Traits::ReadActivities() {
    const auto rows = pg::Query(
        "SELECT trait_id, measure, events, within, filter, same, coalesce((SELECT oid FROM pg_roles WHERE rolname = owner), 0::oid), owner::text,"
        " problem IS NOT NULL, unreadable FROM cdp.activity ORDER BY trait_id");
    input_count_ = column_count();
    for (uint64 i = 0; i < rows.size(); ++i) {
        Activity activity;
        activity.measure = MeasureNamed(rows.Text(i, 2)).value();
        activity.events = pg::TextArray(*rows.Get(i, 3));
        if (const auto within = rows.Get(i, 4)) activity.within = *DatumGetIntervalP(*within);
        activity.filter = rows.Text(i, 5);
        activity.same = rows.Text(i, 6);
        activity.owner = DatumGetObjectId(*rows.Get(i, 7));
        Trait trait = Keeper(std::move(activity));
        trait.trait_id = DatumGetInt32(*rows.Get(i, 1));
        trait.column = input_count_++;
        trait.standing.noted = rows.Bool(i, 9);
        trait.standing.unreadable = rows.Bool(i, 10);
        if (!trait.activity->filter.empty()) ReadFilter(&trait, trait.name, trait.activity->filter, trait.activity->owner, rows.Text(i, 8));
        Add(std::move(trait));
    }
}

void Traits::Add(Trait trait) {
    const int index = static_cast<int>(all_.size());
    if (trait.window) windowed_.push_back(index);
    if (trait.sequence) {
        sequences_.push_back(index);
        for (const auto& event : trait.activity->events)
            if (auto& of_event = by_event_[event]; of_event.empty() || of_event.back() != index) of_event.push_back(index);
    } else if (!trait.computed) {
        declared_.push_back(index);
    } else if (trait.event.empty()) {
        any_event_.push_back(index);
    } else {
        by_event_[trait.event].push_back(index);
    }
    all_.push_back(std::move(trait));
}

/// The columns of somebody of whom nothing is known: counts are 0, everything else is NULL: nothing to allocate.
void Traits::MakeBlank() {
    const size_t columns = static_cast<size_t>(column_count());
    blank_values_.assign(columns, 0);
    blank_nulls_.reset(new bool[columns]);
    std::fill_n(blank_nulls_.get(), columns, true);
    static const Datum no_traits = [] {
        const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
        const Datum empty = pg::EmptyObject();
        MemoryContextSwitchTo(outer);
        return empty;
    }();
    blank_values_[kTraits] = no_traits;
    for (const Trait& trait : all_)
        if (!trait.activity) Render(trait, AggregateState(trait.aggregate), &blank_values_[trait.column], &blank_nulls_[trait.column]);
}

Traits::~Traits() {
    if (descriptor_ != nullptr) FreeTupleDesc(descriptor_);
}

const Trait* Traits::Find(int trait_id) const {
    for (const Trait& trait : all_)
        if (trait.trait_id == trait_id) return &trait;
    return nullptr;
}

const Trait* Traits::Named(std::string_view name) const {
    for (const Trait& trait : all_)
        if (!trait.activity && trait.name == name) return &trait;
    return nullptr;
}

const Trait* Traits::Keeping(const Activity& activity) const {
    for (const Trait& trait : all_)
        if (trait.activity && *trait.activity == activity) return &trait;
    return nullptr;
}

std::span<const int> Traits::ComputedFor(std::string_view event) const {
    const auto found = by_event_.find(std::string(event));
    return found == by_event_.end() ? std::span(any_event_) : std::span(found->second);
}

int Traits::Keep(const Activity& activity) {
    if (const Trait* keeper = Keeping(activity)) return static_cast<int>(keeper - all_.data());
    Trait trait = Keeper(activity);
    trait.trait_id = all_.empty() ? 1 : all_.back().trait_id + 1;
    trait.column = input_count_++;
    if (!activity.filter.empty()) ReadFilter(&trait, trait.name, activity.filter, activity.owner, "");
    if (trait.standing.failure) throw *trait.standing.failure;
    Add(std::move(trait));
    return static_cast<int>(all_.size()) - 1;
}

bool Traits::NoteProblems() const {
    bool any = false;
    for (const Trait& trait : all_) {
        if (!trait.standing.ToBeNoted()) continue;
        pg::NoteProblem(trait.activity ? "cdp.activity" : "cdp.trait", "trait_id", trait.trait_id,
                        trait.activity ? trait.name : "trait \"" + trait.name + "\"", trait.standing);
        any = true;
    }
    return any;
}

FilterResults::FilterResults(Traits& traits, std::span<const EventRow> events) : passes_(traits.all().size()) {
    pg::Attempts attempts;
    for (size_t t = 0; t < traits.all().size(); ++t) {
        Trait& trait = traits.all()[t];
        if (!trait.standing.Still()) {
            if (!trait.filter) continue;
            trait.standing.failure = attempts.Run([&] { Work(t, trait, events); });
        }
        if (trait.standing.Still()) passes_[t].assign(events.size(), 0);
    }
    attempts.Commit();
}

FilterResults::FilterResults(const Traits& traits, std::span<const EventRow> events, int only) : passes_(traits.all().size()) {
    const Trait& trait = traits.all()[only];
    if (trait.filter) Work(static_cast<size_t>(only), trait, events);
}

void FilterResults::Work(size_t place, const Trait& trait, std::span<const EventRow> events) {
    // Only the events it may count: a filter need not make sense for others.
    std::vector<pg::Condition::Row> rows;
    std::vector<size_t> places;
    for (size_t i = 0; i < events.size(); ++i)
        if (trait.event.empty() || trait.event == events[i].Text(kEventEvent)) {
            rows.push_back({events[i].values, events[i].nulls});
            places.push_back(i);
        }
    std::vector<char> holds;
    trait.filter->Evaluate(rows, {}, &holds);
    passes_[place].assign(events.size(), 0);
    for (size_t i = 0; i < places.size(); ++i) passes_[place][places[i]] = holds[i];
}

}  // namespace cdp::profile
