// segment/segments_messages_pg.cpp: by which message somebody entered or left; see segments_pg.hpp.
//
// A batch looks at people once, after all of its messages. For those who moved and had several of them that can have been it, the
// messages are replayed one after the other, and only the conditions that moved are evaluated again.
#include "segment/segments_pg.hpp"

namespace cdp::segment {

namespace {

/// A person after one of their messages.
struct After {
    std::vector<Datum> values;
    std::unique_ptr<bool[]> nulls;
    int64 clock;
    int64 event_id;
    Cause cause;
};

/// Whether the condition of a person after one message can be told: it is no matter of the users' tables, of an imported list, or
/// of consent that is another than it was.
bool IsReplayed(const Segment& segment, const Touched& touched) {
    return !segment.live && !segment.Asks(Source::Kind::kList) && !(segment.Asks(Source::Kind::kConsent) && touched.consents_changed);
}

}  // namespace

/// What their conditions read of a person.
profile::Reads Segments::ReadBy(std::span<const Transition> moves) const {
    profile::Reads reads(static_cast<size_t>(traits_.input_count()));
    for (const Transition& move : moves) {
        const Segment& segment = segments_[static_cast<size_t>(place_.at(move.segment_id))];
        for (const int column : segment.condition->columns()) {
            if (column > 0)
                reads[static_cast<size_t>(column - 1)] = 1;
            else  // the row as a whole
                std::fill(reads.begin(), reads.end(), 1);
        }
        for (const Source& source : segment.sources)
            if (source.kind == Source::Kind::kActivity) reads[static_cast<size_t>(traits_.all()[static_cast<size_t>(source.of)].column)] = 1;
    }
    return reads;
}

/// Whether nothing but what messages change of the person's traits can have moved them.
bool Segments::OnlyByTraits(std::span<const Transition> moves, const Touched& touched) const {
    if (touched.change == Touched::Change::kAll || touched.person->passed()) return false;
    return std::none_of(moves.begin(), moves.end(), [&](const Transition& move) {
        const int place = place_.at(move.segment_id);
        const Segment& segment = segments_[static_cast<size_t>(place)];
        const bool by_being_there = touched.change == Touched::Change::kNew && LookedAtWhenNew(place);
        return by_being_there || !IsReplayed(segment, touched) || segment.Asks(Source::Kind::kIdentifierType) || segment.Asks(Source::Kind::kConsent);
    });
}

void Segments::NameMessagesOf(std::span<Transition> moves, Touched& touched, const std::function<void(const Replay::Moment&)>& play,
                              pg::Attempts* attempts) {
    // In the order of the segments, in which each comes after those that it refers to.
    std::vector<Transition*> ordered;
    for (Transition& move : moves) ordered.push_back(&move);
    const auto place = [&](const Transition* move) { return place_.at(move->segment_id); };
    std::sort(ordered.begin(), ordered.end(), [&](const Transition* a, const Transition* b) { return place(a) < place(b); });

    const auto& memberships = touched.person->state().memberships();
    std::vector<std::vector<pg::Condition::Input>> inputs(ordered.size());
    std::vector<After> moments;
    bool exact = true;
    play([&](profile::Person& person, int64 event_id, Cause cause) {
        person.Refresh();
        exact = exact && !person.must_recompute();
        After& after = moments.emplace_back(After{{person.values(), person.values() + traits_.column_count()},
                                                  std::unique_ptr<bool[]>(new bool[static_cast<size_t>(traits_.column_count())]), person.clock(), event_id, cause});
        std::copy_n(person.nulls(), traits_.column_count(), after.nulls.get());
        for (size_t m = 0; m < ordered.size(); ++m) {
            const auto is_member = [&](int other) {
                return std::binary_search(memberships.begin(), memberships.end(), segments_[static_cast<size_t>(other)].segment_id);
            };
            const auto consents = [&](int question) { return consents_.Covers(question, touched.person->profile_id()); };
            Answers(segments_[static_cast<size_t>(place(ordered[m]))], person, is_member, consents, &inputs[m]);
        }
    });
    if (moments.size() < 2 || !exact) return;

    std::vector<pg::Condition::Row> rows;
    for (const After& after : moments) rows.push_back({after.values.data(), after.nulls.get(), after.clock});
    std::vector<std::vector<char>> holds(ordered.size());  // by moment; empty: that cannot be told
    for (size_t m = 0; m < ordered.size(); ++m) {
        Transition& move = *ordered[m];
        const Segment& segment = segments_[static_cast<size_t>(place(&move))];
        bool replayed = IsReplayed(segment, touched);
        for (size_t s = 0; s < segment.sources.size(); ++s) {  // of segments that they moved into or out of meanwhile
            if (segment.sources[s].kind != Source::Kind::kSegment) continue;
            for (size_t other = 0; other < m; ++other) {
                if (place(ordered[other]) != segment.sources[s].of) continue;
                replayed = replayed && !holds[other].empty();
                for (size_t k = 0; replayed && k < moments.size(); ++k) inputs[m][k * segment.sources.size() + s].value = BoolGetDatum(holds[other][k] != 0);
            }
        }
        const bool failed = !replayed || attempts->Run([&] { segment.condition->Evaluate(rows, inputs[m], &holds[m]); });
        if (failed || (holds[m].back() != 0) != move.entered) {
            holds[m].clear();
            continue;
        }
        // Who is new, and whom the clock has changed, was not looked at before the first of them.
        holds[m][0] = !move.entered;
        size_t k = moments.size() - 1;
        while ((holds[m][k - 1] != 0) == move.entered) --k;
        move.event_id = moments[k].event_id;
        move.cause = moments[k].cause;
    }
}

void Segments::NameMessages(std::span<Touched> touched, const Replay& replay) {
    pg::Attempts attempts;
    pg::Scratch memory;
    for (size_t p = 0; p < touched.size(); ++p) {
        if ((p & 1023) == 0) poll_stop();
        const auto moves = MovesOf(touched[p].person->profile_id());
        if (moves.empty()) continue;
        const auto reads = ReadBy(moves);
        if (OnlyByTraits(moves, touched[p]))
            if (const auto changing = replay.changing(p, reads); changing.count == 1) {
                for (Transition& move : moves) move.event_id = changing.first_event_id;
                continue;
            }
        NameMessagesOf(moves, touched[p], [&](const Replay::Moment& moment) {
            const pg::Scratch::Use use(memory);
            replay.play(p, reads, moment);
        }, &attempts);
        memory.Reset();
    }
    attempts.Commit();
}

}  // namespace cdp::segment
