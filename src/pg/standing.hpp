// pg/standing.hpp: what becomes of things that users define (segments, the filters of traits) when their definitions fail.
//
// A definition that fails, where it is read or on somebody's row, shall not stop the pipeline for everybody: what it
// defines stands still. It stays as it was, its row says why in `problem`, and everything else goes on. It goes on
// itself once it was computed afresh: where it could not be read (a right, a role, a function was missing), as soon as it
// can be (pipeline/heal_pg); where it failed on somebody's row, when somebody says so.
#pragma once

#include <optional>
#include <string_view>

#include "pg/guard.hpp"

namespace cdp::pg {

struct Standing {
    std::optional<Error> failure;  // why it fails now
    bool noted = false;            // whether its row says so already
    bool unreadable = false;       // whether it fails, or failed when that was noted, where it is read

    bool Still() const { return failure || noted; }
    bool ToBeNoted() const { return failure && !noted; }
    /// It could not be read, and now it can.
    bool Healed() const { return noted && unreadable && !failure; }
    /// Where the definition is read; nothing if it could be.
    void ReadWith(std::optional<Error> why) {
        failure = std::move(why);
        unreadable = noted ? unreadable : failure.has_value();
    }
};

/// Whether an error of this SQLSTATE is the fault of what somebody defined. Not those of circumstances: conflicts,
/// locks, resources, shutdown, damage.
bool MayBlameDefinition(std::string_view sqlstate);

/// Runs what users defined so that one can go on if it fails: pieces of work that write nothing, in a subtransaction
/// that goes on from one to the next until one fails.
class Attempts {
public:
    /// What is wrong with the definition that `work` runs; nothing if it went through. Throws what no definition is to
    /// blame for.
    template <class F>
    std::optional<Error> Run(F&& work) {
        if (!open_) open_.emplace();
        Failure failure;
        try {
            work();
            return std::nullopt;
        } catch (const std::exception& error) {
            failure = Describe(error);
            if (!MayBlameDefinition(failure.sqlstate)) throw;
            if (const auto* own = dynamic_cast<const Error*>(&error)) return open_.reset(), *own;
        }
        open_.reset();
        Error error(failure.sqlstate.c_str(), std::move(failure.message));
        return std::move(error).Detail(std::move(failure.detail));
    }
    void Commit() {
        if (open_) open_->Commit();
        open_.reset();
    }

    /// A single piece of work.
    template <class F>
    static std::optional<Error> One(F&& work) {
        Attempts attempts;
        auto failure = attempts.Run(work);
        attempts.Commit();
        return failure;
    }

private:
    std::optional<Subtransaction> open_;
};

/// Writes into the row of `table` whose `id_column` is `id` that `what` stands still, and warns of it.
void NoteProblem(const char* table, const char* id_column, int64 id, const std::string& what, const Standing& standing);

}  // namespace cdp::pg
