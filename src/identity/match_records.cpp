// identity/match_records.cpp: see match_records.hpp.
#include "identity/match_records.hpp"

#include <xxhash.h>

#include "pg/error.hpp"

namespace cdp::matching {

std::string_view Texts::operator[](uint32_t number) const {
    if (number == 0) return {};
    return std::string_view(bytes_).substr(ends_[number - 1], ends_[number] - ends_[number - 1]);
}

size_t Texts::SlotOf(std::string_view text, uint64_t hash) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = hash >> 32 & mask;
    for (; slots_[slot] != 0; slot = (slot + 1) & mask)
        if (hashes_[slots_[slot]] == static_cast<uint32_t>(hash) && (*this)[slots_[slot]] == text) break;
    return slot;
}

void Texts::Grow() {
    std::vector<uint32_t> old = std::exchange(slots_, std::vector<uint32_t>(slots_.size() * 2));
    const size_t mask = slots_.size() - 1;
    for (const uint32_t number : old) {
        if (number == 0) continue;
        size_t slot = XXH3_64bits((*this)[number].data(), (*this)[number].size()) >> 32 & mask;
        while (slots_[slot] != 0) slot = (slot + 1) & mask;
        slots_[slot] = number;
    }
}

uint32_t Texts::Add(std::string_view text) {
    const uint64_t hash = XXH3_64bits(text.data(), text.size());
    const size_t slot = SlotOf(text, hash);
    if (slots_[slot] != 0) return slots_[slot];
    if (ends_.size() == UINT32_MAX) throw Error(sqlstate::program_limit_exceeded, "too many distinct values to compare");
    bytes_.append(text);
    ends_.push_back(bytes_.size());
    hashes_.push_back(static_cast<uint32_t>(hash));
    const uint32_t number = slots_[slot] = size();
    if (ends_.size() * 2 > slots_.size()) Grow();
    return number;
}

uint32_t Texts::Find(std::string_view text) const {
    return slots_[SlotOf(text, XXH3_64bits(text.data(), text.size()))];
}

Records::Records(std::vector<std::pair<std::string, std::string>> names_and_types) {
    for (auto& name_and_type : names_and_types) {
        RecordColumn column;
        column.name = std::move(name_and_type.first);
        column.type = std::move(name_and_type.second);
        columns_.push_back(std::move(column));
    }
}

void Records::Add(std::string_view key, std::span<const std::optional<std::string_view>> values) {
    if (size() == UINT32_MAX - 1) throw Error(sqlstate::program_limit_exceeded, "too many records to compare");
    keys_.append(key);
    key_ends_.push_back(keys_.size());
    for (size_t i = 0; i < columns_.size(); ++i)
        columns_[i].values.push_back(values[i] ? columns_[i].texts.Add(*values[i]) : 0);
}

std::string_view Records::key(uint32_t record) const {
    return std::string_view(keys_).substr(key_ends_[record], key_ends_[record + 1] - key_ends_[record]);
}

int Records::Find(std::string_view column) const {
    for (size_t i = 0; i < columns_.size(); ++i)
        if (columns_[i].name == column) return static_cast<int>(i);
    return -1;
}

}  // namespace cdp::matching
