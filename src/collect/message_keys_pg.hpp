// collect/message_keys_pg.hpp: the message keys in their tables; see message_keys.hpp.
#pragma once

#include "collect/message_keys.hpp"
#include "pg/spi.hpp"

namespace cdp::collect {

class MessageKeys {
public:
    /// Which of `keys` (in processing order) are of messages that were accepted before, within the window;
    /// the second of two in the batch counts.
    static std::vector<char> Duplicates(std::span<const MessageKey> keys, int64 window);
    /// Remembers the keys of accepted messages, merges runs that have added up, drops those out of the window.
    static void Remember(std::vector<MessageKey> keys, int64 window);
    /// Forgets what this process keeps in memory; the tables are asked again.
    static void Forget();
};

}  // namespace cdp::collect
