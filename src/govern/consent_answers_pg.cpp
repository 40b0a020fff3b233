// govern/consent_answers_pg.cpp: see consent_answers_pg.hpp.
#include "govern/consent_answers_pg.hpp"

#include "pg/probes.hpp"

namespace cdp::govern {

int ConsentAnswers::Ask(const ConsentQuestion& question) {
    const auto known = std::find(questions_.begin(), questions_.end(), question);
    if (known != questions_.end()) return static_cast<int>(known - questions_.begin());
    questions_.push_back(question);
    Forget();
    return static_cast<int>(questions_.size()) - 1;
}

void ConsentAnswers::Read(std::vector<int64> people) {
    static pg::Statement suppressed("SELECT a.profile_id FROM cdp_asked a JOIN cdp.suppressed_profile s ON s.profile_id = a.profile_id");
    std::erase_if(people, [&](int64 profile_id) { return !known_.try_emplace(profile_id).second; });
    if (people.empty()) return;
    try {
        if (!ConsentsInUse()) return;
        const pg::Probes probes;
        std::sort(people.begin(), people.end());
        pg::StagedRows staged("cdp_asked", {{"profile_id", INT8OID}});
        for (const int64 profile_id : people) staged.Add({Int64GetDatum(profile_id)});
        if (suppressions_) {
            const auto rows = suppressed.Query();
            for (uint64 i = 0; i < rows.size(); ++i) known_[rows.Int8(i, 1)].suppressed = true;
        }
        if (!questions_.empty()) ReadAnswers();
    } catch (...) {
        Forget();
        throw;
    }
}

/// Of those in cdp_asked.
void ConsentAnswers::ReadAnswers() {
    static pg::Statement read(
        "SELECT c.profile_id, c.purpose, c.channel, c.granted, c.occurred_at FROM cdp_asked a JOIN cdp.consent c ON c.profile_id = a.profile_id");
    const auto rows = read.Query();
    std::unordered_map<int64, std::vector<Answers>> said;  // by question: what counts for it
    for (uint64 i = 0; i < rows.size(); ++i) {
        auto& of_person = said[rows.Int8(i, 1)];
        of_person.resize(questions_.size());
        const std::string_view purpose = pg::Bytes(*rows.Get(i, 2));
        const auto channel = rows.Get(i, 3);
        for (size_t q = 0; q < questions_.size(); ++q)
            if (questions_[q].purpose.name == purpose)
                of_person[q].Say(channel ? std::optional(pg::Bytes(*channel)) : std::nullopt, {rows.Int8(i, 5), rows.Bool(i, 4)});
    }
    for (const auto& [profile_id, answers] : said) {
        auto& covers = known_[profile_id].covers;
        for (size_t q = 0; q < questions_.size(); ++q) covers.push_back(answers[q].Covers(questions_[q].channel, questions_[q].purpose.opt_out));
    }
}

bool ConsentAnswers::Covers(int question, int64 profile_id) const {
    const auto place = static_cast<size_t>(question);
    const auto person = known_.find(profile_id);
    return person == known_.end() || person->second.covers.empty() ? questions_[place].purpose.opt_out : person->second.covers[place] != 0;
}

bool ConsentAnswers::Suppressed(int64 profile_id) const {
    const auto person = known_.find(profile_id);
    return person != known_.end() && person->second.suppressed;
}

}  // namespace cdp::govern
