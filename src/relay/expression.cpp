// relay/expression.cpp: see expression.hpp.
#include "relay/expression.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "pg/error.hpp"
#include "relay/functions.hpp"

namespace cdp::relay {
namespace {

constexpr std::array<std::string_view, static_cast<size_t>(Name::kEnd)> kNames = {
    "row",      "key",        "id",  "type",     "position", "item", "index",   "value",  "options", "destination",
    "endpoint", "key_column", "now", "batch_id", "count",    "keys", "answers", "secret", "body",    "answer",
    "status",   "headers"};

const Json kNull;

}  // namespace

const Json& Scope::operator[](Name name) const {
    const Json* value = values_[static_cast<size_t>(name)];
    return value ? *value : kNull;
}

namespace {

void Weigh(const Json& value, size_t depth, size_t& weight) {
    if (depth > kDeepest) throw Error(sqlstate::program_limit_exceeded, "a value is nested too deeply");
    weight += sizeof(Json);
    if (value.is_string()) {
        weight += value.get_ref<const std::string&>().size();
    } else if (value.is_array()) {
        for (const Json& element : value) Weigh(element, depth + 1, weight);
    } else if (value.is_object()) {
        for (const auto& [name, member] : value.items()) {
            weight += name.size();
            Weigh(member, depth + 1, weight);
        }
    }
}

}  // namespace

void Scope::Spend(const Json& value) const {
    Weigh(value, 0, spending_->spent);
    if (spending_->spent > spending_->limit) throw Error(sqlstate::program_limit_exceeded, "a request becomes too large");
}

// A step of a path: a member, an element, or all elements ([*]).
struct Step {
    enum class Kind { kMember, kElement, kAll } kind;
    std::string member;
    size_t element = 0;
};

struct Expression::Node {
    enum class Kind { kLiteral, kPath, kCall } kind = Kind::kLiteral;
    Json literal;
    Name root = Name::kEnd;  // of a path; kEnd: its beginning is the only argument
    std::vector<Step> steps;
    const Function* function = nullptr;
    std::vector<Node> arguments;

    Json Evaluate(const Scope& scope) const;
};

namespace {

Json Follow(const Json& value, std::span<const Step> steps) {
    const Json* at = &value;
    for (size_t i = 0; i < steps.size(); ++i) {
        const Step& step = steps[i];
        if (step.kind == Step::Kind::kMember) {
            if (!at->is_object()) return nullptr;
            const auto found = at->find(step.member);
            if (found == at->end()) return nullptr;
            at = &*found;
        } else if (step.kind == Step::Kind::kElement) {
            if (!at->is_array() || step.element >= at->size()) return nullptr;
            at = &(*at)[step.element];
        } else {
            if (!at->is_array() && !at->is_object()) return nullptr;
            Json all = Json::array();
            for (const Json& element : *at) {
                Json found = Follow(element, steps.subspan(i + 1));
                // What a further [*] found is of the same list.
                const bool lists = std::any_of(steps.begin() + static_cast<std::ptrdiff_t>(i) + 1, steps.end(),
                                               [](const Step& s) { return s.kind == Step::Kind::kAll; });
                if (lists && found.is_array())
                    for (Json& one : found) all.push_back(std::move(one));
                else if (!found.is_null())
                    all.push_back(std::move(found));
            }
            return all;
        }
    }
    return *at;
}

}  // namespace

Json Expression::Node::Evaluate(const Scope& scope) const {
    if (kind == Kind::kLiteral) return literal;
    Json result;
    if (kind == Kind::kPath) {
        result = Follow(root == Name::kEnd ? arguments.front().Evaluate(scope) : scope[root], steps);
    } else {
        std::vector<Json> values;
        values.reserve(arguments.size());
        for (const Node& argument : arguments) {
            values.push_back(argument.Evaluate(scope));
            if (values.size() == 1 && !function->takes_null && values.front().is_null()) return nullptr;
        }
        result = function->call(values, scope);
    }
    scope.Spend(result);
    return result;
}

Json Expression::Evaluate(const Scope& scope) const { return root_->Evaluate(scope); }

bool Expression::Is(Name name) const {
    return root_->kind == Node::Kind::kPath && root_->root == name && root_->steps.empty() && name != Name::kEnd;
}

// Recursive descent:
//   expression = primary { "|" name [ arguments ] }
//   primary    = text | number | true | false | null | (name | name arguments) { "." name | "[" (number | text | "*") "]" }
//   arguments  = "(" [ expression { "," expression } ] ")"
namespace {

using Node = Expression::Node;

bool IsNameCharacter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

class Parser {
public:
    Parser(std::string_view text, Names names) : text_(text), names_(names) {}

    Node All() {
        Node node = Pipeline(0);
        SkipBlanks();
        if (at_ != text_.size()) Fail("unexpected \"" + std::string(text_.substr(at_, 10)) + "\"");
        return node;
    }

private:
    [[noreturn]] void Fail(const std::string& what) const {
        throw Error(sqlstate::invalid_parameter_value, what + " in {{" + std::string(text_.substr(0, 200)) + "}}");
    }

