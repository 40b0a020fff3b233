// govern/consent_answers_pg.hpp: whether people consent to what segments and destinations ask for, many at once.
#pragma once

#include <unordered_map>

#include "govern/consent_pg.hpp"

namespace cdp::govern {

class ConsentAnswers {
public:
    /// `suppressions`: whether it is asked, too, who is suppressed.
    explicit ConsentAnswers(bool suppressions = false) : suppressions_(suppressions) {}

    /// The place of a question among those that are asked; a new one is added, and everybody forgotten.
    int Ask(const ConsentQuestion& question);
    bool empty() const { return questions_.empty(); }

    /// Forgets everybody: what holds may have changed.
    void Forget() { known_.clear(); }
    /// Reads what holds now for those of these people who were not read since.
    void Read(std::vector<int64> people);
    /// The answer of one of them.
    bool Covers(int question, int64 profile_id) const;
    bool Suppressed(int64 profile_id) const;

private:
    struct Known {
        bool suppressed = false;
        std::vector<char> covers;  // by question; empty: nothing was said of what is asked
    };
    void ReadAnswers();

    bool suppressions_;
    std::vector<ConsentQuestion> questions_;
    std::unordered_map<int64, Known> known_;
};

}  // namespace cdp::govern
