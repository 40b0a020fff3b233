// pipeline/batch_pg.hpp: one batch of messages through every stage, in the current transaction.
#pragma once

#include "collect/inbox_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "profile/people_pg.hpp"

namespace cdp::pipeline {

/// Keeps every other processor, and DROP EXTENSION, out until the transaction ends. Waits for them. Throws if
/// the extension is not installed (any more), and in a transaction that does not see what they have committed
/// meanwhile (REPEATABLE READ, SERIALIZABLE).
void Lock();
/// Whether this transaction has it.
bool LockHeld();

/// Takes the batch behind `progress`, at most `max_messages`, through all stages, and moves `progress` on behind it.
/// Needs an open Spi and the lock. Returns how many rows of the inbox it took, `changes` of them no messages; 0: nothing is pending.
int64 ProcessBatch(collect::Progress* progress, int64 max_messages, int64* changes);

/// Takes the single message behind `progress` and keeps it in cdp.rejected_message, with the failure that it caused. False: it is none,
/// but a changed row; then the segments that follow its table are computed afresh.
bool RejectNext(collect::Progress* progress, const pg::Failure& why);

/// Makes the people who are loaded nodes of the resolver.
void AddPeople(profile::People& people, std::span<const identity::TypeRule> rules, identity::Resolver& resolver);

/// What is known of people whom messages have touched, and of nobody else.
struct FromMessages {
    segment::NewIdentifiers identifiers{};      // those that are new
    const segment::Replay* replay = nullptr;    // what their messages did one by one, see Segments::NameMessages
    activate::KeysOfNew keys{};                 // of the people who are new
};

/// The stages behind identity: segments, profiles, memberships, destinations. `any_gone`: profiles end, they are the
/// staged rows cdp_batch_merge.
void WritePeople(Definitions& definitions, profile::People& people, std::span<segment::Touched> touched, bool any_gone,
                 const FromMessages& known = {});
/// The same but for the destinations.
void WriteProfiles(Definitions& definitions, profile::People& people, std::span<segment::Touched> touched, bool any_gone,
                   const FromMessages& known = {});

/// Writes down what stands still from here on.
void NoteProblems(const Definitions& definitions);

/// Rotates the inbox, see collect::RotateInbox().
void Rotate();

}  // namespace cdp::pipeline