    void SkipBlanks() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
    }
    bool Takes(char c) {
        SkipBlanks();
        if (at_ == text_.size() || text_[at_] != c) return false;
        ++at_;
        return true;
    }
    void Expect(char c) {
        if (!Takes(c)) Fail(std::string("\"") + c + "\" is missing");
    }

    std::string Word() {
        SkipBlanks();
        const size_t from = at_;
        while (at_ < text_.size() && IsNameCharacter(text_[at_])) ++at_;
        if (from == at_) Fail("a name is missing");
        return std::string(text_.substr(from, at_ - from));
    }

    std::string Quoted(char quote) {
        std::string text;
        while (at_ < text_.size() && text_[at_] != quote) {
            if (text_[at_] == '\\') {
                ++at_;
                if (at_ == text_.size()) break;
            }
            text += text_[at_++];
        }
        Expect(quote);
        return text;
    }

    Node Literal(Json value) {
        Node node;
        node.literal = std::move(value);
        return node;
    }

    Node Number() {
        const size_t from = at_;
        while (at_ < text_.size() && (IsNameCharacter(text_[at_]) || text_[at_] == '.' || text_[at_] == '-')) ++at_;
        const std::string_view written = text_.substr(from, at_ - from);
        int64_t whole;
        auto [end, error] = std::from_chars(written.data(), written.data() + written.size(), whole);
        if (error == std::errc() && end == written.data() + written.size()) return Literal(whole);
        double number;
        const auto [stop, wrong] = std::from_chars(written.data(), written.data() + written.size(), number);
        if (wrong != std::errc() || stop != written.data() + written.size()) Fail("\"" + std::string(written) + "\" is no number");
        return Literal(number);
    }

    std::vector<Node> Arguments(size_t depth) {
        std::vector<Node> arguments;
        if (Takes(')')) return arguments;
        do arguments.push_back(Pipeline(depth + 1));
        while (Takes(','));
        Expect(')');
        return arguments;
    }

    Node Call(const std::string& name, std::vector<Node> arguments) {
        Node node;
        node.kind = Node::Kind::kCall;
        node.function = FindFunction(name);
        if (!node.function) Fail("no function \"" + name + "\"");
        if (arguments.size() < node.function->fewest || arguments.size() > node.function->most)
            Fail("a wrong number of arguments for \"" + name + "\"");
        node.arguments = std::move(arguments);
        return node;
    }

    Step InBrackets() {
        SkipBlanks();
        if (Takes('*')) return {Step::Kind::kAll, "", 0};
        if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) {
            const char quote = text_[at_++];
            return {Step::Kind::kMember, Quoted(quote), 0};
        }
        const std::string digits = Word();
        size_t element = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), element);
        if (error != std::errc() || end != digits.data() + digits.size()) Fail("\"" + digits + "\" is no place in a list");
        return {Step::Kind::kElement, "", element};
    }

    Node Path(const std::string& name) {
        const auto found = std::find(kNames.begin(), kNames.end(), name);
        Node node;
        node.kind = Node::Kind::kPath;
        if (found != kNames.end()) node.root = static_cast<Name>(found - kNames.begin());
        if (found == kNames.end() || !names_.Has(node.root)) Fail("no \"" + name + "\" here");
        node.steps = Steps();
        return node;
    }

    std::vector<Step> Steps() {
        std::vector<Step> steps;
        while (true) {
            if (Takes('.')) {
                steps.push_back({Step::Kind::kMember, Word(), 0});
            } else if (Takes('[')) {
                steps.push_back(InBrackets());
                Expect(']');
            } else {
                return steps;
            }
            if (steps.size() > kDeepest) Fail("a path is too long");
        }
    }

    Node Primary(size_t depth) {
        SkipBlanks();
        if (at_ == text_.size()) Fail("a value is missing");
        const char c = text_[at_];
        if (c == '"' || c == '\'') {
            ++at_;
            return Literal(Quoted(c));
        }
        if (c == '-' || (c >= '0' && c <= '9')) return Number();
        const std::string name = Word();
        if (name == "true") return Literal(true);
        if (name == "false") return Literal(false);
        if (name == "null") return Literal(nullptr);
        if (!Takes('(')) return Path(name);
        Node call = Call(name, Arguments(depth));
        std::vector<Step> steps = Steps();
        if (steps.empty()) return call;
        Node path;
        path.kind = Node::Kind::kPath;
        path.steps = std::move(steps);
        path.arguments.push_back(std::move(call));
        return path;
    }

    Node Pipeline(size_t depth) {
        if (depth > kDeepest) Fail("too deeply nested");
        Node node = Primary(depth);
        for (size_t length = depth; Takes('|'); ++length) {
            if (length > kDeepest) Fail("too long");
            const std::string name = Word();
            std::vector<Node> arguments;
            if (Takes('(')) arguments = Arguments(depth);
            arguments.insert(arguments.begin(), std::move(node));
            node = Call(name, std::move(arguments));
        }
        return node;
    }

    std::string_view text_;
    Names names_;
    size_t at_ = 0;
};

}  // namespace

Expression Expression::Parse(std::string_view text, Names names) {
    return Expression(std::make_shared<const Node>(Parser(text, names).All()));
}

}  // namespace cdp::relay
