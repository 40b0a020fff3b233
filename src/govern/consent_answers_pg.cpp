// govern/consent_answers_pg.cpp: see consent_answers_pg.hpp.
#include "govern/consent_answers_pg.hpp"

#include <map>

#include "pg/probes.hpp"

namespace cdp::govern {

int ConsentAnswers::Ask(const ConsentQuestion& question) {
    const auto known = std::find(questions_.begin(), questions_.end(), question);
    if (known != questions_.end()) return static_cast<int>(known - questions_.begin());
    questions_.push_back(question);
    return static_cast<int>(questions_.size()) - 1;
}

void ConsentAnswers::Read(size_t count, const std::function<int64(size_t)>& profile_id) {
    static pg::Statement read(
        "SELECT c.profile_id, c.purpose, c.channel, c.granted, c.occurred_at FROM cdp_asked a JOIN cdp.consent c ON c.profile_id = a.profile_id");
    answers_.clear();
    const pg::Probes probes;
    std::vector<int64> people(count);
    for (size_t i = 0; i < count; ++i) people[i] = profile_id(i);
    std::sort(people.begin(), people.end());
    pg::StagedRows staged("cdp_asked", {{"profile_id", INT8OID}});
    for (const int64 id : people) staged.Add({Int64GetDatum(id)});
    const auto rows = read.Query();
    std::map<std::pair<int64, std::string>, Answers> said;
    for (uint64 i = 0; i < rows.size(); ++i) {
        const auto channel = rows.OptionalText(i, 3);
        said[{rows.Int8(i, 1), rows.Text(i, 2)}].Say(channel, {rows.Int8(i, 5), rows.Bool(i, 4)});
    }
    for (const auto& [of, answers] : said)
        for (size_t q = 0; q < questions_.size(); ++q) {
            if (questions_[q].purpose.name != of.second) continue;
            const auto [person, is_new] = answers_.try_emplace(of.first);
            if (is_new)
                for (const auto& question : questions_) person->second.push_back(question.purpose.opt_out);
            person->second[q] = answers.Covers(questions_[q].channel, questions_[q].purpose.opt_out);
        }
}

bool ConsentAnswers::Covers(int question, int64 profile_id) const {
    const auto place = static_cast<size_t>(question);
    const auto person = answers_.find(profile_id);
    return person == answers_.end() ? questions_[place].purpose.opt_out : person->second[place] != 0;
}

}  // namespace cdp::govern
