// govern/consent_answers_pg.hpp: whether the people of a batch consent to what segments ask for.
#pragma once

#include <functional>
#include <unordered_map>

#include "govern/consent_pg.hpp"

namespace cdp::govern {

class ConsentAnswers {
public:
    /// The place of a question among those that are asked; a new one is added.
    int Ask(const ConsentQuestion& question);
    bool empty() const { return questions_.empty(); }

    /// Reads what holds now for `count` people, and forgets everybody else.
    void Read(size_t count, const std::function<int64(size_t i)>& profile_id);
    /// The answer of one of them.
    bool Covers(int question, int64 profile_id) const;

private:
    std::vector<ConsentQuestion> questions_;
    std::unordered_map<int64, std::vector<char>> answers_;  // by question; of those who said anything of what is asked
};

}  // namespace cdp::govern
